"""One line for each way in which a configuration can be wrong: the key, what was expected, what came."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from tipx.config.trees import value_at

OBJECTS = ("is_instance_of", "dataclass_type")
"""Kinds of errors where an object of a class is wanted."""
BE = "Input should be "
LONGEST = 200
"""Characters of a value that are shown."""


def explain_composition(text: str, keys: Sequence[str], options: Callable[[str], list[str]]) -> str:
    """For Hydra's composition errors. `keys` are the dotted keys that exist, `options(group)` a group's choices."""
    choice = re.search(r"Could not find '([^']+)/([^'/]*)'", text)
    if choice:
        group, name = choice.groups()
        there = options(group)
        if not there:
            return f"{group}: no such config group; `tipx list` shows what there is"
        near = difflib.get_close_matches(name, there, n=2, cutoff=0.4)
        return f"{group}={name}: no such choice; {did_you_mean(near)}there are {', '.join(there)}"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        if handed_on := re.fullmatch(r"(.*\b(?:engine|extra))(\.\w+)?", key):
            section, name = handed_on.groups()
            return f"{key}: a setting that is handed on is typed with a plus: +{section}{name or '.NAME'}=VALUE"
        sections = sorted({known.rsplit(".", 1)[0] for known in keys if "." in known})
        near = difflib.get_close_matches(key, [*keys, *sections], n=2, cutoff=0.5)
        return f"{key}: no such key; {did_you_mean(near)}`tipx show` lists every key"
    several = re.search(r"Ambiguous value for argument '([^']*)'", text)
    if several:
        return f"{several.group(1)}: several values, a run has one; write a list as KEY=[a,b], text as KEY='\"a,b\"'"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def did_you_mean(near: Sequence[str]) -> str:
    return f"did you mean {' or '.join(near)}? " if near else ""


def explain_values(error: ValidationError, where: str, raw: Any) -> str:
    """For the first field that does not validate; `raw` is the config before interpolation."""
    errors = error.errors()
    first = errors[0]
    kind, got = first["type"], first.get("input")
    key = dotted_key(where, first, raw)
    if kind in ("product", "path", "conflict"):
        return f"{key + ': ' if key else ''}{first['msg']}; see `tipx show`"
    if kind == "unexpected_keyword_argument":
        section = value_at(raw, key.rpartition(".")[0]) if "." in key else None
        owner = f" of {section['_target_'].rpartition('.')[2]}" if isinstance(section, dict) else ""
        return f"{key}: no such key{owner}; `tipx show` lists every key"
    if kind.startswith("missing"):
        return f"{key}: a value is required; give it as {key}=VALUE"
    # A value that was interpolated is better named where the user wrote it.
    source = re.fullmatch(r"\$\{([\w.]+)\}", str(value_at(raw, key)))
    name = f"{source.group(1)} (as {key})" if source else key
    shown = type(got).__name__ if kind in OBJECTS else shorten(repr(got))
    same_key = [one for one in errors if dotted_key(where, one, raw) == key]
    return f"{name}: {describe_expected(same_key)}, got {shown}; see `tipx show`"


def dotted_key(where: str, error: Any, raw: Any) -> str:
    """The key that an error is about, without pydantic's own names for the kinds that a value may have."""
    key = where
    for part in error["loc"]:
        here = value_at(raw, key) if key else raw
        known = part in here if isinstance(here, dict) else isinstance(part, int) or str(here).startswith("${")
        if not known and not error["type"].startswith(("missing", "unexpected")):
            break
        key = f"{key}.{part}" if key else str(part)
    return key


def describe_expected(errors: Sequence[Any]) -> str:
    """What the value must be, or may be."""
    said = list(dict.fromkeys(one["msg"] for one in errors if one["type"] not in OBJECTS)) or [errors[0]["msg"]]
    if all(one.startswith(BE) for one in said):
        return f"must be {' or '.join(one.removeprefix(BE) for one in said)}"
    return said[0]


def shorten(text: str) -> str:
    """Its beginning and end, if it is more than a line."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
