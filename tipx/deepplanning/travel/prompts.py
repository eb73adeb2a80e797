"""What the model is told: the system prompt and the tools' schemas. Ours, or those of the user's own checkout.

The sentences that tools answer with are ours in either case. Nothing of a checkout is run: its prompts are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from tipx.deepplanning.checkout import assigned, half, schemas, tree
from tipx.deepplanning.travel.tools import TOOLS, Words

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_FOLDER = Path(__file__).parent / "texts"


@dataclass(frozen=True, slots=True)
class PromptTexts:
    """`source` is "own" or the checkout they were read from."""

    system: str
    tools: list[dict[str, Any]]
    source: str


def own_texts(language: Language) -> PromptTexts:
    read = own(language)
    tools = [tool.schema(name, read["tools"][name]) for name, tool in TOOLS.items()]
    return PromptTexts(read["system"].strip(), tools, "own")


def words(language: Language) -> Words:
    """What the tools answer with, by name; the braces are the call's arguments."""
    found: Words = own(language)["words"]
    return found


@cache
def own(language: Language) -> Mapping[str, Any]:
    read: Mapping[str, Any] = yaml.safe_load((_FOLDER / f"{language}.yaml").read_text(encoding="utf-8"))
    return read


def official_texts(checkout: Path, language: Language) -> PromptTexts:
    """The benchmark's own prompt and schemas from a checkout; raises DataError."""
    folder = half(checkout, "travelplanning")
    file = folder / "agent" / "prompts.py"
    system = assigned(tree(file), f"SYSTEM_PROMPT_{language.upper()}", file)
    return PromptTexts(system, schemas(folder / "tools" / f"tool_schema_{language}.json"), str(folder))
