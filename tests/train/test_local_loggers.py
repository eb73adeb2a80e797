"""logger=tensorboard and logger=trackio: their own readers find what metrics.jsonl tells, also after a resume."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from tipx.errors import ConfigError
from tipx.runs.directory import Run
from tipx.train.loggers import TensorBoardLogger, TrackioLogger
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]
Row = dict[str, Any]
with_trackio = pytest.mark.skipif(find_spec("trackio") is None, reason="pip install 'tipx[trackio]'")


def train_and_resume(args: list[str]) -> Run:
    """A run of 4 steps that is stopped while it saves the last, and so is resumed after step 2."""

    def cut(_: Path) -> None:
        raise KeyboardInterrupt

    save = Run.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Run, "save_checkpoint", lambda run, step, fill, keep: save(run, step, cut if step == 4 else fill, keep)
        )
        with pytest.raises(KeyboardInterrupt):
            train_run(args, fresh=False, config_dir=None)
    run, worked = train_run(args, fresh=False, config_dir=None)
    assert worked
    return run


def by_step(rows: list[Row]) -> dict[int, Row]:
    """Numbers by step and key, of lines of metrics."""
    return {
        row["step"]: {key: value for key, value in row.items() if key != "step" and value is not None} for row in rows
    }


def in_32_bits(rows: dict[int, Row]) -> dict[int, Row]:
    return {step: {key: float(np.float32(value)) for key, value in row.items()} for step, row in rows.items()}


# --- TensorBoard -----------------------------------------------------------------------------------------------------


def events(folder: Path) -> dict[int, Row]:
    """What TensorBoard shows of a folder, by step and key; a step that is there twice fails."""
    read = EventAccumulator(str(folder), tensor_size_guidance={"scalars": 0}).Reload()
    shown: dict[int, Row] = {}
    for key in read.Tags()["tensors"]:
        for event in read.Tensors(key):
            row = shown.setdefault(event.step, {})
            assert key not in row, f"{key} of step {event.step} is there twice"
            row[key] = make_ndarray(event.tensor_proto).item()
    return shown


def test_tensorboard_shows_every_value_of_metrics_jsonl(overrides: Overrides) -> None:
    run, _ = train_run(
        overrides("logger=tensorboard", "loop.eval_every=2", "eval.limit=2"), fresh=False, config_dir=None
    )
    assert sorted(events(run.path / "tensorboard")) == [0, 1, 2, 3, 4]
    assert events(run.path / "tensorboard") == in_32_bits(by_step(run.rows()))


def test_tensorboard_shows_each_step_once_after_a_resume(overrides: Overrides) -> None:
    run = train_and_resume(overrides("logger=tensorboard"))
    assert events(run.path / "tensorboard") == in_32_bits(by_step(run.rows()))
    assert len(list((run.path / "tensorboard").iterdir())) == 1


def test_an_open_tensorboard_forgets_what_was_trained_twice(tmp_path: Path) -> None:
    first = TensorBoardLogger().open(tmp_path, {})
    for step in (1, 2, 3):
        first.log({"step": step, "loss": 1.0}, step)
    first.finish()
    second = TensorBoardLogger().open(tmp_path, {})  # resumed after step 1, and not yet through with `resume`
    second.log({"step": 1, "loss": 1.0}, 1)
    second.finish()
    assert events(tmp_path / "tensorboard") == {1: {"loss": 1.0}}


# --- trackio ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home in which files outside of the run would show, and a trackio that no test has imported."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
            del sys.modules[name]

    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("TRACKIO_DIR", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    forget()
    yield folder
    forget()


def stored(run: Run) -> dict[int, Row]:
    """What trackio's database holds of the one run of that name, by step and key."""
    from trackio.sqlite_storage import SQLiteStorage

    assert [record["name"] for record in SQLiteStorage.get_run_records("tipx")].count(run.path.name) == 1
    rows = SQLiteStorage.get_logs("tipx", run.path.name)
    assert len({row["step"] for row in rows}) == len(rows), "a step is there twice"
    return by_step([{key: value for key, value in row.items() if key != "timestamp"} for row in rows])


