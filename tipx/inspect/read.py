"""A sampled step of a run, and which one was asked for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tipx.errors import ConfigError, RunError
from tipx.files.atomic import damaged
from tipx.inspect.quadrants import Thresholds
from tipx.runs.directory import FRESH, Run
from tipx.runs.find import need_run
from tipx.runs.metrics_file import Row
from tipx.runs.snapshot import Snapshot

ENDS = {
    "eos": "",
    "length": "cut at the limit of a response",
    "tokens": "cut at the limit of its tokens",
    "context": "cut at the limit of the whole text",
    "turns": "cut at the limit of turns",
}
"""How a rollout ended, if not by itself."""


@dataclass(frozen=True)
class Step:
    """Everything kept of one step: its tokens' statistics, and the rollouts to be read, the first of the step."""

    run: Run
    config: dict[str, Any]
    snapshot: Snapshot
    rows: list[Row]

    @property
    def thresholds(self) -> Thresholds:
        """Between low and high, as the run's log has them."""
        names = ("entropy_quantile", "divergence_quantile")
        entropy, divergence = (self.run.need(self.config, f"quadrants.{name}", float) for name in names)
        return Thresholds.of(self.snapshot, entropy, divergence)


def the_run(target: str, runs_dir: Path) -> Run:
    """Raises RunError when there is none."""
    run = need_run(target, runs_dir)
    if not run.sampled():
        raise RunError(f"{run.path} has no sampled step; train with loop.sample_every=50 (0 is never)")
    return run


def open_step(run: Run, number: int | None) -> Step:
    """The step of that number, or the last sampled one; raises RunError if it was not sampled."""
    steps = run.sampled()
    if number is not None and number not in steps:
        raise RunError(f"step={number}: {run.path} sampled steps {', '.join(map(str, steps))}; give one of them")
    step = steps[-1] if number is None else number
    file = run.sample_files(step)[1]
    if not file.exists():
        raise RunError(
            f"{run.path}: step {step} lacks {file.name}: an older tipx saved it, without the statistics that "
            "inspecting takes; train the run again with --fresh"
        )
    snapshot, rows = Snapshot.read(file), run.samples(step)
    if [len(row["tokens"]) for row in rows] != snapshot.lengths_B[: len(rows)].tolist() or any(
        row.get("stop") not in ENDS or row.get("pieces") is None for row in rows
    ):
        lines = run.sample_files(step)[0]
        raise damaged(lines, f"it does not tell the rollouts of {file.name}", f"inspect another step, or {FRESH}")
    return Step(run, run.config(), snapshot, rows)


@dataclass(frozen=True)
class Asked:
    """The words of a command: `step=50 rollout=3`, and the rest, which are overrides."""

    step: int | None
    rollout: int
    overrides: list[str]

    @classmethod
    def of(cls, words: Sequence[str], *, rules: bool) -> "Asked":
        """Raises ConfigError for a word that is neither; with `rules` any other word is an override."""
        numbers: dict[str, int] = {}
        overrides: list[str] = []
        for word in words:
            key, _, value = word.partition("=")
            if key in ("step", "rollout"):
                if not re.fullmatch("[0-9]{1,9}", value):
                    raise ConfigError(f"{word}: expected a whole number, e.g. {key}=1")
                numbers[key] = int(value)
            elif rules:
                overrides.append(word)
            else:
                raise ConfigError(f"{word}: expected step=N or rollout=N; rules to try go with --compare")
        if rules and not overrides:
            raise ConfigError("--compare: expected rules, e.g. --compare selector=soft_or,q3_only ratio=0.2")
        return cls(numbers.get("step"), numbers.get("rollout", 1), overrides)
