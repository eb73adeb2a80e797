"""`python -m bench.language` counts what it says it counts, on a package made by hand."""

from pathlib import Path

import pytest

from bench import language

LOSS = '''"""Three words here."""

from tipx.names import Side


class Known: ...


def load_model(one): ...


def load():  # noqa: X1
    """Two words."""
    found = 1  # counted
    return found
'''
NAMES = """class Known: ...


class Side:
    def gather_BT(self):
        from tipx.vocab import loss
"""
LAYERS = 'LAYERS = (\n    {"names"},\n    {"vocab"},\n)\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in {"tipx/vocab/loss.py": LOSS, "tipx/names.py": NAMES, "tests/test_layers.py": LAYERS}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_names_comments_and_docstrings(checkout: Path) -> None:
    lines = list(language.describe_names(language.load_modules(checkout)))
    assert lines == [
        "function names of one word: 67 % (2 of 3)",
        "comment lines: 8.3 % (1 of 12 lines that are not blank)",
        "docstrings: 2, words: median 2.5, 90th percentile 3",
        "functions: mean length 2.3 lines",
        "variables: one 1, found 1, kept 0, known 0, said 0",
        "public class names that occur twice: 1",
        "  Known: names.py, vocab/loss.py",
        "functions called load: 1 (vocab/loss.py)",
    ]


def test_imports_between_rooms(checkout: Path) -> None:
    modules = language.load_modules(checkout)
    assert list(language.describe_imports(modules, language.read_layers(checkout))) == [
        "rooms: 2, arrows between rooms: 2",
        "arrows up: names -> vocab",
        "circles: names, vocab",
    ]


def test_rooms_without_circles(checkout: Path) -> None:
    (checkout / "tipx/names.py").write_text("class Side: ...\n")
    modules = language.load_modules(checkout)
    assert list(language.describe_imports(modules, {})) == [
        "rooms: 2, arrows between rooms: 1",
        "arrows up: none",
        "circles: none",
    ]