@with_trackio
def test_trackio_holds_every_value_of_metrics_jsonl(
    overrides: Overrides, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    args = overrides("logger=trackio", "loop.eval_every=2", "eval.limit=2")
    run, _ = train_run(args, fresh=False, config_dir=None)
    assert stored(run) == by_step(run.rows())
    assert sorted(stored(run)) == [0, 1, 2, 3, 4]
    assert (run.path / "trackio" / "tipx.db").is_file()
    assert not [path for path in home.rglob("*") if path.is_file()]
    assert "TRACKIO_DIR" not in os.environ
    assert "rackio" not in capfd.readouterr().out


@with_trackio
@pytest.mark.usefixtures("home")
def test_trackio_holds_each_step_once_after_a_resume(overrides: Overrides) -> None:
    run = train_and_resume(overrides("logger=trackio"))
    assert stored(run) == by_step(run.rows())
    train_run(overrides("logger=trackio"), fresh=True, config_dir=None)
    assert stored(run) == by_step(run.rows())


@with_trackio
def test_a_folder_of_the_user_s_own_holds_other_runs_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(home / "mine"))
    for group, loss in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        sink = TrackioLogger(project="tipx", group=group).open(home / "runs" / "same", {"_target_": "x", "seed": 0})
        sink.log({"step": 1, "loss": loss}, 1)
        sink.finish()
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    entries = [
        (run.config["_Group"], [row["loss"] for row in SQLiteStorage.get_logs("tipx", run.name, run_id=run.id)])
        for run in Api().runs("tipx")
    ]
    assert sorted(entries) == [("a", [3.0]), ("b", [2.0])]
    assert not (home / "runs").exists()


@with_trackio
@pytest.mark.usefixtures("home")
def test_one_process_writes_to_one_trackio_folder(tmp_path: Path) -> None:
    TrackioLogger(project="x", group=None).open(tmp_path / "a", {}).finish()
    with pytest.raises(ConfigError, match=r"this process writes to .*a/trackio already; train in a process of its own"):
        TrackioLogger(project="x", group=None).open(tmp_path / "b", {})


@with_trackio
@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"])
def test_a_trackio_that_would_send_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "me/space")
    with pytest.raises(ConfigError, match=rf"writes on this machine, and {name} is set; unset it"):
        TrackioLogger(project="x", group=None).check()


@with_trackio
@pytest.mark.parametrize(("project", "database"), [("registry-x", None), ("tipx", b"no database, but a text " * 99)])
@pytest.mark.usefixtures("home")
def test_what_trackio_cannot_use_is_one_line(project: str, database: bytes | None, tmp_path: Path) -> None:
    if database is not None:
        (tmp_path / "trackio").mkdir()
        (tmp_path / "trackio" / "tipx.db").write_bytes(database)
    with pytest.raises(
        ConfigError, match=r"logger=trackio: .* cannot be used \(.+\); move the folder away, or"
    ) as caught:
        TrackioLogger(project=project, group=None).open(tmp_path, {})
    assert "\n" not in str(caught.value)


@with_trackio
def test_nothing_is_said_on_standard_output_to_the_very_end(home: Path) -> None:
    code = "from pathlib import Path; from tipx.train.loggers import TrackioLogger as T\n"
    code += "sink = T(project='x', group=None).open(Path('run'), {}); sink.log({'step': 1, 'a': 1.0}, 1); sink.finish()"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=home, env=environment
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert (home / "run" / "trackio" / "x.db").is_file()


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trackio", "tensorboard"])
def test_a_package_that_is_missing_is_one_line_before_weights_are_loaded(
    name: str, overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("tipx.train.loggers.find_spec", lambda _: None)
    monkeypatch.setattr("tipx.models.pair.LoadedPair", lambda *_: pytest.fail("weights are loaded"))
    with pytest.raises(ConfigError, match=rf"logger={name}: .*; pip install 'tipx\[{name}\]'$") as caught:
        train_run(overrides(f"logger={name}"), fresh=False, config_dir=None)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "runs" / "solo").iterdir())
