"""The run directory: what a kill leaves behind is tolerated, and every refusal says what to type next."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tipx.errors import RunError, RunFailed
from tipx.runs.directory import SEEN, Run
from tipx.runs.find import all_runs, find_run

SAMPLE = {"prompt": "a", "tokens": [1, 2], "weights": [0.0, 1.0], "stats": {"reverse_kl": [0.1, 0.2]}}


def config(seed: int) -> dict[str, Any]:
    """As much of one as its readers rely on."""
    part = {"_target_": "tipx.selectors.x.X"}
    models = {"teacher": {"path": "t"}, "student": {"path": "s"}}
    return {"seed": seed, "loop": {"steps": 9}, "model": models, "selector": {"score": part, "pick": part}}


def made(path: Path) -> Run:
    return Run.create(path, config(3), {"argv": ["tipx"]})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return made(tmp_path / "solo" / "tiny-full-0123abcd")


def weigh(value: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.safetensors").write_text(value) and None


def lines(run: Run, last: int) -> None:
    """Metrics from step 1 on."""
    for step in range(1, last + 1):
        run.log({"step": step})


def steps(run: Run) -> list[int]:
    return [step for step, _ in run.checkpoints.saved()]


def test_reopening_keeps_what_is_there_and_notes_the_start(run: Run) -> None:
    run.log({"step": 1})
    again = Run.create(run.path, config(4), {"argv": ["tipx", "again"]})
    assert again.rows() == [{"step": 1}]
    assert again.config() == config(3)
    assert [start["argv"] for start in again.provenance()["starts"]] == [["tipx"], ["tipx", "again"]]


def test_fresh_forgets_everything(run: Run) -> None:
    run.log({"step": 1})
    run.save_checkpoint(1, weigh("one"), keep=2)
    run.finish({"steps": 1})
    again = Run.create(run.path, config(4), {"argv": ["tipx", "again"]}, fresh=True)
    assert (again.rows(), again.checkpoints.saved(), again.finished, again.config()) == ([], [], False, config(4))
    assert len(again.provenance()["starts"]) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    for attempt in (made, lambda path: Run(path).lock().__enter__()):
        with pytest.raises(
            RunError, match=r"runs_dir: cannot write .*runs/solo/x .*give a folder you may write: runs_"
        ):
            attempt(tmp_path / "runs" / "solo" / "x")


def test_only_a_run_without_a_line_is_discarded(run: Run) -> None:
    run.log({"step": 1})
    run.discard_if_empty()
    assert run.path.exists()
    run.metrics_file.unlink()
    run.discard_if_empty()
    assert not run.path.exists()


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_line_cut_short_is_no_line(run: Run) -> None:
    for step in (1, 2):
        run.log({"step": step, "train/loss": 0.5})
    with run.metrics_file.open("a") as handle:
        handle.write('{"step": 3, "train/lo')
    assert [row["step"] for row in run.rows()] == [1, 2]
    # Resuming rewrites the file, so that the next line does not continue the stump.
    run.rewind(2)
    run.log({"step": 3})
    assert [json.loads(line)["step"] for line in run.metrics_file.read_text().splitlines()] == [1, 2, 3]


def test_rewinding_forgets_later_lines_samples_and_results(run: Run) -> None:
    for step in range(5):
        run.log({"step": step})
    for step in (2, 4):
        run.save_samples(step, [SAMPLE], b"abc")
        (run.eval_dir(step) / "arithmetic-abcdef").mkdir(parents=True)
    run.rewind(2)
    assert [row["step"] for row in run.rows()] == [0, 1, 2]
    assert sorted(p.name for p in (run.path / "rollouts").iterdir()) == ["000002.jsonl", "000002.npz"]
    assert [p.name for p in (run.path / "evals").iterdir()] == ["000002"]
    # A run without a checkpoint starts over: step 0, the evaluation before training, goes too.
    run.rewind(-1)
    assert run.rows() == []
    assert not list((run.path / "rollouts").iterdir())


def test_rewinding_does_not_stumble_over_what_a_kill_left_aside(run: Run) -> None:
    run.save_samples(2, [SAMPLE], b"abc")
    (run.path / "rollouts" / ".000004.jsonl.tmp").write_text('{"te')
    (run.path / ".metrics.jsonl.tmp").write_text('{"st')
    run.rewind(2)
    run.save_samples(4, [SAMPLE | {"prompt": "b"}], b"def")
    there = sorted(p.name for p in (run.path / "rollouts").iterdir())
    assert there == ["000002.jsonl", "000002.npz", "000004.jsonl", "000004.npz"]
    assert run.sampled() == [2, 4]
    assert run.samples(4) == [SAMPLE | {"prompt": "b"}]


def test_a_picture_is_whole_or_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save_picture("curve.png", b"first")
    assert (run.path / "curve.png").read_bytes() == b"first"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFailed, match="No space left on device"):
        run.save_picture("curve.png", b"second")
    assert (run.path / "curve.png").read_bytes() == b"first"


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_the_newest_checkpoints_are_kept(run: Run) -> None:
    lines(run, 10)
    for step in (2, 4, 10):
        run.save_checkpoint(step, weigh(str(step)), keep=2)
    assert steps(run) == [4, 10]
    assert run.newest_checkpoint(pytest.fail) == (10, run.path / "checkpoints" / "000010")


def test_one_that_was_being_written_is_none(run: Run) -> None:
    run.save_checkpoint(2, weigh("two"), keep=2)
    shutil.copytree(run.path / "checkpoints" / "000002", run.path / "checkpoints" / ".000004.tmp")
    assert steps(run) == [2]
    run.save_checkpoint(4, weigh("four"), keep=2)
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["000002", "000004"]


def test_damaged_ones_are_named_and_left_behind(run: Run) -> None:
    lines(run, 6)
    for step in (2, 4, 6):
        run.save_checkpoint(step, weigh(str(step)), keep=3)
    (run.path / "checkpoints" / "000006" / "manifest.json").unlink()
    (run.path / "checkpoints" / "000004" / "model.safetensors").write_text("5")
    said: list[str] = []
    assert run.newest_checkpoint(said.append) == (2, run.path / "checkpoints" / "000002")
    first, second = said
    place, back = f"{run.path}/checkpoints", "; going back to the one before it"
    assert first == f"warning: checkpoint {place}/000006 is damaged (it has no manifest), kept as .000006.damaged{back}"
    text_checksum = "the checksum of model.safetensors does not match"
    assert second.endswith(f"/000004 is damaged ({text_checksum}), kept as .000004.damaged{back}")
    assert steps(run) == [2]
    assert (run.path / "checkpoints" / ".000004.damaged" / "model.safetensors").read_text() == "5"


def test_a_checkpoint_is_found_by_step_or_as_the_last(run: Run) -> None:
    for step in (2, 4):
        run.save_checkpoint(step, weigh(str(step)), keep=2)
    assert run.checkpoints.open("last")[0] == run.checkpoints.open("4")[0] == 4
    assert run.checkpoints.open("2") == (2, run.path / "checkpoints" / "000002")


def test_a_checkpoint_that_is_not_to_be_had_says_what_is(run: Run) -> None:
    with pytest.raises(RunError, match="has no checkpoint yet; run its `tipx train` command to the first save"):
        run.checkpoints.open("last")
    for step in (2, 4):
        run.save_checkpoint(step, weigh(str(step)), keep=2)
    for which in ("3", "best", "-2"):
        with pytest.raises(RunError, match=f"checkpoint={which}: .* at steps 2, 4; give one of them, or last"):
            run.checkpoints.open(which)
    (run.path / "checkpoints" / "000004" / "model.safetensors").write_text("x")
    with pytest.raises(RunError, match=r"the checksum of model.safetensors .* others of this run: 2 \(checkpoint=STEP"):
        run.checkpoints.open("last")


# --- who writes, and which run is meant ------------------------------------------------------------------------------


def test_one_process_writes_at_a_time(run: Run) -> None:
    hold = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); input()"
    command = [sys.executable, "-c", hold, str(run.path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        with pytest.raises(RunError, match="is being written by another process; wait for it or stop it"), run.lock():
            pass
        # A process that is killed lets go: no lock file has to be removed by hand.
        other.kill()
        other.wait()
        with run.lock():
            pass
    with run.lock():
        pass


def test_a_run_is_found_by_path_name_start_or_hash(tmp_path: Path) -> None:
    one, two = made(tmp_path / "solo" / "tiny-full-0123abcd"), made(tmp_path / "grid" / "tiny-soft_or-89abcdef")
    (tmp_path / "grid" / "notes").mkdir()
    assert set(all_runs(tmp_path)) == {one, two}
    for name in (str(one.path), "tiny-full-0123abcd", "tiny-full", "0123abcd"):
        assert find_run(name, tmp_path) == one
    assert find_run("89abcdef", tmp_path) == two
    assert find_run("nothing", tmp_path) is None
    with pytest.raises(RunError, match=r"'tiny' fits 2 runs: .*tiny-full-0123abcd.*; give more of the name"):
        find_run("tiny", tmp_path)


def test_what_a_kill_left_after_the_last_write_is_removed_at_the_end(run: Run) -> None:
    for step in (2, 4, 6):
        run.save_checkpoint(step, weigh(str(step)), keep=3)
    run.checkpoints.remove_old(2)
    assert [step for step, _ in run.checkpoints.saved()] == [4, 6]


def test_a_folder_is_the_same_if_what_is_shown_there_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tipx.runs.directory.SEE_S", 0.05)
    run, other = Run(tmp_path / "one"), Run(tmp_path / "other")
    run.make()
    other.make()
    (other.path / SEEN).write_text("of a start that was killed")
    with run.showing("now"):
        assert run.sees("now")
        assert not other.sees("now")
    assert not run.sees("now")
    assert {path.name for path in run.path.iterdir()} == {".lock"}
    other.refuse_foreign()  # what a kill left is no other program's
