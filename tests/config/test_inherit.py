"""What a run lends to its evaluation, and what the user takes back."""

from typing import Any

import pytest

from tipx.config import inherit, load, resolve

LENT: dict[str, Any] = {
    "eval": {"sampling": {"temperature": 0.6, "max_new_tokens": 8192}},
    "template": {"chat": True, "instruction": "Box it.", "thinking": None},
}


def after(*overrides: str) -> dict[str, Any]:
    cfg = load(overrides, "eval")
    inherit(cfg, LENT, overrides)
    return resolve(cfg)


def test_lent_values_take_the_place_of_the_files() -> None:
    tree = after()
    assert tree["eval"]["sampling"] == resolve(load([], "eval"))["eval"]["sampling"] | LENT["eval"]["sampling"]
    assert {**tree["template"], **LENT["template"]} == tree["template"]
    assert tree["eval"]["n"] == 16


@pytest.mark.parametrize(
    "override", ["eval.sampling.temperature=0.5", "++eval.sampling.temperature=0.5", "eval.sampling.temperature=5e-1"]
)
def test_a_key_of_the_users_stays_and_its_neighbours_are_lent(override: str) -> None:
    sampling = after(override)["eval"]["sampling"]
    assert (sampling["temperature"], sampling["max_new_tokens"]) == (0.5, 8192)


def test_a_choice_of_the_users_keeps_the_whole_section() -> None:
    tree = after("template=boxed", "eval=sampled_long", "eval.sampling.max_new_tokens=7")
    assert tree["template"] == resolve(load(["template=boxed"], "eval"))["template"]
    assert (tree["eval"]["sampling"]["temperature"], tree["eval"]["sampling"]["max_new_tokens"]) == (1.0, 7)


def test_a_key_that_only_begins_alike_keeps_nothing() -> None:
    cfg = load([], "eval")
    inherit(cfg, LENT, ["eval.samp=1", "temp=2", "n=3"])
    assert resolve(cfg) == after()
