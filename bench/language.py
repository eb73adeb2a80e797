"""Figures of the code's language: names, comments, docstrings, and imports between rooms. They judge nothing.

python -m bench.language [ROOT]

ROOT is a checkout (default: this one). A room is a top-level entry of `tipx/`: a package or a module.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, quantiles

from rich.console import Console

WATCHED_VARIABLES = ("one", "found", "kept", "known", "said")
WATCHED_FUNCTIONS = ("load", "read", "check")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file: its path below `tipx/`, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.split("/", maxsplit=1)[0].removesuffix(".py")

    @property
    def functions(self) -> list[Function]:
        """Functions and methods, nested ones included."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


def load_modules(root: Path) -> list[Module]:
    """Every module of the package in the checkout `root`."""
    package = root / "tipx"
    modules = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        modules.append(Module(path.relative_to(package).as_posix(), text, ast.parse(text)))
    return modules


def is_one_word(name: str) -> bool:
    """`load` and `_load` are one word, `load_model` is not. Axis suffixes (`gather_BT`) are no words."""
    words = [word for word in name.strip("_").split("_") if word and not word.isupper()]
    return len(words) < 2


def count_lines(modules: Sequence[Module]) -> tuple[int, int]:
    """(lines that are not blank, lines with a comment other than a tool's `noqa` or `type:`)."""
    lines = comments = 0
    for module in modules:
        lines += sum(1 for line in module.text.splitlines() if line.strip())
        for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
            is_comment = token.type == tokenize.COMMENT
            comments += is_comment and not token.string.startswith(("# noqa", "# type:"))
    return lines, comments


def count_docstring_words(modules: Sequence[Module]) -> list[int]:
    """Words of each docstring of a module or function."""
    nodes = [node for module in modules for node in ast.walk(module.tree)]
    owners = [node for node in nodes if isinstance(node, Function | ast.Module)]
    docstrings = [ast.get_docstring(owner) for owner in owners]
    return [len(text.split()) for text in docstrings if text]


def count_variables(modules: Sequence[Module]) -> Counter[str]:
    """How often each watched name is bound: by assignment, loop, `with`, or as an argument."""
    counts: Counter[str] = Counter()
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                counts[node.id] += 1
            elif isinstance(node, ast.arg):
                counts[node.arg] += 1
    return Counter({name: counts[name] for name in WATCHED_VARIABLES})


def repeated_classes(modules: Sequence[Module]) -> dict[str, list[str]]:
    """The modules of each public class name that is defined more than once."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module.path)
    return {name: paths for name, paths in sorted(places.items()) if len(paths) > 1}


def watched_functions(modules: Sequence[Module]) -> dict[str, list[str]]:
    """The modules that define a function on its own (no method) with a watched name."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules:
        for node in module.tree.body:
            if isinstance(node, Function) and node.name in WATCHED_FUNCTIONS:
                places[node.name].append(module.path)
    return dict(sorted(places.items()))


def imported_rooms(module: Module) -> Iterator[str]:
    """The rooms that a module imports from, its own included; imports inside functions count."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("tipx."))


def import_arrows(modules: Sequence[Module]) -> set[tuple[str, str]]:
    """Distinct pairs (room that imports, room that is imported)."""
    rooms = {module.room for module in modules}
    pairs = {(module.room, other) for module in modules for other in imported_rooms(module)}
    return {(room, other) for room, other in pairs if room != other and other in rooms}


def read_layers(root: Path) -> dict[str, int]:
    """Each room's level in LAYERS of tests/test_layers.py, 0 at the bottom; empty where there is no such list."""
    path = root / "tests" / "test_layers.py"
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS":
            layers = ast.literal_eval(node.value)
            return {room: level for level, rooms in enumerate(layers) for room in rooms}
    return {}


def find_circles(arrows: set[tuple[str, str]]) -> list[list[str]]:
    """Groups of rooms that reach each other by imports."""
    reached: defaultdict[str, set[str]] = defaultdict(set)
    for room, other in arrows:
        reached[room].add(other)
    for middle in {room for arrow in arrows for room in arrow}:  # Warshall's transitive closure
        for room in list(reached):
            if middle in reached[room]:
                reached[room] |= reached[middle]
    groups = {frozenset(o for o in reached[room] if room in reached[o]) for room in reached if room in reached[room]}
    return sorted(sorted(group) for group in groups)


def describe_names(modules: Sequence[Module]) -> Iterator[str]:
    """Figures of names, comments, docstrings and functions."""
    functions = [function for module in modules for function in module.functions]
    names = [function.name for function in functions if not function.name.startswith("__")]
    short = sum(map(is_one_word, names))
    lines, comments = count_lines(modules)
    words = count_docstring_words(modules)
    longest = quantiles(words, n=10, method="inclusive")[-1]
    lengths = [(function.end_lineno or function.lineno) - function.lineno + 1 for function in functions]
    yield f"function names of one word: {100 * short / len(names):.0f} % ({short} of {len(names)})"
    yield f"comment lines: {100 * comments / lines:.1f} % ({comments} of {lines} lines that are not blank)"
    yield f"docstrings: {len(words)}, words: median {median(words):g}, 90th percentile {longest:.0f}"
    yield f"functions: mean length {fmean(lengths):.1f} lines"
    yield "variables: " + ", ".join(f"{name} {count}" for name, count in count_variables(modules).items())
    repeated = repeated_classes(modules)
    yield f"public class names that occur twice: {len(repeated)}"
    yield from (f"  {name}: {', '.join(paths)}" for name, paths in repeated.items())
    for name, paths in watched_functions(modules).items():
        yield f"functions called {name}: {len(paths)} ({', '.join(paths)})"


def describe_imports(modules: Sequence[Module], levels: dict[str, int]) -> Iterator[str]:
    """Figures of the imports between rooms."""
    arrows = import_arrows(modules)
    rooms = {module.room for module in modules} - {"__init__"}
    upward = sorted((a, b) for a, b in arrows if a in levels and b in levels and levels[a] <= levels[b])
    circles = find_circles(arrows)
    yield f"rooms: {len(rooms)}, arrows between rooms: {len(arrows)}"
    yield "arrows up: " + (", ".join(f"{a} -> {b}" for a, b in upward) or "none")
    yield "circles: " + ("; ".join(", ".join(circle) for circle in circles) or "none")


def main(arguments: Sequence[str]) -> None:
    """Print the figures of a checkout, or of some of its rooms."""
    parser = argparse.ArgumentParser(prog="python -m bench.language", description="Figures of the code's language.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], metavar="ROOT")
    parser.add_argument(
        "--only", nargs="+", metavar="PATH", help="beginnings of paths below tipx/, e.g. vocab/ types.py"
    )
    options = parser.parse_args(arguments)
    everything = load_modules(options.root)
    chosen = [m for m in everything if not options.only or m.path.startswith(tuple(options.only))]
    lines = list(describe_names(chosen))
    if not options.only:
        lines += describe_imports(everything, read_layers(options.root))
    Console(soft_wrap=True, highlight=False).print(*lines, sep="\n", markup=False)


if __name__ == "__main__":
    main(sys.argv[1:])
