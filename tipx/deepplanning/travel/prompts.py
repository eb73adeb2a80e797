"""What the model is told: the system prompt and the tools' schemas. Ours, or those of the user's own checkout.

The sentences that tools answer with are ours in either case. Nothing of a checkout is run: its prompts are read.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from tipx.deepplanning.travel.tools import TOOLS, Words
from tipx.errors import DataError

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True, slots=True)
class Texts:
    """`source` is "own" or the checkout they were read from."""

    system: str
    tools: list[dict[str, Any]]
    source: str


def own_texts(language: Language) -> Texts:
    read = own(language)
    tools = [tool.schema(name, read["tools"][name]) for name, tool in TOOLS.items()]
    return Texts(read["system"].strip(), tools, "own")


def words(language: Language) -> Words:
    """What the tools answer with, by name; the braces are the call's arguments."""
    found: Words = own(language)["words"]
    return found


@cache
def own(language: Language) -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return read


def official_texts(checkout: Path, language: Language) -> Texts:
    """The benchmark's own prompt and schemas from a checkout's `travelplanning` folder; raises DataError."""
    folder = next((checkout / sub for sub in ("", "travelplanning", "benchmark/deepplanning/travelplanning")
                   if (checkout / sub / "agent" / "prompts.py").is_file()), None)  # fmt: skip
    if folder is None:
        raise DataError(f"expected a checkout of QwenLM/Qwen-Agent, {str(checkout)!r} has no agent/prompts.py")
    name = f"SYSTEM_PROMPT_{language.upper()}"
    try:
        tree = ast.parse((folder / "agent" / "prompts.py").read_text(encoding="utf-8"))
        tools = json.loads((folder / "tools" / f"tool_schema_{language}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{str(folder)!r}: cannot read its prompts ({error}); check the repository out again"
        ) from error
    found = [value for value in map(assigned(name), tree.body) if value is not None]
    if not found:
        raise DataError(f"{str(folder)!r}: agent/prompts.py has no {name}; check out commit 31a4d36")
    return Texts(found[0], tools, str(folder))


def assigned(name: str) -> Any:
    """A function that gives the text a statement assigns to `name`, or None."""

    def value(statement: ast.stmt) -> str | None:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str() as text)) if target == name:
                return text
        return None

    return value
