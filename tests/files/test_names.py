"""Names and paths as they are typed."""

import pytest

from tipx.files.names import not_unicode, wrong_name, wrong_path, wrong_words

PATHS = {
    "": "expected a path, got ''",
    " \t": "expected a path",
    "a\0b": "no control characters",
    "a\nb": "no control characters",
    "a\x7f": "no control characters",
    "/a/\udcff": "expected UTF-8",
    "a/" + "x" * 256 + "/b": "names of at most 255 bytes, got 256",
    "é" * 128: "got 256",
    "a/" * 1751: "a path of at most 3500 bytes, got 3502",
}
NAMES = ("a/b", ".a", "-a", "~a", " a", "a ", "..", "/", "x" * 151, "é" * 76, "a\tb", "", " ")


@pytest.mark.parametrize("path", PATHS)
def test_a_wrong_path(path: str) -> None:
    said = wrong_path(path)
    assert said is not None
    assert PATHS[path] in said
    assert said.isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_name(name: str) -> None:
    said = wrong_name(name)
    assert said is not None
    assert said.isprintable()


def test_good_ones() -> None:
    assert [wrong_path(path) for path in ("a", "/a b/c", "~/x", "../y", "x" * 255, "hf://o/n/*.parquet")] == [None] * 6
    assert [wrong_name(name) for name in ("a", "a b", "a.b-c~", "é", "x" * 150, "[a]")] == [None] * 6
    assert [wrong_words(text) for text in ("optim.lr", "a, b")] == [None] * 2
    assert None not in [wrong_words(text) for text in ("", " ", "a\0", "x" * 256)]
    assert (not_unicode("é"), not_unicode("\ud83d")) == (False, True)
