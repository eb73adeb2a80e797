"""Each rule on a series made by hand: the numbers that set it off, and those just short of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.watch.conftest import CONFIG, line
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.sweep.job import failure_reason
from tipx.train.session import describe_kept
from tipx.watch import alerts
from tipx.watch.alerts import LockHolder, WatchedFacts, find_alerts, find_full_disk, find_idle_sweep
from tipx.watch.series import RunSeries
from tipx.watch.state import Alert, RunRow, State

PATH = Path("runs/g/tiny-full-00000000")


def facts(rows: Sequence[dict[str, Any]] = (), state: State = "running", **known: Any) -> WatchedFacts:
    """A run with these lines; it has a checkpoint at its last step unless that is given."""
    series = RunSeries()
    for row in rows:
        series.add(row)
    row = RunRow("g", PATH.name, "seed=0", state, step=series.step or 0)
    return WatchedFacts(row, PATH, series, CONFIG, **{"saved": series.step, "sampled": True, **known})


def steps(**numbers: Callable[[int], Any]) -> list[dict[str, Any]]:
    """30 lines whose numbers are functions of the step."""
    return [line(step, **{name: of(step) for name, of in numbers.items()}) for step in range(1, 31)]


def only_alert(run: WatchedFacts) -> Alert:
    (alert,) = find_alerts(run)
    assert alert.run == PATH.name
    return alert


def kinds(run: WatchedFacts) -> list[str]:
    return [alert.kind for alert in find_alerts(run)]


def test_a_healthy_series_is_quiet() -> None:
    # Lengths, entropy and truncation move as those of a run that learns.
    rows = steps(
        loss=lambda step: 4 / step,
        length=lambda step: 40 + step % 7,
        truncated=lambda step: 0.02 * (step % 3),
        entropy=lambda step: 0.6 - 0.01 * step,
    )
    for state in ("running", "stopped", "finished", "waiting"):
        assert kinds(facts(rows, state)) == []


def test_a_real_run_is_quiet(trained_run: StoredRun) -> None:
    series = RunSeries()
    for row in trained_run.rows:
        series.add(row)
    assert len(series.loss) == 24
    assert kinds(replace(facts(), series=series, tree=trained_run.tree)) == []


def test_a_loss_that_is_no_number() -> None:
    rows = steps(loss=lambda step: float("nan") if step in (25, 27) else 1.0, bad_steps=lambda s: (s >= 25) + (s >= 27))
    alert = only_alert(facts(rows))
    assert alert.kind == "loss not finite"
    assert alert.seen == (
        "loss or gradient was not finite in 2 of the last 10 steps; the run ends above 5 in all (loop.max_bad_steps)"
    )
    assert alert.advice == "stop it, and train with a smaller optim.lr, e.g. optim.lr=0.0005 (it is 0.001)"


def test_a_gradient_that_is_not_finite() -> None:
    # The loss itself was finite, but the step was skipped.
    assert kinds(facts(steps(bad_steps=lambda step: int(step >= 21)))) == ["loss not finite"]
    # One skipped step, more than ten steps ago, is over.
    assert kinds(facts(steps(bad_steps=lambda step: int(step >= 20)))) == []
    assert kinds(facts([line(1, bad_steps=1)])) == ["loss not finite"]
    assert kinds(facts([line(1, loss=float("inf"))])) == ["loss not finite"]


def test_mixed_precision_is_named() -> None:
    tree = CONFIG | {"loop": {"precision": "bf16"}}
    assert only_alert(replace(facts([line(1, bad_steps=1)]), tree=tree)).advice.endswith(
        "(it is 0.001), or loop.precision=no (it is bf16)"
    )


def test_responses_that_grow() -> None:
    alert = only_alert(facts(steps(length=lambda step: 40 if step <= 20 else 100)))
    assert alert.kind == "responses grow"
    assert alert.seen == "100 tokens a response in the last 10 steps, 40 in the first: 2.5 times"
    assert alert.advice == (
        f"`tipx inspect {PATH} --text` shows what it writes; if it repeats itself, stop it, and train with "
        "a smaller optim.lr, e.g. optim.lr=0.0005 (it is 0.001)"
    )
    # Twice is the limit. One long step among ten, or a start that is too short to compare with, is nothing.
    assert kinds(facts(steps(length=lambda step: 40 if step <= 20 else 80))) == []
    assert kinds(facts(steps(length=lambda step: 40 if step <= 26 else 400))) == []
    assert kinds(facts(steps(length=lambda step: 40 if step <= 9 else 400)[:19])) == []


def test_responses_that_shrink() -> None:
    alert = only_alert(facts(steps(length=lambda step: 40 if step <= 20 else 10)))
    assert (alert.kind, alert.seen) == (
        "responses shrink",
        "10 tokens a response in the last 10 steps, 40 in the first: 0.2 times",
    )
    assert kinds(facts(steps(length=lambda step: 40 if step <= 20 else 20))) == []
    assert kinds(facts(steps(length=lambda _: 0))) == []


def test_truncation_that_rises() -> None:
    alert = only_alert(facts(steps(truncated=lambda step: 0.04 if step <= 20 else 0.31)))
    assert alert.kind == "truncation rises"
    assert alert.seen == "a limit ended 31% of the responses in the last 10 steps, 4% in the first"
    assert "rollout.max_new_tokens=144 (it is 72)" in alert.advice
    # Much of it from the start is a choice.
    assert kinds(facts(steps(truncated=lambda step: 0.5 if step <= 20 else 0.58))) == []


def test_entropy_that_collapses() -> None:
    alert = only_alert(facts(steps(entropy=lambda step: 0.5 if step <= 20 else 0.02)))
    assert alert.kind == "entropy collapses"
    assert alert.seen == "mean entropy 0.02 nats a token in the last 10 monitored steps, 0.5 in the first"
    assert kinds(facts(steps(entropy=lambda step: 0.5 if step <= 20 else 0.06))) == []


def test_steps_without_the_number_are_none() -> None:
    rows = [{key: value for key, value in row.items() if not key.startswith(("select", "rollout"))} for row in steps()]
    assert kinds(facts(rows)) == []


def test_what_is_finished_is_not_looked_at() -> None:
    rows = steps(length=lambda step: 40 if step <= 20 else 100)
    assert kinds(facts(rows, "finished")) == []
    assert kinds(facts(rows, "stopped")) == ["responses grow"]


def test_without_saved_responses() -> None:
    rows = steps(length=lambda step: 40 if step <= 20 else 100)
    assert "loop.sample_every" in only_alert(facts(rows, sampled=False)).advice


STALLED: dict[str, Any] = {"state": "stalled", "quiet_s": 95.0, "again": "tipx sweep mine.yaml"}


def test_a_process_that_is_paused() -> None:
    alert = only_alert(facts(steps(), **STALLED, holder=LockHolder(4321, stopped=True)))
    assert alert.kind == "stalled"
    assert alert.seen == "no line for 95 s; its longest step took 1.0 s; process 4321 is paused"
    assert alert.advice == "`kill -CONT 4321` lets it go on"


def test_a_process_that_hangs() -> None:
    alert = only_alert(facts(steps(), **STALLED, holder=LockHolder(4321, stopped=False)))
    assert alert.seen.endswith("process 4321 is alive")
    assert "`kill -9 4321` ends it; `tipx sweep mine.yaml` continues" in alert.advice
    assert "`tipx sweep mine.yaml`" in only_alert(facts(steps(), **STALLED)).advice


def test_how_long_is_a_stall() -> None:
    assert not alerts.is_stalled(60.0, 1.0)
    assert alerts.is_stalled(60.1, 1.0)
    assert not alerts.is_stalled(500.0, 100.0)
    assert alerts.is_stalled(501.0, 100.0)


def test_a_point_that_failed() -> None:
    known = {"error": "cannot write /x: No space left", "log": Path("runs/g/logs/a.log"), "again": "tipx sweep mine"}
    alert = only_alert(facts(state="failed", **known))
    assert (alert.kind, alert.seen) == ("failed", "cannot write /x: No space left")
    assert alert.advice == "read runs/g/logs/a.log; then `tipx sweep mine --retry-failed` runs it again"


def test_a_process_that_died() -> None:
    known = {"error": "killed by signal 9", "log": Path("runs/g/logs/a.log"), "again": "tipx sweep mine"}
    alert = only_alert(facts(steps(), "stopped", saved=20, **known))
    assert alert.kind == "process ended"
    assert alert.seen == (
        "its process ended at step 30 without saving (killed by signal 9); the newest checkpoint is of step 20"
    )
    assert alert.advice == "`tipx sweep mine` continues it; its output is in runs/g/logs/a.log"
    assert "before step 1" in only_alert(facts(state="stopped")).seen
    assert "there is no checkpoint" in only_alert(facts(steps(), "stopped", saved=None)).seen
    # One that was told to stop saves its last step.
    assert kinds(facts(steps(), "stopped", saved=30)) == []


def test_a_run_that_was_asked_to_stop(tmp_path: Path) -> None:
    run = Run(tmp_path / "g" / "tiny-full-00000000")
    log = tmp_path / "log"
    for words in (describe_kept(run), "stopped after step 12, saved in x"):
        log.write_text(f"step 12\nerror: {words}\n")
        assert kinds(facts(steps(), "stopped", saved=None, error=failure_reason(log, 130))) == []
    assert kinds(facts(steps(), "stopped", saved=None, error=failure_reason(log, -9))) == ["process ended"]


def test_a_damaged_file() -> None:
    text = "m.jsonl is damaged: line 3 is no JSON; train it again with --fresh"
    alert = only_alert(facts(state="damaged", damage=text))
    assert (alert.seen, alert.advice) == ("m.jsonl is damaged: line 3 is no JSON", "train it again with --fresh")


def test_a_disk_that_is_nearly_full() -> None:
    # Two runs that train; one has saved 2 GB, the other nothing yet: 4 GB, and twice that must be free.
    runs = [facts(checkpoint_bytes=2 * 10**9), facts(), facts(state="finished")]
    alert = find_full_disk(Path("runs"), 7_999_999_999, runs)
    assert alert is not None
    assert (alert.kind, alert.run) == ("disk nearly full", "runs")
    assert alert.seen == "8 GB are free, and the next checkpoints of 2 runs take 4 GB"
    assert find_full_disk(Path("runs"), 8 * 10**9, runs) is None
    assert find_full_disk(Path("runs"), 0, [facts(state="finished", checkpoint_bytes=2 * 10**9)]) is None


def test_a_sweep_that_nobody_runs() -> None:
    runs = [facts(state="finished"), facts(state="waiting"), facts(steps(), "stopped")]
    alert = find_idle_sweep("g", "tipx sweep mine", 600, runs)
    assert alert is not None
    assert alert.seen == "2 of 3 points are not done, none runs, and nothing was written for 10 min"
    assert alert.advice.startswith("`tipx sweep mine` does what is left")
    assert find_idle_sweep("g", "tipx sweep mine", 300, runs) is None
    assert find_idle_sweep("g", "tipx sweep mine", 600, [*runs, facts()]) is None
    assert find_idle_sweep("g", "tipx sweep mine", 600, runs[:1]) is None


@pytest.mark.parametrize(("size", "text"), [(1, "1 B"), (999, "999 B"), (3_140_000, "3.14 MB"), (5e16, "5e+04 TB")])
def test_sizes(size: float, text: str) -> None:
    assert alerts.bytes_text(size) == text
