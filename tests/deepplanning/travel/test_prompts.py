"""What the model is told: by us in two languages, or by the user's own checkout, which is read and not run."""

import json
import os
from pathlib import Path

import pytest

from tipx.deepplanning.travel.prompts import LANGUAGES, Language, official_texts, own_texts, words
from tipx.deepplanning.travel.tools import TOOLS
from tipx.errors import DataError


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_tool_and_argument_is_described(language: Language) -> None:
    texts = own_texts(language)
    assert texts.source == "own"
    assert "<plan>" in texts.system
    functions = [tool["function"] for tool in texts.tools]
    assert [function["name"] for function in functions] == list(TOOLS)
    for function in functions:
        tool = TOOLS[function["name"]]
        assert function["parameters"]["required"] == list(tool.required)
        assert tuple(function["parameters"]["properties"]) == (*tool.required, *tool.optional)
        assert all(one["description"] for one in function["parameters"]["properties"].values())


def test_both_languages_have_the_same_words() -> None:
    assert words("en").keys() == words("zh").keys()


def checkout(folder: Path, prompts: str) -> Path:
    (folder / "agent").mkdir()
    (folder / "tools").mkdir()
    (folder / "agent" / "prompts.py").write_text(prompts, encoding="utf-8")
    (folder / "tools" / "tool_schema_en.json").write_text(json.dumps([{"type": "function"}]), encoding="utf-8")
    return folder


def test_a_checkout_is_read_and_not_run(tmp_path: Path) -> None:
    prompts = f'open({str(tmp_path / "ran")!r}, "w")\nSYSTEM_PROMPT_ZH = "zh"\nSYSTEM_PROMPT_EN = """be good"""\n'
    texts = official_texts(checkout(tmp_path, prompts), "en")
    assert (texts.system, texts.tools) == ("be good", [{"type": "function"}])
    assert texts.source == str(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("prompts", "message"),
    [("x = 1", "no SYSTEM_PROMPT_EN"), ("x = (", "cannot read its"), ("SYSTEM_PROMPT_EN = f()", "no SYS")],
)
def test_another_kind_of_checkout_is_told_in_one_line(tmp_path: Path, prompts: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        official_texts(checkout(tmp_path, prompts), "en")


def test_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no agent/prompts\.py"):
        official_texts(tmp_path, "en")


@pytest.mark.skipif(
    "TIPX_DEEPPLANNING_DIR" not in os.environ, reason="TIPX_DEEPPLANNING_DIR names no official checkout"
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_official_schemas_have_our_tools_and_arguments(language: Language) -> None:
    theirs = official_texts(Path(os.environ["TIPX_DEEPPLANNING_DIR"]), language)
    assert len(theirs.system) > 1_000
    for one, other in zip(own_texts(language).tools, theirs.tools, strict=True):
        mine, official = one["function"], other["function"]
        assert mine["name"] == official["name"]
        assert mine["parameters"]["required"] == official["parameters"]["required"]
        assert list(mine["parameters"]["properties"]) == list(official["parameters"]["properties"])
