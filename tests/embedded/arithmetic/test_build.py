"""Building a pair from a seed (in miniature), and the pair that comes with the package."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen3ForCausalLM

import tipx.embedded.arithmetic
from tipx.embedded.arithmetic.build import RECIPES, Answering, build, encode, measure
from tipx.embedded.arithmetic.card import Score
from tipx.embedded.arithmetic.task import held_out, training
from tipx.embedded.arithmetic.tokenizer import MAX_LENGTH, build_tokenizer
from tipx.embedded.arithmetic.tuning import IGNORE, Recipe, new_model, reproducible
from tipx.errors import RunFailed

PAIR = Path(tipx.embedded.arithmetic.__file__).parent / "pair"
SMALL = Recipe(hidden=16, layers=1, batch=4, steps=4, decay=0.5)
SMALL_PAIR = {
    "teacher": SMALL,
    "student": replace(SMALL, stop=Answering(accuracy=0.0, every=2, problems=4)),
}


def quiet(line: str) -> None:
    """A log that nobody reads."""


def small_build(folder: Path, seed: int = 0) -> Path:
    build(folder, seed, log=quiet, recipes=SMALL_PAIR, benchmark_size=4)
    return folder


@pytest.fixture(scope="module")
def small_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_build(tmp_path_factory.mktemp("small"))


def test_same_seed_same_bytes_whatever_the_caller_drew(small_pair: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    small_build(tmp_path / "again")
    files = sorted(path.relative_to(small_pair) for path in small_pair.rglob("*") if path.is_file())
    assert Path("teacher/model.safetensors") in files
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (small_pair / file).read_bytes(), file
    small_build(tmp_path / "other", seed=1)
    for name in SMALL_PAIR:
        weights = Path(name) / "model.safetensors"
        assert (tmp_path / "other" / weights).read_bytes() != (small_pair / weights).read_bytes()


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_what_was_built_loads_without_help(small_pair: Path, name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(small_pair / name)
    tokenizer = AutoTokenizer.from_pretrained(small_pair / name)
    assert isinstance(model, Qwen3ForCausalLM)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.max_position_embeddings == MAX_LENGTH
    assert model.lm_head.weight is model.model.embed_tokens.weight
    saved = GenerationConfig.from_pretrained(small_pair / name)
    assert (saved.eos_token_id, saved.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_card_says_what_was_measured(tmp_path: Path) -> None:
    built = build(tmp_path, 5, log=quiet, recipes=SMALL_PAIR, benchmark_size=4)
    card = (tmp_path / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "Seed 5" in card
    for name, result in built.items():
        row = f"| `{name}/` | {result.parameters:,} | {result.steps} | {result.greedy} | {result.sampled} |"
        assert row in card
    assert built["teacher"].steps == 4
    assert built["student"].steps == 2  # any accuracy will do, so the first check ends it


def test_a_model_out_of_bounds_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"teacher: expected sampled accuracy in 0\.9\.\.1\.0, got 0\.0"):
        build(tmp_path, log=quiet, recipes={"teacher": replace(SMALL, bounds=(0.9, 1.0))}, benchmark_size=4)
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_never_gets_there_fails(tmp_path: Path) -> None:
    hopeless = replace(SMALL, stop=Answering(accuracy=0.9, every=2, problems=4))
    with pytest.raises(RunFailed, match=r"expected sampled accuracy >= 0\.9 within 4 steps"):
        build(tmp_path, log=quiet, recipes={"student": hopeless}, benchmark_size=4)


def test_schedule() -> None:
    recipe = Recipe(hidden=16, layers=1, batch=1, steps=100, lr=1.0, warmup=0.1, decay=0.4)
    # 10 steps up, 50 at the top, 40 down: step 79 has 21 of 40 parts left, the last step 1 of 40.
    assert [recipe.lr_at(step) for step in (0, 9, 59, 79, 99)] == pytest.approx([0.1, 1.0, 1.0, 21 / 40, 1 / 40])


def test_only_the_solution_is_learned() -> None:
    tokenizer, problems = build_tokenizer(), training(0, 8)
    ids_BT, labels_BT = encode(tokenizer, problems)
    assert ids_BT.shape == labels_BT.shape
    for ids, labels, p in zip(ids_BT, labels_BT, problems, strict=True):
        learned = labels[labels != IGNORE]
        assert tokenizer.decode(learned) == f"{p.solution} <eos>"
        assert tokenizer.decode(ids, skip_special_tokens=True) == f"{p.question} {p.solution}"
        assert torch.equal(ids[labels != IGNORE], learned)


def test_padding_does_not_change_the_logits() -> None:
    tokenizer, problems = build_tokenizer(), training(0, 8)
    with reproducible(0):
        model = new_model(SMALL, tokenizer).eval()
    ids_BT, labels_BT = encode(tokenizer, problems)
    row = int((labels_BT[:, -1] == IGNORE).nonzero()[0])  # one of the shorter ones
    length = int((ids_BT[row] != tokenizer.pad_token_id).sum())
    with torch.no_grad():
        padded, alone = (
            model(input_ids=ids).logits[0] for ids in (ids_BT[row : row + 1], ids_BT[row : row + 1, :length])
        )
    torch.testing.assert_close(padded[:length], alone)


def test_the_caller_keeps_threads_and_random_state() -> None:
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with reproducible(0):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_scores() -> None:
    # 3 of 4: mean 0.75, sample variance 0.25, error sqrt(0.25 / 4)
    assert str(Score.of([True, True, True, False])) == "0.750 ± 0.250 (n=4)"
    with pytest.raises(ValueError, match="no values"):
        Score.of([])


def test_the_embedded_pair_is_small_and_complete() -> None:
    files = {str(path.relative_to(PAIR)) for path in PAIR.rglob("*") if path.is_file()}
    wanted = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert files == {"README.md", *(f"{name}/{file}" for name in RECIPES for file in wanted)}
    assert sum((PAIR / file).stat().st_size for file in files) <= 6_000_000


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_the_embedded_pair_is_what_its_recipe_and_card_say(name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(PAIR / name)
    tokenizer = AutoTokenizer.from_pretrained(PAIR / name)
    recipe, card = RECIPES[name], (PAIR / "README.md").read_text()
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (recipe.hidden, recipe.layers)
    assert tokenizer.get_vocab() == build_tokenizer().get_vocab()
    row = re.search(rf"\| `{name}/` \| ([\d,]+) \|", card)
    assert row is not None
    assert int(row[1].replace(",", "")) == model.num_parameters()
    assert str(recipe) in card


def test_the_embedded_teacher_solves_and_the_student_half_does() -> None:
    problems = held_out(64)
    scores = {}
    for name in RECIPES:
        model = AutoModelForCausalLM.from_pretrained(PAIR / name)
        tokenizer = AutoTokenizer.from_pretrained(PAIR / name)
        with reproducible(0):
            scores[name] = measure(model, tokenizer, problems, sample=False).mean
    assert scores["teacher"] >= 0.9
    assert 0.35 <= scores["student"] <= 0.85
