"""The notebook of the tutorials: its cells run in order, and what it stores is small and of no machine."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

pytestmark = pytest.mark.long(40)

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "notebook.ipynb"
SMALLER = {"=20": "=2", "loop.prompts=32": "loop.prompts=4", "eval.limit=64": "eval.limit=4"}
"""Settings of its runs, and smaller ones."""
LARGEST = 300_000
"""Bytes."""


def code_cells() -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_cells_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))  # there is no screen
    first, *others = ["".join(cell["source"]) for cell in code_cells()]
    for usual, smaller in SMALLER.items():
        assert usual in first
        first = first.replace(usual, smaller)
    names: dict[str, Any] = {}
    for number, source in enumerate([first, *others]):
        exec(compile(source, f"cell {number}", "exec"), names)
    assert set(names["runs"]["rule"]) == {"full", "q3_only", "random"}
    assert set(names["runs"]["state"]) == {"finished"}
    assert names["tokens"]["soft_or"].any()
    assert len(names["report"].frame) > 0


def test_outputs_are_stored_small_and_name_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < LARGEST
    assert not [place for place in (str(Path.cwd()), str(Path.home()), "/home/", "/tmp/", "Traceback") if place in text]
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    # All but the first, which trains, show something.
    assert [bool(cell["outputs"]) for cell in code_cells()] == [False, *[True] * (len(code_cells()) - 1)]
