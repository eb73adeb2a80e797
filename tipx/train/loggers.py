"""Where metrics go besides `metrics.jsonl`.

A run that is resumed goes back to a checkpoint and trains some steps again. Each log that lies on this machine is
therefore written anew from `metrics.jsonl` at every start, so that it holds each step once.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from glob import escape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from sqlite3 import Error as SqliteError
from typing import Any, Literal, Protocol, runtime_checkable

from tipx.errors import ConfigError
from tipx.files.atomic import remove
from tipx.runs import metric_keys as keys
from tipx.spec import Words, spec

MODES = ("offline", "online")


@runtime_checkable
class Sink(Protocol):
    """An open log."""

    def resume(self, rows: Iterable[dict[str, Any]]) -> None:
        """What a resumed run has logged and keeps, each with its step; to be called before anything is logged."""
        ...

    def log(self, row: dict[str, Any], step: int) -> None: ...

    def finish(self) -> None: ...


@runtime_checkable
class Logger(Protocol):
    """Opens a log for a run; called again when the run is resumed."""

    def check(self) -> None:
        """Raises ConfigError where no log can be opened. To be called before a run has a directory."""
        ...

    def open(self, path: Path, config: dict[str, Any]) -> Sink: ...


class Silence:
    """A log that keeps nothing."""

    def resume(self, rows: Iterable[dict[str, Any]]) -> None: ...

    def log(self, row: dict[str, Any], step: int) -> None: ...

    def finish(self) -> None: ...


@spec
class NoLogger:
    """Only the run directory."""

    def check(self) -> None: ...

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        return Silence()


class WandbSink:
    """A wandb run. `folder` is its own where it is offline."""

    def __init__(self, run: Any, folder: Path | None) -> None:
        self.run, self.folder = run, folder

    def resume(self, rows: Iterable[dict[str, Any]]) -> None:
        """A server goes on where it is. Offline, wandb begins a new folder each time: it gets everything, and stays."""
        if self.folder is None:
            return
        for row in rows:
            self.log(row, row[keys.STEP])
        for earlier in self.folder.parent.glob(f"offline-run-*-{escape(self.run.id)}"):
            if earlier != self.folder:
                remove(earlier)

    def log(self, row: dict[str, Any], step: int) -> None:
        self.run.log(row, step=step)

    def finish(self) -> None:
        self.run.finish()


@spec
class WandbLogger:
    """A wandb run under the run directory. `mode=offline` needs no account; `wandb sync` uploads it later.

    The wandb id is the run directory's name, so a resumed run goes on in the same wandb run. Offline, what it has
    logged so far is written again into the folder of the newest start, the only one that is kept.
    """

    project: Words
    """Project of wandb."""
    entity: Words | None
    """User or team of wandb. null is the account's default."""
    group: Words | None
    """Group of wandb. The preset takes the run's own `group`, so that a sweep's runs are together."""
    mode: Literal["offline", "online"]
    """offline needs no account and is uploaded by `wandb sync`. online needs a key."""

    def check(self) -> None:
        check_wandb(self.mode, f"logger=wandb logger.mode={self.mode}", "leave out logger.mode=online")

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        wandb = import_wandb("logger=wandb")
        with refusals(wandb, f"logger=wandb logger.mode={self.mode}", "leave out logger.mode=online"):
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group,
                mode=self.mode,
                id=path.name,
                name=path.name,
                dir=path,
                config=config,
                resume="allow",
                settings=wandb.Settings(silent=True, console="off"),
            )
        return WandbSink(run, Path(run.settings.sync_dir) if self.mode == "offline" else None)


class TensorBoardSink:
    """An event file. `earlier` are those of earlier starts."""

    def __init__(self, writer: Any, earlier: Sequence[Path]) -> None:
        self.writer, self.earlier = writer, earlier

    def resume(self, rows: Iterable[dict[str, Any]]) -> None:
        """Each start begins a new file: it gets everything, and stays."""
        for row in rows:
            self.log(row, row[keys.STEP])
        for file in self.earlier:
            remove(file)

    def log(self, row: dict[str, Any], step: int) -> None:
        for key, value in row.items():
            if value is not None and key != keys.STEP:
                self.writer.add_scalar(key, value, step)
        self.writer.flush()

    def finish(self) -> None:
        self.writer.close()


@spec
class TensorBoardLogger:
    """Event files below the run directory, for `tensorboard --logdir`.

    They hold numbers of 32 bits, about seven digits: those of 64 bits TensorBoard 2.21 shows only with
    `--load_fast=false`. `metrics.jsonl` has all digits.
    """

    def check(self) -> None:
        import_package("torch.utils.tensorboard", "logger=tensorboard", "pip install 'tipx[tensorboard]'")

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        from torch.utils.tensorboard import SummaryWriter

        folder = path / "tensorboard"
        earlier = list(folder.glob("events.out.tfevents.*"))
        # A TensorBoard that is open forgets what earlier files told, from this step on.
        return TensorBoardSink(SummaryWriter(str(folder), purge_step=0), earlier)


