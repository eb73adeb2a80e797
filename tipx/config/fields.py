"""What the source of a spec says of its fields: type, range, default and meaning.

It is read as text and never imported: importing an `Experiment` takes seconds and torch. The meaning of a field is the
string on the line after it. Type and range are those of its annotation, whose names are followed through the modules
that define them.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tipx.errors import ConfigError

WORDS = {
    "int": "whole number",
    "float": "number",
    "str": "text",
    "bool": "true or false",
    "dict": "mapping",
    "Any": "anything",
}
SECTION = "section"
SPEC = "tipx.spec"
LARGE = 10**9
"""Numbers from here are written as powers."""
Names = dict[str, ast.AST]


@dataclass(frozen=True)
class Values:
    """The values that an annotation lets in: kinds of them, single ones by name, and bounds of a number."""

    kinds: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    """Whether `low` itself is too low."""
    below: bool = False
    """Whether `high` itself is too high."""
    notes: tuple[str, ...] = ()
    """What else a value must be."""

    @property
    def type(self) -> str:
        """As `whole number or null`."""
        named = self.choices if len(self.choices) == 1 else ("choice",) * bool(self.choices)
        kinds = list(dict.fromkeys([*(k for k in self.kinds if k != "null"), *named, *(["null"] * self.can_be_null)]))
        if len(kinds) > 1:
            kinds = [part for kind in kinds for part in (("true", "false") if kind == WORDS["bool"] else (kind,))]
        return ", ".join(kinds[:-1]) + " or " * (len(kinds) > 1) + kinds[-1]

    @property
    def can_be_null(self) -> bool:
        return "null" in self.kinds

    @property
    def range(self) -> str:
        """As `above 0, at most 1`; "" where everything of the type is let in."""
        several = (", ".join(self.choices),) if len(self.choices) > 1 else ()
        return "; ".join(part for part in (*several, self.bounds, *self.notes) if part)

    @property
    def bounds(self) -> str:
        low, high = (None if bound is None else number_text(bound) for bound in (self.low, self.high))
        if low is not None and high is not None and not (self.above or self.below):
            return f"{low} to {high}"
        parts = [f"{'above' if self.above else 'at least'} {low}"] if low is not None else []
        return ", ".join(parts + ([f"{'below' if self.below else 'at most'} {high}"] if high is not None else []))

    def __or__(self, other: "Values") -> "Values":
        """Either of them."""
        bounded = self if self.low is not None or self.high is not None else other
        return replace(
            bounded,
            kinds=tuple(dict.fromkeys([*self.kinds, *other.kinds])),
            choices=tuple(dict.fromkeys([*self.choices, *other.choices])),
            notes=tuple(dict.fromkeys([*self.notes, *other.notes])),
        )


def number_text(number: float) -> str:
    if number == 2**63 - 1:
        return "2^63 - 1"
    if number >= LARGE:
        return f"{number:.0e}".replace("e+", "e")
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


@dataclass(frozen=True)
class FieldFacts:
    """One field of a spec. `default` is its source text; None where a value is required."""

    name: str
    values: Values
    meaning: str
    default: str | None


def describe_fields(target: str) -> dict[str, FieldFacts]:
    """The fields of the class at a dotted path, those of its bases first; raises ConfigError if there is none."""
    module, _, name = target.rpartition(".")
    found = resolve_name(module, name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        raise ConfigError(f"{target}: no such class; `tipx show` lists every key")
    return class_fields(found[0], found[1])


def describe_class(target: str) -> str:
    """The first line of the docstring of the class at a dotted path."""
    module, _, name = target.rpartition(".")
    found = resolve_name(module, name)
    text = ast.get_docstring(found[1]) if found and isinstance(found[1], ast.ClassDef) else None
    return (text or "").partition("\n\n")[0].replace("\n", " ")


def class_fields(module: str, node: ast.ClassDef) -> dict[str, FieldFacts]:
    fields: dict[str, FieldFacts] = {}
    for base in node.bases:
        found = resolve_name(module, base.id) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[1], ast.ClassDef):
            fields |= class_fields(found[0], found[1])
    for line, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            default = None if line.value is None else default_text(line.value)
            values = read_values(line.annotation, module)
            fields[line.target.id] = FieldFacts(line.target.id, values, string_of(after), default)
    return fields


def string_of(node: ast.AST | None) -> str:
    """The text of a line that is a string, as one line; "" for any other."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def default_text(node: ast.expr) -> str:
    """A default as YAML would have it."""
    text = ast.unparse(node)
    if text.startswith("field(default_factory="):
        return {"dict": "{}", "list": "[]"}[text.removeprefix("field(default_factory=").removesuffix(")")]
    plain = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return plain.replace("(", "[").replace(",)", "]").replace(")", "]").replace("'", "")


# --- annotations -----------------------------------------------------------------------------------------------------


