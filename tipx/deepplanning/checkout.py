"""The user's checkout of the benchmark's repository: its prompts are read, and nothing of it is run."""

import ast
import json
from pathlib import Path
from typing import Any, Literal

from tipx.errors import DataError

Half = Literal["travelplanning", "shoppingplanning"]


def half(checkout: Path, name: Half) -> Path:
    """One domain's folder: named itself, or by the benchmark's folder or the repository around it. Raises DataError."""
    ways = (checkout / sub for sub in ("", name, f"benchmark/deepplanning/{name}"))
    found = next((way for way in ways if (way / "agent" / "prompts.py").is_file() and is_half(way, name)), None)
    if found is None:
        raise DataError(
            f"wording: expected a checkout of QwenLM/Qwen-Agent, {str(checkout)!r} has no agent/prompts.py of its "
            f"{name}; give its folder, or take tipx's own words: wording=own"
        )
    return found


def is_half(folder: Path, name: Half) -> bool:
    """The domains' folders look alike from outside."""
    return (folder / "agent" / "shopping_agent.py").is_file() == (name == "shoppingplanning")


def tree(file: Path) -> ast.Module:
    """A Python file, parsed; raises DataError."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise unreadable(file, error) from error


def schemas(file: Path) -> list[dict[str, Any]]:
    """A list of tools; raises DataError."""
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(file, error) from error
    return found


def unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{str(file)!r}: cannot read its prompts ({error}); check the repository out again")


def assigned(parsed: ast.Module, name: str, file: Path) -> str:
    """The text that a statement assigns to `name`; raises DataError if there is none."""
    for statement in parsed.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=str() as text)) if target == name:
                return text
    raise lacking(file, name)


def lacking(file: Path, what: str) -> DataError:
    return DataError(f"{str(file)!r} has no {what}; check out commit 31a4d36")
