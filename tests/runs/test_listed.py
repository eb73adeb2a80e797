"""A list of runs is that of their files, whatever lies beside them."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tipx.report.listing import measured, wide_row
from tipx.runs import file_keys as files
from tipx.runs.directory import Run
from tipx.runs.find import all_runs
from tipx.runs.listed import KEPT_LIST, LOCK, ListedRun, list_head, listed_runs, read_list, write_list
from tipx.runs.mark import MARK
from tipx.runs.reader import StoredRun, stored_runs
from tipx.runs.results import CHECKSUM, text_checksum

CONFIG = {
    "seed": 3,
    "loop": {"steps": 4},
    "model": {"student": {"path": "s"}, "teacher": {"path": "t"}},
    "selector": {"score": {"_target_": "a"}, "pick": {"_target_": "b", "ratio": 0.5}},
}
ANSWERS = '{"id": "p", "mode": "sample", "value": 1}\n'


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three finished runs, which count as settled at once."""
    monkeypatch.setattr("tipx.runs.listed.SETTLED_NS", 0)
    for seed in range(3):
        make(tmp_path / "runs" / "g" / f"made-0badcaf{seed}", seed)
    return tmp_path / "runs"


def make(path: Path, seed: int) -> None:
    run = Run.create(path, CONFIG | {"seed": seed}, {"commit": "c0ffee"})
    run.note("choices", {"selector": "soft_or"})
    run.note("overrides", [f"seed={seed}"])
    for step in range(5):
        run.log({"step": step, "eval/x/mean": step / 10, "select/kept_frac": 0.5, "train/loss": 0.1 * seed + step})
    for step in (0, 4):
        folder = run.eval_dir(step) / "x-abcdef"
        folder.mkdir(parents=True)
        facts = {"benchmark": "x", "problems": 1, "n": 1, "mean": 1.0, "scores": {"p": 1.0}}
        (folder / "samples.jsonl").write_text(ANSWERS)
        (folder / "result.json").write_text(json.dumps(facts | {CHECKSUM: text_checksum(ANSWERS)}))
    run.finish({"steps": 4})


def rows(runs: list[StoredRun]) -> list[dict[str, Any]]:
    """All that a list may show."""
    names = ("kept", "train/loss", "x.before", "x.mean", "x.n")
    return [wide_row(run) | {name: run.damage or measured(run, name) for name in names} for run in runs]


def from_list(runs: list[StoredRun]) -> list[str]:
    return [run.name for run in runs if isinstance(run, ListedRun)]


def test_a_list_is_that_of_the_files_and_is_read_from_one_file_the_next_time(runs_dir: Path) -> None:
    fresh = rows(stored_runs(runs_dir))
    assert rows(listed_runs(runs_dir)) == fresh
    runs = all_runs(runs_dir)
    entries = read_list(runs_dir)
    assert [*entries] == [f"g/{run.path.name}" for run in runs]
    assert rows(listed_runs(runs_dir)) == fresh
    paths = set(files.list_paths(entries))
    assert all(any(key.covers(path) for key in files.LIST.keys) for path in paths)
    for entry in entries.values():
        entry["known"]["step"] = 99  # so it is the list that is read
    write_list(runs_dir, entries)
    assert [row["step"] for row in rows(listed_runs(runs_dir))] == [99, 99, 99]
    assert "scores" not in json.dumps(entries)


def append(path: Path) -> None:
    with path.open("a") as handle:
        handle.write(" \n")


def change_secretly(path: Path) -> None:
    """Another content of the same size, and the same time of change as far as that can be set."""
    there = path.stat()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (there.st_size, there.st_mtime_ns)


def add_result(folder: Path) -> None:
    folder.mkdir()
    (folder / "result.json").write_text('{"benchmark": "y", "problems": 1, "n": 1, "mean": 0.5}')


