"""The command as it is typed: words, output, exit codes, and how it ends."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Tipx, call
from tests.cli.test_startup import COMPOSE, GPU_STACK, loaded
from tests.warm import Server
from tests.watch.conftest import MakeRun, MakeSweep, line

A = "tiny-full-00000000"
TEN = [line(step) for step in range(1, 11)]


@pytest.fixture
def tipx(tmp_path: Path) -> Tipx:
    return lambda *args, **how: call(tmp_path, *args, **how)


def test_one_state(make_run: MakeRun, make_sweep: MakeSweep, tipx: Tipx) -> None:
    make_sweep(A, "tiny-full-11111111")
    make_run(A, TEN).finish({"steps": 10})
    for words in (["--once"], ["g", "--once"], ["g", "runs_dir=runs", "--once"], ["--runs-dir", "runs", "--once"]):
        done = tipx("watch", *words)
        assert (done.code, done.err) == (0, "")
        assert [row.split()[:2] for row in done.out.splitlines()[3:5]] == [
            ["seed=0", "finished"],
            ["seed=1", "waiting"],
        ]
        assert "1 waiting, 1 finished" in done.out


def test_json(make_run: MakeRun, tipx: Tipx) -> None:
    make_run(A, TEN)
    done = tipx("watch", "--json")
    shown = json.loads(done.out)
    assert (done.code, shown["title"], shown["counts"], shown["seconds"]) == (0, "runs", {"stopped": 1}, 10.0)
    assert [alert["kind"] for alert in shown["alerts"]] == ["process ended"]
    assert shown["rows"][0]["loss_curve"][0] == [1, 1.0]


def test_nothing_there_is_no_error(tipx: Tipx) -> None:
    for words in ([], ["g"], ["runs_dir=nowhere"]):
        done = tipx("watch", *words, "--once")
        assert (done.code, done.err, "no run" in done.out) == (0, "", True)
        assert json.loads(tipx("watch", *words, "--json").out)["rows"] == []


@pytest.mark.parametrize(
    ("words", "needles"),
    [
        (["a", "b"], ["one group", "'b'"]),
        (["group=a"], ["one group", "'group=a'"]),
        (["runs_dir="], ["expected a path"]),
        (["../x"], ["the name of one folder"]),
        (["--every", "0"], ["--every", "0.1"]),
        (["--html", "none/x.html", "--once"], ["none/x.html", "a folder that exists"]),
        (["--html", "mine.html", "--once"], ["mine.html", "not made by tipx"]),
    ],
)
def test_wrong_words_are_one_line(words: list[str], needles: list[str], tipx: Tipx, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    done = tipx("watch", *words)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert all(needle in done.err for needle in needles), done.err
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "watch", "--once") & (GPU_STACK | COMPOSE | {"pandas"})


def test_it_changes_no_file(make_run: MakeRun, make_sweep: MakeSweep, tipx: Tipx, tmp_path: Path) -> None:
    make_sweep(A, "tiny-full-11111111")
    make_run(A, TEN)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    tipx("watch", "--once")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_it_follows_and_ends_with_130(make_run: MakeRun, server: Server, tmp_path: Path) -> None:
    run = make_run(A, TEN)
    process = server.start(["watch", "--every", "0.1", "--html", "watch.html"], tmp_path, dict(os.environ))
    wait_for(lambda: "stopped" in process.output()[0])
    run.finish({"steps": 10})
    wait_for(lambda: "finished" in process.output()[0])
    make_run("tiny-late-00000000", TEN, group="late").finish({"steps": 10})
    wait_for(lambda: "late/tiny-late-00000000" in process.output()[0])
    assert 'http-equiv="refresh"' in (tmp_path / "watch.html").read_text()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "error: stopped watching; the runs go on\n")
    page = (tmp_path / "watch.html").read_text()
    assert "nobody watches" in page
    assert "tiny-late" in page


def wait_for(there: object, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not there():  # type: ignore[operator]
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
