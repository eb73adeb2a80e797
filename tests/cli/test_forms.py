"""What commands print: whole words at any width; with `--json` and `--csv` nothing else on standard output."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, call

Words = Callable[[Path, list[str]], list[str]]
FEW = ["hardware.device=cpu", "limit=3", "n=2"]
MEMORY = ["memory", "model=qwen3", "ratio=1,0.2", "--tokens", "64", "--prompt-tokens", "64", "--no-rollout"]


def name(folder: Path) -> str:
    (path,) = (folder / "runs" / "paper").iterdir()
    return path.name


COMMANDS: dict[str, Words] = {
    "train again": lambda _, overrides: ["train", *overrides],
    "preflight": lambda _, overrides: ["preflight", *overrides],
    "eval": lambda folder, _: ["eval", name(folder), *FEW],
    "compare": lambda folder, _: ["compare", name(folder), name(folder)],
    "runs": lambda *_: ["runs"],
    "tokens": lambda folder, _: ["tokens", name(folder), "--top", "2"],
    "show": lambda *_: ["show", "selector=q3_only"],
    "show of a run": lambda folder, _: ["show", name(folder)],
    "data check": lambda folder, _: ["data", "check", "math500", "dapo_math", f"eval.path={folder / 'nowhere'}"],
    "memory": lambda *_: MEMORY,
    "sweep": lambda _, overrides: ["sweep", *overrides, "selector=entropy_sampling,full", "ratio=0.2", "--dry-run"],
}
LISTS = ("preflight", "eval", "compare", "tokens", "data check", "memory")
"""Those whose JSON is a list, and which have CSV."""


@pytest.fixture(scope="module")
def place(trained: tuple[Path, list[str], Done], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    shutil.copytree(trained[0] / "runs", folder / "runs")
    return folder


def words_of(text: str) -> set[str]:
    """Without the lines of a table, and without what says which columns are left out."""
    before, _, after = text.partition("not shown: ")
    while after:
        more, _, after = after.partition("shows all")[2].partition("not shown: ")
        before += more
    return {word for word in before.split() if set(word) != {"─"}}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_word_is_broken_at_any_width(command: str, place: Path, trained: tuple[Path, list[str], Done]) -> None:
    words = COMMANDS[command](place, trained[1])
    whole = call(place, *words, columns=400)
    assert whole.code == 0, whole.err
    assert "not shown" not in whole.out
    for columns in (60, 80, 200):
        done = call(place, *words, columns=columns)
        if command == "preflight":  # it measures this machine each time
            done, whole = (replace(one, out=re.sub(r"\d[\d.]*", "0", one.out)) for one in (done, whole))
        assert words_of(done.out) <= words_of(whole.out), columns
        assert words_of(done.err) <= words_of(whole.err), columns


@pytest.mark.parametrize("command", LISTS)
def test_json_and_csv_stand_alone_on_standard_output(
    command: str, place: Path, trained: tuple[Path, list[str], Done]
) -> None:
    words = COMMANDS[command](place, trained[1])
    rows = json.loads(call(place, *words, "--json").out)
    assert isinstance(rows, list)
    assert rows
    # At a width where a table would leave out columns.
    table = list(csv.DictReader(io.StringIO(call(place, *words, "--csv", columns=60).out)))
    assert len(table) == len(rows) + (command == "compare")  # which has a row for each measure
    assert all(None not in row and None not in row.values() for row in table)
    both = call(place, *words, "--json", "--csv")
    assert (both.code, both.out, both.err.count("\n")) == (2, "", 1)


def test_what_the_rows_hold(place: Path, trained: tuple[Path, list[str], Done]) -> None:
    def rows(command: str) -> Any:
        return json.loads(call(place, *COMMANDS[command](place, trained[1]), "--json").out)

    (result,) = rows("eval")
    stored = json.loads((place / result["result"]).read_text())
    assert stored.items() <= result.items()
    assert (place / result["samples"]).exists()
    assert {row["name"]: (row["here"], row["rows"], row["hub"]) for row in rows("data check")} == {
        "math500": ("unusable", None, None),
        "dapo_math": ("no", None, "offline"),
    }
    assert rows("preflight")[0].keys() == {"check", "level", "text"}
    assert [(row["ratio"], row["paper, GB"]) for row in rows("memory")] == [(1, 72.0), (0.2, None)]


def test_the_csv_of_a_result_has_its_numbers_and_not_each_problems(place: Path) -> None:
    words = ["eval", name(place), *FEW]
    (row,) = csv.DictReader(io.StringIO(call(place, *words, "--csv").out))
    (result,) = json.loads(call(place, *words, "--json").out)
    assert float(row["mean"]) == result["mean"]
    assert float(row["pass_at.2"]) == result["pass_at"]["2"]
    assert int(row["outcomes.correct"]) == result["outcomes"]["correct"]
    assert not [column for column in row if column.startswith(("scores", "grading"))]


def test_the_csv_of_a_comparison_has_a_row_for_each_measure(place: Path) -> None:
    words = ["compare", name(place), name(place)]
    rows = list(csv.DictReader(io.StringIO(call(place, *words, "--csv").out)))
    (record,) = json.loads(call(place, *words, "--json").out)
    assert [(row["benchmark"], row["measure"]) for row in rows] == [("arithmetic", "mean@2"), ("arithmetic", "greedy")]
    assert float(rows[0]["a"]) == record["a"]["mean"]
    assert float(rows[0]["difference"]) == record["sampled"]["difference"] == 0
    assert float(rows[1]["p"]) == record["greedy"]["p"]


def test_an_error_is_among_the_findings_and_one_line_on_standard_error(
    place: Path, trained: tuple[Path, list[str], Done]
) -> None:
    done = call(place, "preflight", *trained[1], "rollout.max_new_tokens=999", "--json")
    assert (done.code, done.err.count("\n"), done.err[:7]) == (2, 1, "error: ")
    errors = [row["text"] for row in json.loads(done.out) if row["level"] == "error"]
    assert done.err == f"error: {errors[0]}\n"


def test_what_is_said_beside_the_numbers_is_on_standard_error(place: Path) -> None:
    words = ["eval", name(place), *FEW]
    for form in ([], ["--json"], ["--csv"]):
        done = call(place, *words, *form)
        assert done.err.startswith(f"already evaluated: runs/paper/{name(place)}/evals/000004/")
        assert "already" not in done.out
    check = call(place, "data", "check", "math500", f"eval.path={place / 'nowhere'}", "--json", columns=1000)
    assert check.err.startswith("unusable: ")
    assert check.err.removeprefix("unusable: ") == json.loads(check.out)[0]["wrong"] + "\n"
    saved = call(place, *MEMORY, "--out", "out", "--csv")
    assert saved.err.splitlines() == [f"saved    out/memory.{kind}" for kind in ("csv", "json", "png")]
    assert saved.out == (place / "out" / "memory.csv").read_text()
