"""Where metrics go besides the run directory."""

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tipx.spec import Words, spec


@runtime_checkable
class Sink(Protocol):
    """An open log."""

    def log(self, row: dict[str, Any], step: int) -> None: ...

    def finish(self) -> None: ...


@runtime_checkable
class Logger(Protocol):
    """Opens a log for a run; called again when the run is resumed."""

    def open(self, path: Path, config: dict[str, Any]) -> Sink: ...


class Silence:
    """A log that keeps nothing."""

    def log(self, row: dict[str, Any], step: int) -> None: ...

    def finish(self) -> None: ...


@spec
class NoLogger:
    """Only the run directory."""

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        return Silence()


class WandbSink:
    """A wandb run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, row: dict[str, Any], step: int) -> None:
        self.run.log(row, step=step)

    def finish(self) -> None:
        self.run.finish()


@spec
class WandbLogger:
    """A wandb run under the run directory. `mode=offline` needs no account; `wandb sync` uploads it later.

    The wandb id is the run directory's name, so a resumed run goes on in the same wandb run.
    """

    project: Words
    entity: Words | None
    group: Words | None
    mode: Literal["offline", "online"]

    def open(self, path: Path, config: dict[str, Any]) -> Sink:
        import wandb

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
        return WandbSink(run)


def log_report(group: str, name: str, cells: Any, pictures: dict[str, Path], folder: Path, mode: str) -> None:
    """A report as one wandb run in its sweep's group: `cells` (a data frame) as a table, pictures as images."""
    import wandb

    run = wandb.init(
        project="tipx",
        group=group,
        name=name,
        job_type="report",
        mode=mode,  # type: ignore[arg-type]
        dir=folder,
        settings=wandb.Settings(silent=True, console="off"),
    )
    images = {name: wandb.Image(str(path)) for name, path in pictures.items()}
    # Empty cells as nothing: a column of numbers stays one.
    run.log({"table": wandb.Table(dataframe=cells.astype(object).where(cells.notna(), None))} | images)
    run.finish()
