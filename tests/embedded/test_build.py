"""Building both pairs from a seed (in miniature), and the pairs that come with the package."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen3ForCausalLM

import tipx.embedded
from tipx.embedded.agent.build import AGENTS
from tipx.embedded.arithmetic.build import ARITHMETIC
from tipx.embedded.build import EmbeddedPair, build_pair
from tipx.embedded.card import Accuracy
from tipx.embedded.heads import ENGINE_HEAD_SIZE
from tipx.embedded.tokenizer import MAX_LENGTH
from tipx.embedded.tuning import EarlyStop, Recipe
from tipx.errors import RunError, RunFailed

Pair = EmbeddedPair[Any]
PAIRS: dict[str, Pair] = {"arithmetic": ARITHMETIC, "agent": AGENTS}
SHIPPED = Path(tipx.embedded.__file__).parent
MOST_BYTES = {"arithmetic": 6_000_000, "agent": 1_000_000}
SMALL = Recipe(hidden=16, layers=1, batch=4, steps=4, decay=0.5)
# Any accuracy will do, so the first check ends it.
STOPPED = replace(SMALL, stop=EarlyStop(accuracy=0.0, every=2, problems=4))
both = pytest.mark.parametrize("name", PAIRS)


def quiet(line: str) -> None:
    """A log that nobody reads."""


def shrink(name: str, **recipes: Recipe) -> Pair:
    """The pair with other recipes, measured on four problems."""
    return replace(PAIRS[name], recipes=recipes, benchmark_size=4)


def build_small(name: str, folder: Path, seed: int = 0) -> Path:
    build_pair(shrink(name, student=STOPPED, teacher=SMALL), folder, seed, quiet)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small pair of each name, built once."""
    folders = {name: build_small(name, tmp_path_factory.mktemp(name)) for name in PAIRS}
    return folders.__getitem__


@both
def test_same_seed_same_bytes_whatever_the_caller_drew(name: str, small: Callable[[str], Path], tmp_path: Path) -> None:
    torch.manual_seed(99)
    again, other = build_small(name, tmp_path / "again"), build_small(name, tmp_path / "other", seed=1)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert Path("teacher/model.safetensors") in files
    for file in files:
        assert (again / file).read_bytes() == (small(name) / file).read_bytes(), file
        assert file.suffix != ".safetensors" or (again / file).read_bytes() != (other / file).read_bytes()


@both
def test_what_was_built_loads_without_help(name: str, small: Callable[[str], Path]) -> None:
    for role in ("teacher", "student"):
        folder = small(name) / role
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert isinstance(model, Qwen3ForCausalLM)
        assert model.config.vocab_size == len(tokenizer)
        assert model.config.max_position_embeddings == MAX_LENGTH
        assert model.lm_head.weight is model.model.embed_tokens.weight
        saved = GenerationConfig.from_pretrained(folder)
        assert (saved.eos_token_id, saved.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
        weights = load_file(folder / "model.safetensors")
        assert {str(t.dtype) for key, t in weights.items() if "k_norm" not in key} == {str(PAIRS[name].dtype)}
        assert {tensor.dtype for key, tensor in weights.items() if "k_norm" in key} == {torch.float32}
        assert model.config.head_dim == ENGINE_HEAD_SIZE


@both
def test_card_says_what_was_measured(name: str, tmp_path: Path) -> None:
    built = build_pair(shrink(name, student=STOPPED, teacher=SMALL), tmp_path, 5, quiet)
    card = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Seed 5" in card
    for role, b in built.items():
        assert f"| `{role}/` | {b.parameters:,} | {b.steps} | {b.greedy} | {b.sampled} |" in card
        assert f"- `{role}`: {b.recipe}\n" in card
    assert (built["student"].steps, built["teacher"].steps) == (2, 4)


def test_a_model_goes_on_from_the_one_before_it_only_in_a_continued_pair(tmp_path: Path) -> None:
    still = replace(SMALL, steps=1, lr=0.0)
    for continued in (False, True):
        pair = replace(shrink("arithmetic", first=SMALL, second=still), continued=continued)
        folder = tmp_path / str(continued)
        build_pair(pair, folder, 0, quiet)
        first, second = (load_file(folder / role / "model.safetensors") for role in ("first", "second"))
        assert all(torch.equal(first[key], second[key]) for key in first) == continued


@both
def test_a_model_out_of_bounds_is_not_saved(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"teacher: expected sampled accuracy in 0\.9\.\.1\.0, got 0\.0"):
        build_pair(shrink(name, teacher=replace(SMALL, bounds=(0.9, 1.0))), tmp_path, 0, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_never_gets_there_fails(tmp_path: Path) -> None:
    hopeless = replace(SMALL, stop=EarlyStop(accuracy=0.9, every=2, problems=4))
    with pytest.raises(RunFailed, match=r"expected sampled accuracy >= 0\.9 within 4 steps"):
        build_pair(shrink("arithmetic", student=hopeless), tmp_path, 0, quiet)


def test_a_folder_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"is not empty \(it holds notes\.txt\)"):
        build_pair(shrink("arithmetic", teacher=SMALL), tmp_path, 0, quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_accuracies() -> None:
    # 3 of 4: mean 0.75, sample variance 0.25, error sqrt(0.25 / 4)
    assert str(Accuracy.of([True, True, True, False])) == "0.750 ± 0.250 (n=4)"
    with pytest.raises(ValueError, match="no values"):
        Accuracy.of([])


@both
def test_a_shipped_pair_is_small_and_complete(name: str) -> None:
    folder = SHIPPED / name / "pair"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    parts = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    parts |= {"chat_template.jinja"} if name == "agent" else set()
    assert files == {"README.md", *(f"{role}/{part}" for role in PAIRS[name].recipes for part in parts)}
    assert sum((folder / file).stat().st_size for file in files) <= MOST_BYTES[name]


@both
def test_a_shipped_pair_is_what_its_recipes_and_card_say(name: str) -> None:
    card, built = (SHIPPED / name / "pair" / "README.md").read_text(), PAIRS[name].build_tokenizer()
    for role, recipe in PAIRS[name].recipes.items():
        folder = SHIPPED / name / "pair" / role
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert (model.config.hidden_size, model.config.num_hidden_layers) == (recipe.hidden, recipe.layers)
        assert tokenizer.get_vocab() == built.get_vocab()
        assert tokenizer.chat_template == built.chat_template
        row = re.search(rf"\| `{role}/` \| ([\d,]+) \|", card)
        assert row is not None
        assert int(row[1].replace(",", "")) == model.num_parameters()
        assert str(recipe) in card


@both
def test_a_shipped_card_has_todays_words(name: str) -> None:
    card, text = (SHIPPED / name / "pair" / "README.md").read_text(), PAIRS[name].card
    for part in (text.title, text.summary, text.task, text.scores, text.models, text.recipe, text.command):
        assert part in card
