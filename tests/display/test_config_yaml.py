"""A configuration as YAML that reads back as it was, with origins beside the values."""

from datetime import date
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from tests.hostile import EVERY
from tipx.display.config_yaml import ShownConfig, config_yaml, leaf_origins, values_and_origins, yaml_text
from tipx.display.console import COMMANDS

VALUES: list[Any] = [
    None,
    True,
    0,
    -3,
    1e-5,
    1e20,
    0.1,
    float("inf"),
    [],
    {},
    [1, [2.5, None]],
    [{"a": [1, {"b": "c"}]}],
]
VALUES += ["", " ", " .", "no", "null", "1", "1e-3", "1_000", "0x1f", "a: b", "a #b", "- a", "'", '"', "*a", "&a", "!a"]
VALUES += [
    "a\nb",
    "\n",
    "a\r\nb",
    "\t",
    "\x85",
    "\u2028",
    "é 漢 😀",
    "${oc.env:X}",
    "---",
    "...",
    "x" * 400,
    date(2026, 1, 2),
]


@pytest.mark.parametrize("value", [*VALUES, *EVERY], ids=repr)
def test_any_value_is_one_line_that_reads_back(value: Any) -> None:
    tree = {"key": {"inner": value, "other": value}, "more": 1}
    text = config_yaml(ShownConfig(tree, {"key.inner": "conf/x.yaml"}, "a\nb")).plain
    assert not COMMANDS.search(text)
    assert yaml.safe_load(text) == tree
    assert len(yaml_text(value).splitlines()) == 1


@pytest.mark.parametrize("value", ["1e-3", "1E5", "0.5", "1_0", "no", "x", "1", ".5"])
def test_text_is_text_to_omegaconf_too(value: str) -> None:
    assert OmegaConf.create(f"a: {yaml_text(value)}").a == value


@pytest.mark.parametrize("key", [text for text in EVERY if text])
def test_any_key_reads_back(key: str) -> None:
    tree = {key: {key: 1, "a.b": {"c": 2}}}
    shown = ShownConfig(tree, {}, "x")
    assert yaml.safe_load(config_yaml(shown).plain) == tree
    assert values_and_origins(shown)[f"{key}.a.b.c"] == {"value": 2, "origin": None}


def test_origins_stand_in_a_column_and_the_command_lines_are_bold() -> None:
    tree = {"optim": {"lr": 0.001, "betas": [0.9, 0.98], "path": "x" * 60}, "seed": 1}
    origins = leaf_origins(tree, {"optim": "conf/optim.yaml", "optim.lr": "command line", "seed": "conf/train.yaml"})
    text = config_yaml(ShownConfig(tree, origins, "tipx train"))
    assert text.plain.splitlines() == [
        "# tipx train",
        "optim:",
        "  lr: 0.001           # command line",
        "  betas: [0.9, 0.98]  # conf/optim.yaml",
        f"  path: {'x' * 60}  # conf/optim.yaml",
        "seed: 1  # conf/train.yaml",
    ]
    (span,) = [span for span in text.spans if span.style == "bold"]
    assert text.plain[span.start : span.end].strip() == "lr: 0.001           # command line"
