"""Building the agents from a seed (in miniature), and those that come with the package."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tipx.agents.chat import Chat
from tipx.embedded.agent.build import RECIPES, Solving, build, measure, trajectory
from tipx.embedded.agent.family import held_out
from tipx.embedded.arithmetic.tuning import IGNORE, Recipe, padded, reproducible
from tipx.errors import RunFailed
from tipx.models.locate import AGENTS

SMALL = Recipe(hidden=16, layers=1, batch=4, steps=3, decay=0.5)
SMALL_PAIR = {"student": replace(SMALL, stop=Solving(accuracy=0.0, every=2, problems=4)), "teacher": SMALL}


def quiet(line: str) -> None:
    """A log that nobody reads."""


def test_same_seed_same_bytes_and_the_card_says_what_was_measured(tmp_path: Path) -> None:
    built = [build(tmp_path / name, 3, quiet, SMALL_PAIR, benchmark_size=4) for name in ("one", "two")]
    assert built[0] == built[1]
    assert (built[0]["teacher"].steps, built[0]["student"].steps) == (3, 2)  # any score will do
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    card = (tmp_path / "one" / "README.md").read_text()
    for name, b in built[0].items():
        assert f"| `{name}/` | {b.parameters:,} | {b.steps} | {b.greedy} | {b.sampled} |" in card
        weights = load_file(tmp_path / "one" / name / "model.safetensors")
        assert {str(tensor.dtype) for tensor in weights.values()} == {"torch.bfloat16"}


def test_a_model_out_of_bounds_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"teacher: expected sampled accuracy in 0\.9\.\.1\.0, got 0\.0"):
        build(tmp_path, 0, quiet, {"teacher": replace(SMALL, bounds=(0.9, 1.0))}, benchmark_size=4)
    assert list(tmp_path.iterdir()) == []


def test_only_what_the_assistant_says_is_learned(chat: Chat) -> None:
    for errand in held_out(20):
        ids, labels = trajectory(chat, errand, Random(0))
        assert all(label in (IGNORE, token) for label, token in zip(labels, ids, strict=True))
        text = chat.text(ids)
        # What stands between the opening of a turn and the end of it, three times.
        said = [part.partition("<|im_end|>")[0].split() for part in text.split("<|im_start|> assistant")[1:]]
        learned = chat.text([label for label in labels if label != IGNORE]).split("<|im_end|>")
        assert [part.split() for part in learned[:-1]] == said
        assert len(said) == 3


def test_padding_is_in_no_loss(chat: Chat) -> None:
    rows = [trajectory(chat, errand, Random(0)) for errand in held_out(8)]
    ids_BT, labels_BT = padded(rows, 0)
    for (ids, labels), ids_T, labels_T in zip(rows, ids_BT.tolist(), labels_BT.tolist(), strict=True):
        assert ids_T == ids + [0] * (len(ids_T) - len(ids))
        assert labels_T == labels + [IGNORE] * (len(ids_T) - len(ids))


def test_the_embedded_agents_are_small_and_complete() -> None:
    files = {str(path.relative_to(AGENTS)) for path in AGENTS.rglob("*") if path.is_file()}
    names = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert files == {"README.md"} | {f"{role}/{name}" for role in RECIPES for name in (*names, "chat_template.jinja")}
    assert sum((AGENTS / file).stat().st_size for file in files) <= 1_000_000


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_the_embedded_agents_are_what_their_recipe_and_card_say(name: str, chat: Chat) -> None:
    model = AutoModelForCausalLM.from_pretrained(AGENTS / name)
    tokenizer = AutoTokenizer.from_pretrained(AGENTS / name)
    recipe, card = RECIPES[name], (AGENTS / "README.md").read_text()
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (recipe.hidden, recipe.layers)
    assert tokenizer.get_vocab() == chat.tokenizer.get_vocab()
    assert tokenizer.chat_template == chat.tokenizer.chat_template
    row = re.search(rf"\| `{name}/` \| ([\d,]+) \|", card)
    assert row is not None
    assert int(row[1].replace(",", "")) == model.num_parameters()
    assert str(recipe) in card


def test_the_embedded_teacher_runs_errands_and_the_student_now_and_then_does() -> None:
    scores = {}
    for name in RECIPES:
        model = AutoModelForCausalLM.from_pretrained(AGENTS / name, dtype="float32")
        with reproducible(0):
            scores[name] = measure(model, AutoTokenizer.from_pretrained(AGENTS / name), held_out(), sample=True).mean
    assert scores["teacher"] >= 0.88
    assert 0.28 <= scores["student"] <= 0.48
