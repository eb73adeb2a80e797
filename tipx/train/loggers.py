"""Where metrics go besides the run directory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tipx.errors import ConfigError
from tipx.files.atomic import remove
from tipx.runs import metric_keys as keys
from tipx.spec import Words, spec

MODES = ("offline", "online")


@runtime_checkable
class Sink(Protocol):
    """An open log."""

    def resume(self, rows: Sequence[dict[str, Any]]) -> None:
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

    def resume(self, rows: Sequence[dict[str, Any]]) -> None: ...

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

    def resume(self, rows: Sequence[dict[str, Any]]) -> None:
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
        wandb = imported("logger=wandb")
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


def imported(asked: str) -> Any:
    """The library; raises ConfigError where it is not installed, or not so that it can be used."""
    try:
        import wandb
    # What a package says that does not fit to another one, or lost some of its files.
    except (ImportError, AttributeError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{asked}: wandb cannot be imported ({reason}); pip install -U wandb") from error
    return wandb


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
    wandb = imported(asked)
    if mode == "offline":
        return
    with refusals(wandb, asked, remedy):
        # Where WANDB_MODE=offline is set, a login would not look for a key.
        wandb.setup(settings=wandb.Settings(mode="online", silent=True))
        if not wandb.login(prompt=False, verify=True):
            raise ConfigError(f"{asked}: no key; type `wandb login`, or export WANDB_API_KEY, or {remedy}")


def log_report(group: str, name: str, cells: Any, pictures: dict[str, Path], folder: Path, mode: str) -> None:
    """A report as one wandb run in its sweep's group: `cells` (a data frame) as a table, pictures as images."""
    wandb = imported("--wandb")
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