def read_values(node: ast.expr, module: str) -> Values:
    """The values that an annotation in a module lets in."""
    match node:
        case ast.Constant(value=None):
            return Values(("null",))
        case ast.BinOp(op=ast.BitOr()):
            return read_values(node.left, module) | read_values(node.right, module)
        case ast.Subscript():
            return read_subscript(ast.unparse(node.value), elements(node.slice), module)
        case ast.Name() if node.id in WORDS:
            return Values((WORDS[node.id],))
        case ast.Name():
            found = resolve_name(module, node.id)
            alias = found is not None and isinstance(found[1], ast.expr)
            return read_values(found[1], found[0]) if alias else Values((SECTION,))  # type: ignore[index,arg-type]
    raise ConfigError(f"{module}: {ast.unparse(node)!r} is no annotation of a spec; mend the class")


def elements(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.Tuple) else [node]


def read_subscript(name: str, parts: Sequence[ast.expr], module: str) -> Values:
    if name == "Annotated":
        values = read_values(parts[0], module)
        for call in parts[1:]:
            values = constrain(values, call, module)
        return values
    if name == "Literal":
        return Values((), tuple(str(part.value) for part in parts if isinstance(part, ast.Constant)))
    if name == "dict":
        return Values((WORDS["dict"],))
    if name in ("tuple", "list"):
        each, fixed = read_values(parts[0], module), name == "tuple" and ast.unparse(parts[-1]) != "..."
        kinds = " or ".join(plural(kind) for kind in each.kinds) or "choices"
        listed = f"list of {len(parts)} {kinds}" if fixed else f"list of {kinds}"
        return replace(each, kinds=(listed,), choices=(), notes=(", ".join(each.choices), *each.notes))
    raise ConfigError(f"{module}: {name}[...] is no annotation of a spec; mend the class")


def plural(kind: str) -> str:
    return kind.replace("list of", "lists of", 1) if kind.startswith("list of") else f"{kind}s"


def constrain(values: Values, call: ast.expr, module: str) -> Values:
    """The values that one more part of an `Annotated` leaves."""
    text = ast.unparse(call)
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "Field":
        given = {part.arg: constant(part.value, module) for part in call.keywords}
        return with_bounds(values, given)
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "at_least":
        least = constant(call.args[0], module)
        return replace(values, low=least, above=False) if least >= constant(ast.Name("COLDEST"), SPEC) else values
    match text:
        case "AfterValidator(greedy_or_warm)":
            coldest = number_text(constant(ast.Name("COLDEST"), SPEC))
            return replace(values, low=None, high=None, notes=(f"0, or {coldest} to {number_text(values.high or 0)}",))
        case "AfterValidator(path_text)":
            return replace(values, kinds=("path",))
        case "AfterValidator(some_text)":
            return replace(values, notes=("not blank",))
    return values


def with_bounds(values: Values, given: dict[str | None, Any]) -> Values:
    if "gt" in given or "ge" in given:
        values = replace(values, low=given.get("gt", given.get("ge")), above="gt" in given)
    if "lt" in given or "le" in given:
        values = replace(values, high=given.get("lt", given.get("le")), below="lt" in given)
    lengths = [
        (word, given[key]) for word, key in (("at least", "min_length"), ("at most", "max_length")) if key in given
    ]
    return replace(values, notes=(*values.notes, *(f"{word} {length:,} of them" for word, length in lengths)))


def constant(node: ast.expr, module: str) -> Any:
    """The number that an expression of numbers is."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            found = resolve_name(module, node.id)
            if found is not None and isinstance(found[1], ast.expr):
                return constant(found[1], found[0])
        case ast.BinOp(op=ast.Pow()):
            return constant(node.left, module) ** constant(node.right, module)
        case ast.BinOp(op=ast.Sub()):
            return constant(node.left, module) - constant(node.right, module)
    raise ConfigError(f"{module}: {ast.unparse(node)!r} is no number; mend the class")


# --- modules ---------------------------------------------------------------------------------------------------------


@cache
def resolve_name(module: str, name: str) -> tuple[str, ast.AST] | None:
    """The module that defines a name, and the class or the expression that it is; None for what is elsewhere."""
    node = module_names(module).get(name)
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        original = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
        return resolve_name(node.module, original)
    return None if node is None else (module, node)


@cache
def module_names(module: str) -> Names:
    """What each name at the top of a module stands for; {} for a module that is not to be found as a file."""
    path = module_file(module)
    return {} if path is None else dict(top_names(ast.parse(path.read_text(encoding="utf-8"))))


def top_names(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
            yield from (
                (name.id, value)
                for target in node.targets
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                for name, value in zip(target.elts, node.value.elts, strict=True)
                if isinstance(name, ast.Name)
            )


def module_file(module: str) -> Path | None:
    """The file of a module; only its top-level package is asked for, so nothing of it is imported."""
    top, *rest = module.split(".")
    found = find_spec(top)
    if found is None or found.origin is None:
        return None
    base = Path(found.origin).parent.joinpath(*rest) if rest else Path(found.origin).with_suffix("")
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)