RESULT = "evals/000004/x-abcdef"
CHANGES: dict[str, Callable[[Path], None]] = {
    "config": lambda run: append(run / "config.yaml"),
    "another seed": lambda run: change_secretly(run / "config.yaml"),
    "provenance": lambda run: (run / "provenance.json").unlink(),
    "mark": lambda run: (run / MARK).unlink(),
    "metrics": lambda run: append(run / "metrics.jsonl"),
    "not finished": lambda run: (run / "summary.json").unlink(),
    "set aside": lambda run: (run / ".previous").mkdir(),
    "result": lambda run: change_secretly(run / RESULT / "result.json"),
    "answers": lambda run: change_secretly(run / RESULT / "samples.jsonl"),
    "no answers": lambda run: (run / RESULT / "samples.jsonl").unlink(),
    "a result more": lambda run: add_result(run / "evals/000004/y-abcdef"),
    "first results": lambda run: shutil.rmtree(run / "evals/000000"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_changed_is_read_again(runs_dir: Path, change: str) -> None:
    before = rows(listed_runs(runs_dir))
    CHANGES[change](runs_dir / "g" / "made-0badcaf1")
    fresh, listed = rows(stored_runs(runs_dir)), rows(listed_runs(runs_dir))
    assert listed == fresh
    assert change in ("config", "mark", "set aside") or listed != before


def test_what_is_young_running_or_damaged_is_not_in_the_list(runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs_dir / "g" / "made-0badcaf0" / "metrics.jsonl").write_text("{}\n")
    with Run(runs_dir / "g" / "made-0badcaf1").lock():
        runs = listed_runs(runs_dir)
        assert from_list(runs) == ["made-0badcaf2"]
        assert [run.state for run in runs] == ["damaged", "finished", "finished"]
    (runs_dir / KEPT_LIST).unlink()
    monkeypatch.setattr("tipx.runs.listed.SETTLED_NS", 3600 * 10**9)
    assert from_list(listed_runs(runs_dir)) == []
    assert not (runs_dir / KEPT_LIST).exists()


def test_a_configuration_that_json_would_change_is_not_in_the_list(runs_dir: Path) -> None:
    for number, line in enumerate(("day: 2026-11-29\n", "part: {1: 2}\n")):
        with (runs_dir / "g" / f"made-0badcaf{number}" / "config.yaml").open("a") as handle:
            handle.write(line)
    fresh = rows(stored_runs(runs_dir))
    assert from_list(listed_runs(runs_dir)) == ["made-0badcaf2"]
    assert rows(listed_runs(runs_dir)) == fresh


def false_list(runs_dir: Path) -> bytes:
    """Entries as they are written, whose numbers are false."""
    entries = read_list(runs_dir)
    for entry in entries.values():
        entry["known"]["step"] = 99
    return json.dumps(entries).encode()


@pytest.mark.parametrize("wrong", ["checksum", "cut", "empty", "foreign", "code", "user", "folder"])
def test_a_list_that_is_not_ours_is_not_read(runs_dir: Path, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, file = rows(listed_runs(runs_dir)), runs_dir / KEPT_LIST
    body = false_list(runs_dir)
    head = list_head(body)
    assert rows(listed_runs(runs_dir)) == fresh
    content = {
        "checksum": head + b"\n" + body.replace(b"99", b"98"),
        "cut": (head + b"\n" + body)[:-5],
        "empty": b"",
        "foreign": b'{"somebody": "else"}\n',
    }.get(wrong, head + b"\n" + body)
    if wrong == "folder":
        file.unlink()
        file.mkdir()
    else:
        file.write_bytes(content)
    if wrong == "code":
        monkeypatch.setattr("tipx.runs.listed.code_state", lambda: "another")
    if wrong == "user":
        monkeypatch.setattr("os.getuid", lambda: file.stat().st_uid + 1)
    assert rows(listed_runs(runs_dir)) == fresh
    stays = wrong in ("empty", "foreign", "user")  # what is another's is not written over
    assert wrong == "folder" or (file.read_bytes() == content) == stays


@pytest.mark.parametrize("hindrance", ["held", "no lock", "full disk"])
def test_where_the_list_cannot_be_written_it_is_the_same(
    runs_dir: Path, hindrance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = rows(stored_runs(runs_dir))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if hindrance == "no lock":
        (runs_dir / LOCK).mkdir()
    if hindrance == "full disk":
        monkeypatch.setattr("os.fsync", full)
    other = FileLock(runs_dir / (LOCK if hindrance == "held" else "other"))
    with other:
        assert rows(listed_runs(runs_dir)) == fresh
    assert not (runs_dir / KEPT_LIST).exists()


def test_several_may_write_at_once(runs_dir: Path) -> None:
    listed_runs(runs_dir)
    entries = read_list(runs_dir)

    def write(number: int) -> bool:
        write_list(runs_dir, entries | {f"g/{number}": {"files": {}, "known": {"text": "x" * number}}})
        return entries.items() <= read_list(runs_dir).items()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(200)))


def test_nothing_is_written_where_there_is_no_run(tmp_path: Path) -> None:
    assert listed_runs(tmp_path) == []
    assert listed_runs(tmp_path / "nowhere") == []
    assert [*tmp_path.iterdir()] == []
