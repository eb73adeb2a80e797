"""The benchmark's own words, from the user's checkout, which is read and not run."""

import ast
from pathlib import Path

from tipx.deepplanning.checkout import assigned, half, lacking, schemas, tree
from tipx.deepplanning.shopping.task import LEVELS, Wording

ASKS = "_add_to_cart"
"""The method that asks to look at the cart again."""


def official_wording(checkout: Path) -> Wording:
    """Raises DataError for a folder that is no checkout, or of another version."""
    folder = half(checkout, "shoppingplanning")
    file = folder / "agent" / "prompts.py"
    parsed = tree(file)
    system = {level: assigned(parsed, f"SYSTEM_PROMPT_level{level}", file) for level in LEVELS}
    return Wording(system, follow_up(folder / "agent" / "shopping_agent.py"), tools(folder))


def tools(folder: Path) -> list[dict[str, object]]:
    return schemas(folder / "tools" / "shopping_tool_schema.json")


def follow_up(file: Path) -> str:
    """The message that is sent after the first turn without calls; raises DataError."""
    for method in ast.walk(tree(file)):
        if isinstance(method, ast.FunctionDef) and method.name == ASKS:
            for node in ast.walk(method):
                match node:
                    case ast.Dict(
                        keys=[ast.Constant(value="role"), ast.Constant(value="content")],
                        values=[ast.Constant(value="user"), ast.Constant(value=str() as text)],
                    ):
                        return text
    raise lacking(file, f"message in {ASKS}")
