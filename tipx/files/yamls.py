"""YAML that somebody else wrote: read within bounds, and refused in one line. Needs neither torch nor hydra.

A small file can stand for a very large tree: anchors that name each other double it with every line. So the file is
first read as a stream of events, which takes no more memory than the file, and counted as if every alias were written
out. Anchors as people write them stay allowed.
"""

import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml import CSafeLoader, MappingNode, Node, ScalarNode, SequenceNode

from tipx.errors import TipxError

BYTES = 4 * 2**20
NODES = 200_000
"""Keys and values, every alias written out."""
NOTHING = "tag:yaml.org,2002:null"
DEPTH = 50
"""Mappings and lists inside each other."""


class Unreadable(Exception):
    """What is wrong with a file, and where."""

    def __init__(self, what: str, line: int | None = None) -> None:
        super().__init__(what if line is None else f"line {line}: {what}")


def read_yaml(path: Path, error: type[TipxError], remedy: str) -> dict[str, Any]:
    """The mapping in a file, {} for an empty one; raises `error`: file, line, what is wrong, and `remedy`."""
    return parse_yaml(read_text(path, error, remedy), str(path), error, remedy)


def read_text(path: Path, error: type[TipxError], remedy: str) -> str:
    """The text of a file of ordinary size; raises `error`."""
    try:
        return decode_text(read_content(path))
    except (OSError, ValueError) as wrong:  # ValueError: a path that holds NUL
        reason = wrong.strerror if isinstance(wrong, OSError) else wrong
        raise error(f"cannot read {path}: {reason}; {remedy}") from wrong
    except Unreadable as wrong:
        raise error(f"{path}: {wrong}; {remedy}") from wrong


def parse_yaml(text: str, name: str, error: type[TipxError], remedy: str) -> dict[str, Any]:
    """The mapping that `text` is; raises `error`, which calls it `name`."""
    try:
        count_nodes(text)
        return read_mapping(text)
    except Unreadable as wrong:
        raise error(f"{name}: {wrong}; {remedy}") from wrong
    except yaml.YAMLError as wrong:
        raise error(f"{name}: {describe_error(wrong)}; {remedy}") from wrong


def first_comment(path: Path) -> str:
    """The first comment line that is no `@package`; "" where there is none, or the file is none to be read."""
    try:
        text = decode_text(read_content(path))
    except (OSError, ValueError, Unreadable):
        return ""
    lines = (line[1:].strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in lines if not line.startswith("@package")), "")


def read_content(path: Path) -> bytes:
    """The bytes of an ordinary file; raises OSError, ValueError or Unreadable."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unreadable("is no file")
    with path.open("rb") as handle:
        data = handle.read(BYTES + 1)
    if len(data) > BYTES:
        raise Unreadable(f"is larger than {BYTES >> 20} MiB")
    return data


def decode_text(data: bytes) -> str:
    """As UTF-8; raises Unreadable."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise Unreadable("is no UTF-8 text", data.count(b"\n", 0, wrong.start) + 1) from wrong
    if "\0" in text:
        raise Unreadable("holds a NUL byte", text.count("\n", 0, text.index("\0")) + 1)
    return text


def count_nodes(text: str) -> None:
    """Raises Unreadable for a tree that is too large or too deep, for an alias inside what it names, and for a tag."""
    sizes: dict[str, int] = {}  # nodes under an anchor
    open_anchors: list[str] = []
    starts: list[int] = []  # nodes before each open mapping or list
    nodes = 0
    event: Any
    for event in yaml.parse(text, CSafeLoader):
        line = event.start_mark.line + 1
        anchor: str = getattr(event, "anchor", None) or ""
        if getattr(event, "tag", None) is not None:
            raise Unreadable(f"a tag ({event.tag:.60}); write the plain value", line)
        if isinstance(event, yaml.AliasEvent):
            if anchor in open_anchors:
                raise Unreadable(f"*{anchor:.60} stands inside what it names", line)
            nodes += sizes.get(anchor, 1)  # an anchor that is nowhere is found by the loader
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            sizes |= {anchor: 1} if anchor else {}
        elif isinstance(event, yaml.CollectionStartEvent):
            nodes += 1
            starts.append(nodes - 1)
            open_anchors.append(anchor)
            if len(starts) > DEPTH:
                raise Unreadable(f"more than {DEPTH} mappings and lists inside each other", line)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, closed = nodes - starts.pop(), open_anchors.pop()
            sizes |= {closed: size} if closed else {}
        if nodes > NODES:
            raise Unreadable(f"more than {NODES} keys and values, every alias written out", line)


def read_mapping(text: str) -> dict[str, Any]:
    """The mapping of a text that is small enough; raises Unreadable or yaml.YAMLError."""
    loader = CSafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None or root.tag == NOTHING:
            return {}
        if not isinstance(root, MappingNode):
            raise Unreadable("expected a mapping, KEY: VALUE", root.start_mark.line + 1)
        refuse_repeated_keys(root)
        tree: dict[Hashable, Any] = loader.construct_document(root)
    except ValueError as wrong:  # a date or number that looks like one and is none
        raise Unreadable(f"a value that cannot be read ({wrong})") from wrong
    finally:
        loader.dispose()
    if odd := [key for key in tree if not isinstance(key, str)]:
        raise Unreadable(f"expected text as keys, got {odd[0]!r}")
    return tree  # type: ignore[return-value]


def refuse_repeated_keys(root: Node) -> None:
    """Raises Unreadable for a key that stands twice in a mapping."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if id(node) in seen or isinstance(node, ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, SequenceNode):
            left += node.value
            continue
        keys: set[str] = set()
        for key, value in node.value:
            left += [key, value]
            if isinstance(key, ScalarNode):
                if key.value in keys and key.value != "<<":
                    raise Unreadable(f"{key.value!r:.60} stands twice", key.start_mark.line + 1)
                keys.add(key.value)


def describe_error(error: yaml.YAMLError) -> str:
    """What the parser says, in one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: is no YAML: {error.problem}"
    return f"is no YAML: {' '.join(str(error).split())}"
