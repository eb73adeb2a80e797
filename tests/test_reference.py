"""docs/reference/: the pages are those that docs/generate.py makes, and no key is missing from them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tipx.config.keys import ROOTS, catalogue
from tipx.runs.file_keys import FileKey
from tipx.runs.metric_keys import DECLARED

PROJECT = Path(__file__).parent.parent


def generator() -> ModuleType:
    place = importlib.util.spec_from_file_location("docs_generate", PROJECT / "docs" / "generate.py")
    assert place is not None
    assert place.loader is not None
    made = importlib.util.module_from_spec(place)
    place.loader.exec_module(made)
    return made


generate = generator()


@pytest.mark.parametrize("name", generate.PAGES)
def test_the_pages_are_as_they_are_made(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # the width of a terminal is no part of them
    monkeypatch.chdir(tmp_path)
    text = generate.page_text(name)
    assert (PROJECT / "docs" / "reference" / name).read_text() == text, "`make docs` writes it again"
    assert str(PROJECT) not in text
    assert str(Path.home()) not in text


def test_every_page_there_is_made() -> None:
    by_hand = {"python.md"}  # with directives for the docstrings, which Sphinx fills
    assert {path.name for path in (PROJECT / "docs" / "reference").glob("*.md")} - by_hand == set(generate.PAGES)


def test_no_key_is_undocumented() -> None:
    assert generate.without_meaning() == {name: [] for name in generate.PAGES}
    assert generate.count_keys()["configuration.md"] > 200


@pytest.mark.parametrize("root", ROOTS)
def test_every_key_and_every_choice_stands_in_configuration(root: str) -> None:
    text = generate.page_text("configuration.md")
    all_keys = catalogue(root)
    groups = [mount.group for mount in all_keys.mounts]
    # The keys of a group are told once, at its first place.
    again = [mount.package for i, mount in enumerate(all_keys.mounts) if mount.group in groups[:i]]
    for key in all_keys.settings:
        told_elsewhere = any(key.startswith(f"{place}.") for place in (*again, "benchmark.parts", "eval.sampling"))
        assert f"`{key}`" in text or told_elsewhere or key.rpartition(".")[0].endswith("asked"), key
    for mount, names in all_keys.mounts.items():
        assert f"### `{mount.typed}`" in text
        assert all(f"`{name}`" in text for name in names)
    assert "`benchmark.parts.<name>.size`" in text


def test_tables_have_as_many_cells_in_each_row() -> None:
    for name in generate.PAGES:
        width = 0
        for line in generate.page_text(name).splitlines():
            cells = line.replace(r"\|", "").count("|")
            width = width if cells and width else cells
            assert not cells or cells == width, line


def test_every_metric_stands_in_metrics() -> None:
    text = generate.page_text("metrics.md")
    assert all(f"| `{one.name}` |" in text for one in DECLARED)


def test_a_key_without_meaning_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = generate.ALL_FILES[2]
    silent = type(file)(file.place, file.meaning, (FileKey("nothing", ""),))
    monkeypatch.setattr(generate, "ALL_FILES", (silent,))
    assert generate.main(check=True) == 1
    assert "files.md: documented keys 0, undocumented keys nothing" in capsys.readouterr().out


def test_check_writes_nothing_and_sees_a_stale_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    assert generate.main(check=True) == 1
    assert "cli.md: not as `make docs` writes it" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert generate.main(check=False) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(generate.PAGES)
    assert generate.main(check=True) == 0


def test_text_that_markdown_would_read() -> None:
    assert generate.plain("a * b_c | <d> `e|f_g`") == r"a \* b\_c \| \<d\> `e\|f_g`"
    assert list(generate.table(("a", "b", "c"), [("1", "", "3")])) == ["| a | c |", "| --- | --- |", "| 1 | 3 |", ""]
