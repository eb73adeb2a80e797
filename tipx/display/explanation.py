"""What `tipx explain` says of a key, as text and tables."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tipx.config.trees import Tree
from tipx.display.fit import FittedTable

FACTS = (
    ("type", "type"),
    ("range", "range"),
    ("unit", "unit"),
    ("when", "when"),
    ("older_name", "older name"),
    ("command", "command"),
)
"""Facts that are shown as they are, and how they are called."""


def show_explanation(facts: Tree) -> RenderableType:
    """The facts of `config.lookup.look_up`, to be printed."""
    if facts["kind"] == "several":
        return two_columns(facts["keys"], f"{facts['word']} is the end of several keys")
    if facts["kind"] == "choice":
        return two_columns(facts["choices"], f"{facts['word']} is a choice")
    if facts["kind"] == "alias":
        return Group(Text(f"{facts['key']} is {facts['is']['key']}"), "", show_explanation(facts["is"]))
    parts: list[RenderableType] = [Text(facts["key"], "bold"), Text(facts["meaning"]), "", fact_table(facts)]
    if facts.get("choices"):
        parts += ["", two_columns(facts["choices"], f"choices ({facts['key']}=...)")]
    if facts.get("set_by"):
        parts += ["", setting_table(facts["set_by"])]
    if facts["kind"] in ("section", "group") and facts["keys"]:
        parts += ["", Text("keys", "italic"), Text("  ".join(facts["keys"]))]
    return Group(*parts)


def fact_table(facts: Tree) -> Table:
    """Name and value, one a line; what is empty is left out."""
    out = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    out.add_column(no_wrap=True)
    out.add_column(overflow="fold")
    for name, title in FACTS:
        if facts.get(name):
            out.add_row(title, Text(str(facts[name])))
    if facts.get("parts"):
        out.add_row("parts", Text(", ".join(facts["parts"])))
    for line in value_lines(facts):
        out.add_row(*line)
    if facts.get("exists_with") and not facts["exists"]:
        out.add_row("exists with", Text(", ".join(facts["exists_with"])))
    return out


def value_lines(facts: Tree) -> list[tuple[str, Text]]:
    """The value by default, and the one of the overrides where it is another or from elsewhere."""
    if facts["kind"] == "group":
        return [("value", Text(str(facts["value"])))] if facts["value"] else []
    if facts["kind"] != "key":
        return []
    default = [] if facts["default_from"] is None else [("default", from_file(facts["default"], facts["default_from"]))]
    same = (facts["value"], facts["value_from"]) == (facts["default"], facts["default_from"])
    if facts["exists"]:
        return default if same else [("value", from_file(facts["value"], facts["value_from"])), *default]
    return [*default, ("value", Text("none: the key is not there with these choices"))]


def from_file(value: Any, file: str) -> Text:
    return Text.assemble((yaml_text(value), "bold"), f"  {file}")


def yaml_text(value: Any) -> str:
    """A value as it is typed."""
    if value == "???":
        return "required"
    if value is None or isinstance(value, (bool, list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if value == "" or "\n" in str(value) else str(value)


def setting_table(settings: Sequence[Tree]) -> FittedTable:
    """Which choices give which value, one line for each value and file."""
    lines: dict[tuple[str, str], list[str]] = {}
    for one in settings:
        lines.setdefault((yaml_text(one["value"]), one["file"]), []).append(one["choice"])
    out = FittedTable("set by")
    out.add_column("value", no_wrap=True)
    out.add_column("file", no_wrap=True)
    out.add_column("with")
    for (value, file), took in lines.items():
        out.add_row(Text(value), Text(file), Text(", ".join(took)))
    return out


def two_columns(lines: dict[str, str], title: str) -> Table:
    """A name and a line on it."""
    out = Table("", "", title=title, title_justify="left", show_header=False, box=None)
    for name, text in lines.items():
        out.add_row(Text(name, "bold"), Text(text))
    return out
