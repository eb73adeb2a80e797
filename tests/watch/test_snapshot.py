"""From files to rows: each state, what is read again, and folders that change while they are watched."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.hostile import EVERY
from tests.watch.conftest import MakeRun, MakeSweep, line, text_of
from tipx.display.console import COMMANDS
from tipx.runs.checkpoints import Checkpoints
from tipx.runs.reader import StoredRun
from tipx.runs.sweep_folder import SweepFolder
from tipx.watch import series, snapshot
from tipx.watch.alerts import LockHolder
from tipx.watch.snapshot import RunsWatcher, find_lock_holder
from tipx.watch.state import WatchSnapshot

NOW = 1_800_000_000.0
A, B, C = "tiny-full-00000000", "tiny-full-11111111", "tiny-full-22222222"
TEN = [line(step) for step in range(1, 11)]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def states(seen: WatchSnapshot) -> dict[str, str]:
    return {row.run: row.state for row in seen.rows}


def kinds(seen: WatchSnapshot) -> list[tuple[str, str]]:
    return [(alert.kind, alert.run) for alert in seen.alerts]


def test_a_run_that_trains(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A, [*TEN, line(11, loss=0.5, accuracy=0.25, kept=0.1, length=30.0, s=3.0)], at=NOW - 5)
    with run.lock():
        (row,) = RunsWatcher(runs_dir, "g").look(NOW).rows
    assert (row.group, row.run, row.label, row.state) == ("g", A, A, "running")
    assert (row.step, row.steps, row.seconds) == (11, 40, 13.0)
    assert (row.accuracy, row.loss, row.kept_frac, row.mean_length) == (0.25, 0.5, 0.1, 30.0)
    # The last ten steps took 1 s but for one, which was paused; 29 are left.
    assert (row.steps_per_minute, row.seconds_left) == (60.0, 29.0)
    assert row.accuracy_curve == ((11, 0.25),)


def test_every_state_and_its_alert(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path) -> None:
    names = {state: f"tiny-{state}-00000000" for state in ("running", "waiting", "stopped", "failed", "finished")}
    board = make_sweep(*names.values(), "tiny-never-00000000")
    running = make_run(names["running"], TEN, at=NOW - 5)
    make_run(names["stopped"], TEN, at=NOW - 500)
    make_run(names["failed"], TEN, at=NOW - 500)
    make_run(names["finished"], TEN, at=NOW - 500).finish({"steps": 10})
    make_run("tiny-damaged-00000000", TEN).metrics_file.write_text("{\n")
    board.fail(board.points()[3], "disk full")
    board.log(board.points()[3]).write_text("error: disk full\n")
    board.fail(board.points()[5], "no such model")
    with running.lock():
        seen = RunsWatcher(runs_dir, "g").look(NOW)
    assert states(seen) == {name: state for state, name in names.items()} | {
        "tiny-never-00000000": "failed",
        "tiny-damaged-00000000": "damaged",
    }
    assert [row.label for row in seen.rows][:2] == ["seed=0", "seed=1"]
    assert kinds(seen) == [
        ("process ended", names["stopped"]),
        ("failed", names["failed"]),
        ("failed", "tiny-never-00000000"),
        ("damaged", "tiny-damaged-00000000"),
    ]
    texts = {alert.run: f"{alert.seen} {alert.advice}" for alert in seen.alerts}
    assert "disk full read " in texts[names["failed"]]
    assert "g/logs/tiny-failed-00000000.log; then `tipx sweep mine.yaml --retry-failed`" in texts[names["failed"]]
    assert "line 1 is no JSON" in texts["tiny-damaged-00000000"]
    assert seen.counts == {"running": 1, "failed": 2, "damaged": 1, "stopped": 1, "waiting": 1, "finished": 1}


def test_a_point_that_a_signal_ended(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path) -> None:
    board = make_sweep(A)
    make_run(A, at=NOW)
    board.fail(board.points()[0], "killed by signal 9", killed=True)
    seen = RunsWatcher(runs_dir, "g").look(NOW)
    assert states(seen) == {A: "stopped"}
    assert "(killed by signal 9)" in seen.alerts[0].seen


def test_a_run_of_a_saved_configuration_is_continued_by_its_own_command(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A, TEN, at=NOW)
    run.note("starts", [{"argv": ["/bin/tipx", "train", "--config", "my own.yaml"]}])
    (alert,) = RunsWatcher(runs_dir, "g").look(NOW).alerts
    assert alert.advice == "`tipx train --config 'my own.yaml'` continues it"


def test_a_checkpoint_of_the_last_step_is_a_clean_stop(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A, TEN, at=NOW)
    watcher = RunsWatcher(runs_dir, "g")
    assert kinds(watcher.look(NOW)) == [("process ended", A)]
    assert watcher.look(NOW).alerts[0].advice == "`tipx train selector=full` continues it"
    run.save_checkpoint(10, lambda folder: (folder / "weights").write_bytes(b"x" * 1000) and None, 2)
    assert kinds(watcher.look(NOW)) == []


def test_a_sweep_has_time_to_note_why_a_point_ended(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path) -> None:
    board, run, watcher = make_sweep(A), make_run(A, TEN, at=NOW), RunsWatcher(runs_dir, "g")
    with run.lock():
        watcher.look(NOW)
    assert kinds(watcher.look(NOW + 19)) == []
    assert kinds(watcher.look(NOW + 20)) == [("process ended", A)]
    board.fail(board.points()[0], "disk full")
    assert kinds(watcher.look(NOW + 21)) == [("failed", A)]


def test_a_run_that_stalls(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A, TEN, at=NOW)
    watcher = RunsWatcher(runs_dir, "g")
    with run.lock():
        assert states(watcher.look(NOW + 60)) == {A: "running"}
        seen = watcher.look(NOW + 95)
        assert (states(seen), kinds(seen)) == ({A: "stalled"}, [("stalled", A)])
        assert seen.alerts[0].seen.startswith("no line for 95 s; its longest step took 1.0 s")
        # It writes answers of a long evaluation, then a line.
        answers = run.path / "evals" / "000010" / "arithmetic-1" / "part-0.jsonl"
        answers.parent.mkdir(parents=True)
        answers.write_text("")
        os.utime(answers, (NOW + 90, NOW + 90))
        assert states(watcher.look(NOW + 95)) == {A: "running"}
        assert states(watcher.look(NOW + 200)) == {A: "stalled"}
        run.log(line(11))
        os.utime(run.metrics_file, (NOW + 200, NOW + 200))
        assert states(watcher.look(NOW + 201)) == {A: "running"}
        # It was started again, and loads models.
        os.utime(run.path / "provenance.json", (NOW + 300, NOW + 300))
        assert states(watcher.look(NOW + 900)) == {A: "running"}
    assert states(watcher.look(NOW + 900)) == {A: "stopped"}


def test_clocks_that_differ(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A, TEN, at=NOW + 5000)
    watcher = RunsWatcher(runs_dir)
    with run.lock():
        assert states(watcher.look(NOW)) == {A: "running"}
        assert states(watcher.look(NOW + 61)) == {A: "stalled"}
        assert "no line for 61 s" in watcher.look(NOW + 61).alerts[0].seen
        os.utime(run.metrics_file, (NOW + 5100, NOW + 5100))
        assert states(watcher.look(NOW + 62)) == {A: "running"}


def test_who_holds_a_lock(make_run: MakeRun) -> None:
    run = make_run(A)
    lock = run.path / ".lock"
    assert find_lock_holder(lock) is None
    with run.lock():
        assert find_lock_holder(lock) == LockHolder(os.getpid(), stopped=False)
    assert find_lock_holder(run.path / "nothing") is None


def test_it_agrees_with_the_other_readers(trained_run: StoredRun) -> None:
    (row,) = RunsWatcher(trained_run.path.parent.parent).look().rows
    assert (row.state, row.step, row.steps) == (trained_run.state, trained_run.step, trained_run.steps)
    assert row.accuracy == trained_run.accuracy_after
    assert row.loss == trained_run.rows[-1]["train/loss"]
    board = SweepFolder(trained_run.path.parent)
    assert row.seconds == pytest.approx(sum(v for r in trained_run.rows for k, v in r.items() if k.startswith("time/")))
    assert board.points() == []


def test_a_folder_that_is_absent_empty_or_appears_later(make_run: MakeRun, runs_dir: Path) -> None:
    every, one = RunsWatcher(runs_dir), RunsWatcher(runs_dir, "g")
    assert every.look(NOW).note.endswith("none is there")
    assert one.look(NOW).note == f"no run in {runs_dir / 'g'} yet"
    runs_dir.mkdir()
    (runs_dir / "a file").write_text("")
    assert (every.look(NOW).rows, one.look(NOW).rows) == ((), ())
    run = make_run(A, TEN, at=NOW)
    assert states(every.look(NOW)) == states(one.look(NOW)) == {A: "stopped"}
    shutil.rmtree(run.path)
    assert (every.look(NOW).rows, one.look(NOW).rows) == ((), ())
    assert RunsWatcher(runs_dir, "gg").look(NOW).note.endswith("yet; did you mean g?")


def test_a_run_that_is_removed_while_it_is_read(
    make_run: MakeRun, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = make_run(A, TEN), make_run(B, TEN).finish({"steps": 10})

    def remove(_: Checkpoints) -> None:
        shutil.rmtree(run.path)
        raise FileNotFoundError(2, "No such file")

    def refuse(_: Checkpoints) -> None:
        raise PermissionError(13, "Permission denied")

    watcher = RunsWatcher(runs_dir, "g")
    monkeypatch.setattr(Checkpoints, "saved", refuse)
    seen = watcher.look()
    assert states(seen) == {A: "damaged", B: "finished"}
    assert seen.alerts[0].seen.endswith("it cannot be read (Permission denied)")
    monkeypatch.setattr(Checkpoints, "saved", remove)
    seen = watcher.look()
    assert (states(seen), seen.alerts) == ({B: "finished"}, ())


def test_groups_of_the_last_day(make_run: MakeRun, runs_dir: Path) -> None:
    make_run(A, TEN, at=NOW - 90_000, group="old")
    make_run(B, TEN, at=NOW - 80_000, group="new")
    running = make_run(C, TEN, at=NOW - 90_000, group="long")
    with running.lock():
        assert [row.group for row in RunsWatcher(runs_dir).look(NOW).rows] == ["long", "new"]
    assert [row.group for row in RunsWatcher(runs_dir, "old").look(NOW).rows] == ["old"]
    assert "`tipx watch GROUP` shows an older group" in RunsWatcher(runs_dir).look(NOW + 90_000).note


def test_a_run_that_begins_anew(make_run: MakeRun, runs_dir: Path) -> None:
    run, watcher = make_run(A, TEN, at=NOW), RunsWatcher(runs_dir)
    assert watcher.look(NOW).rows[0].step == 10
    shutil.rmtree(run.path)
    make_run(A, [line(1, loss=9.0)], at=NOW)
    assert (watcher.look(NOW).rows[0].step, watcher.look(NOW).rows[0].loss) == (1, 9.0)


def test_only_what_is_new_is_read(
    make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sweep(A, B)
    run = make_run(A, TEN)
    parsed: list[int] = []
    parse = series.parse_row
    monkeypatch.setattr(series, "parse_row", lambda text, before: parsed.append(len(text)) or parse(text, before))
    watcher = RunsWatcher(runs_dir)
    assert watcher.look().rows[0].step == 10
    assert len(parsed) == 10
    group = watcher.groups["g"]
    for cached in (group.points, group.command, group.runs[A].config, group.runs[A].provenance):
        monkeypatch.setattr(cached, "read", lambda: pytest.fail("it is read again"))
    run.log(line(11))
    assert watcher.look().rows[0].step == 11
    assert len(parsed) == 11


@pytest.mark.parametrize("file", ["config.yaml", "provenance.json", "metrics.jsonl", "summary.json"])
def test_damage_is_told_and_stops_nothing(make_run: MakeRun, runs_dir: Path, file: str) -> None:
    run = make_run(A, TEN)
    run.finish({"steps": 10})
    make_run(B, TEN).finish({"steps": 12})
    (run.path / file).write_bytes(b"\xff\x00[")
    watcher = RunsWatcher(runs_dir)
    seen = watcher.look()
    assert states(seen) == {A: "damaged", B: "damaged"}
    texts = {alert.run: alert.seen for alert in seen.alerts}
    assert file in texts[A]
    assert "it ends at step 10 of 12" in texts[B]
    assert states(watcher.look()) == {A: "damaged", B: "damaged"}


def test_a_process_that_starts_has_not_written_all(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A)
    (run.path / "provenance.json").unlink()
    run.config_file.unlink()
    with run.lock():
        assert states(RunsWatcher(runs_dir, "g").look()) == {A: "running"}
    assert states(RunsWatcher(runs_dir, "g").look()) == {A: "damaged"}


@pytest.mark.parametrize(
    "text", ["{", '{"points": 3}', '{"points": [{"run": "../x"}]}', '{"points": [], "command": 5}']
)
def test_a_plan_that_is_damaged(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path, text: str) -> None:
    make_sweep(A).file.write_text(text)
    make_run(A, TEN)
    seen = RunsWatcher(runs_dir).look()
    assert states(seen) == {A: "stopped"}
    assert ("command" in text) == (kinds(seen) == [("process ended", A)])


def test_a_note_of_failure_that_is_damaged(make_sweep: MakeSweep, runs_dir: Path) -> None:
    board = make_sweep(A)
    board.failure(board.points()[0]).write_text("[")
    seen = RunsWatcher(runs_dir, "g").look()
    assert states(seen) == {A: "failed"}
    assert "is damaged" in seen.alerts[0].seen


@pytest.mark.parametrize("command", ["tipx sweep x; rm -rf ~", "rm -rf ~", "tipx sweep 'x", "tipx sweep $(reboot)"])
def test_a_command_of_somebody_else(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path, command: str) -> None:
    make_sweep(A, command=command)
    make_run(A, TEN)
    (alert,) = RunsWatcher(runs_dir, "g").look(time.time()).alerts
    safe = {"tipx sweep x; rm -rf ~": "tipx sweep 'x;' rm -rf '~'", "tipx sweep $(reboot)": "tipx sweep '$(reboot)'"}
    assert alert.advice == f"`{safe.get(command, 'the sweep' + chr(39) + 's command')}` continues it"


def test_a_sweep_that_nobody_runs(make_sweep: MakeSweep, runs_dir: Path) -> None:
    make_sweep(A, B)
    watcher = RunsWatcher(runs_dir)
    assert watcher.look().alerts == ()
    (alert,) = watcher.look(time.time() + 600).alerts
    assert (alert.kind, alert.run) == ("nothing runs", "g")
    assert "`tipx sweep mine.yaml` does what is left" in alert.advice


def test_a_full_disk(make_run: MakeRun, runs_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(A, TEN)
    run.save_checkpoint(10, lambda folder: (folder / "weights").write_bytes(b"x" * 1000) and None, 2)
    free = shutil.disk_usage(runs_dir)._replace(free=1500)
    monkeypatch.setattr(snapshot.shutil, "disk_usage", lambda _: free)
    with run.lock():
        (alert,) = RunsWatcher(runs_dir).look().alerts
    assert alert.kind == "disk nearly full"
    assert alert.seen.startswith("1.5 kB are free, and the next checkpoints of 1 runs take 1.0")


def test_when_it_ends(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path) -> None:
    # 10 steps of 1 s took 10 s: 30 s are left of A. B and C wait, and take 40 s each: (30 + 40 + 40) s by one process.
    make_sweep(A, B, C)
    run = make_run(A, TEN, at=NOW)
    watcher = RunsWatcher(runs_dir, "g")
    assert watcher.look(NOW).ends is None
    with run.lock():
        assert watcher.look(NOW).ends == pytest.approx(NOW + 110)
    # B is finished and took 10 s; C will take as long.
    make_run(B, TEN, at=NOW).finish({"steps": 10})
    with run.lock():
        assert watcher.look(NOW).ends == pytest.approx(NOW + 40)


@pytest.mark.parametrize(
    "text", [text for text in EVERY if "/" not in text and "\x00" not in text and "\udcff" not in text]
)
def test_hostile_names_and_texts(make_run: MakeRun, make_sweep: MakeSweep, runs_dir: Path, text: str) -> None:
    board = make_sweep(f"{text}-00000000", command=f"tipx sweep '{text}'")
    plan = json.loads(board.file.read_text())
    plan["points"][0]["overrides"] = [text, "group=g"]
    board.file.write_text(json.dumps(plan))
    board.fail(board.points()[0], text * 200)
    make_run(f"{text}-11111111", TEN, group=text)
    for watcher in (RunsWatcher(runs_dir), RunsWatcher(runs_dir, "g")):
        seen = watcher.look()
        texts = [part for alert in seen.alerts for part in vars(alert).values()]
        texts += [part for row in seen.rows for part in (row.group, row.run, row.label)] + [seen.title, seen.note]
        assert not [part for part in texts if COMMANDS.search(part) or "\n" in part or len(part) > 300]
        assert "failed" in states(seen).values()
        json.dumps(seen.as_json(), allow_nan=False)


def test_a_number_that_is_none_in_json(make_run: MakeRun, runs_dir: Path) -> None:
    run = make_run(A)
    run.metrics_file.write_text(text_of([line(1, loss=float("nan"), s=10**400)]))
    row = RunsWatcher(runs_dir).look().as_json()["rows"][0]
    assert (row["loss"], row["seconds"], row["step"]) == (None, None, 1)