class TrackioSink:
    """The trackio run of this process."""

    def __init__(self, trackio: Any) -> None:
        self.trackio = trackio

    def resume(self, rows: Iterable[dict[str, Any]]) -> None:
        """The run in the database is a new one: it gets everything."""
        for row in rows:
            self.log(row, row[keys.STEP])

    def log(self, row: dict[str, Any], step: int) -> None:
        self.trackio.log({key: value for key, value in row.items() if key != keys.STEP}, step=step)

    def finish(self) -> None:
        with redirect_stdout(io.StringIO()):
            self.trackio.finish()


@spec
class TrackioLogger:
    """A trackio run in an SQLite database below the run directory, or in $TRACKIO_DIR where the user has set it.

    A run of the same name and group that is in the database is an earlier start of this one, and makes room for it.
    """

    project: Words
    """Project of trackio, which `trackio show --project` names."""
    group: Words | None
    """Group of trackio. The preset takes the run's own `group`, so that a sweep's runs are together."""

    def check(self) -> None:
        if find_spec("trackio") is None:
            raise ConfigError("logger=trackio: trackio is not installed; pip install 'tipx[trackio]'")
        if setting := next((name for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL") if os.environ.get(name)), None):
            raise ConfigError(
                f"logger=trackio writes on this machine, and {setting} is set; unset it: `trackio sync` uploads later"
            )

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        trackio = import_trackio(Path(os.environ.get("TRACKIO_DIR") or path / "trackio"))
        try:
            self.forget_earlier(trackio, path.name)
            with redirect_stdout(io.StringIO()):  # it says where its files are
                trackio.init(
                    project=self.project,
                    name=path.name,
                    group=self.group,
                    config={key: value for key, value in config.items() if not key.startswith("_")},
                    embed=False,
                    auto_log_gpu=False,
                    auto_log_cpu=False,
                )
        except (ValueError, OSError, SqliteError) as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ConfigError(
                f"logger=trackio: logger.project={self.project} in {trackio.utils.TRACKIO_DIR} cannot be used ({why}); "
                "move the folder away, or give another project"
            ) from error
        return TrackioSink(trackio)

    def forget_earlier(self, trackio: Any, name: str) -> None:
        """Delete what an earlier start of this run has logged."""
        if trackio.sqlite_storage.SQLiteStorage.get_project_db_path(self.project).exists():
            for run in list(trackio.Api().runs(self.project)):
                if run.name == name and (run.config or {}).get("_Group") == self.group:
                    run.delete()


def import_trackio(folder: Path) -> Any:
    """The library, with its database in `folder`: it asks the environment for that, once, when it is imported."""
    before = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = str(folder)
    try:
        trackio = import_package("trackio", "logger=trackio", "pip install -U 'tipx[trackio]'")
    finally:
        if before is None:
            del os.environ["TRACKIO_DIR"]
        else:
            os.environ["TRACKIO_DIR"] = before
    if (other := trackio.utils.TRACKIO_DIR) != folder:
        raise ConfigError(f"logger=trackio: this process writes to {other} already; train in a process of its own")
    return trackio


def import_wandb(asked: str) -> Any:
    return import_package("wandb", asked, "pip install -U wandb")


def import_package(name: str, asked: str, remedy: str) -> Any:
    """The library; raises ConfigError where it is not installed, or not so that it can be used."""
    try:
        return import_module(name)
    # What a package says that does not fit to another one, or lost some of its files.
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{asked}: {name} cannot be imported ({reason}); {remedy}") from error


@contextmanager
def refusals(wandb: Any, asked: str, remedy: str) -> Iterator[None]:
    """Turns what wandb says when it cannot log into one line."""
    try:
        yield
    except (wandb.Error, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{asked}: {reason.rstrip('.')}; {remedy}: `wandb sync` can upload it later") from error


def check_wandb(mode: str, asked: str, remedy: str) -> None:
    """Raises ConfigError where wandb is not installed, and if online without a key that its server takes.

    It never asks for a key, and offline it needs neither a key nor a network.
    """
    if mode not in MODES:
        raise ConfigError(f"WANDB_MODE: expected {' or '.join(MODES)}, got {mode!r}")
    wandb = import_wandb(asked)
    if mode == "offline":
        return
    with refusals(wandb, asked, remedy):
        # Where WANDB_MODE=offline is set, a login would not look for a key.
        wandb.setup(settings=wandb.Settings(mode="online", silent=True))
        if not wandb.login(prompt=False, verify=True):
            raise ConfigError(f"{asked}: no key; type `wandb login`, or export WANDB_API_KEY, or {remedy}")


def log_report(group: str, name: str, cells: Any, pictures: dict[str, Path], folder: Path, mode: str) -> None:
    """A report as one wandb run in its sweep's group: `cells` (a data frame) as a table, pictures as images."""
    wandb = import_wandb("--wandb")
    with refusals(wandb, f"--wandb with WANDB_MODE={mode}", "leave out WANDB_MODE=online"):
        run = wandb.init(
            project="tipx",
            group=group,
            name=name,
            job_type="report",
            mode=mode,
            dir=folder,
            settings=wandb.Settings(silent=True, console="off"),
        )
    images = {name: wandb.Image(str(path)) for name, path in pictures.items()}
    # Empty cells as nothing: a column of numbers stays one.
    run.log({"table": wandb.Table(dataframe=cells.astype(object).where(cells.notna(), None))} | images)
    run.finish()
