"""The one view of a run for everything that reads: what it is, how far it got, what was logged, measured and sampled.

`runs.directory` knows where the files lie and how each is written. Here is what their content means to a reader, in one
place: which evaluation is the first and the last, what "finished" and "damaged" are, which tokens a step kept. Needs
neither torch, pandas nor hydra.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tipx.errors import Damaged, RunError
from tipx.files.atomic import damaged
from tipx.runs import metric_keys as keys
from tipx.runs.checkpoints import STEP
from tipx.runs.directory import FRESH, Run
from tipx.runs.find import all_runs, need_run
from tipx.runs.identity import meaning
from tipx.runs.metrics_file import MetricRows, Row
from tipx.runs.results import FILE, Result, read_results
from tipx.runs.snapshot import Snapshot

ENDS = {
    "eos": "",
    "length": "cut at the limit of a response",
    "tokens": "cut at the limit of its tokens",
    "context": "cut at the limit of the whole text",
    "turns": "cut at the limit of turns",
}
"""How a saved rollout ended, if not by itself."""


@dataclass(frozen=True)
class StoredRun:
    """One run as its files tell. Each is read when it is asked for, and once; what is not as written raises Damaged."""

    directory: Run

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def group(self) -> str:
        return self.path.parent.name

    # --- what it is ----------------------------------------------------------------------------------------------

    @cached_property
    def tree(self) -> dict[str, Any]:
        """The resolved configuration, nested."""
        return self.directory.config()

    @cached_property
    def config(self) -> dict[str, Any]:
        """Values by dotted key; a list is one value, as text."""
        return dict(dotted(self.tree))

    @cached_property
    def meaning(self) -> dict[str, Any]:
        """The same of what makes it the run it is: keys that change no number are not among it."""
        return dict(dotted(meaning(self.tree)))

    def need(self, key: str, kind: type) -> Any:
        """The value at a dotted key of the configuration; raises Damaged when it is not there, or of another type."""
        return self.directory.need(self.tree, key, kind)

    @cached_property
    def provenance(self) -> Row:
        return self.directory.provenance()

    @property
    def starts(self) -> list[Row]:
        """Commit, versions, device and command of each start; none of a run that never began."""
        return self.provenance.get("starts") or []

    @property
    def start(self) -> Row:
        """The last start."""
        return dict(self.starts[-1]) if self.starts else {}

    def noted(self, name: str) -> Any:
        """An entry of the provenance, of the run or of its last start; None if it has none."""
        return self.provenance.get(name, self.start.get(name))

    @cached_property
    def choices(self) -> dict[str, str]:
        """Which file each config group took; {} for a run that was made before that was noted."""
        return self.noted("choices") or {}

    @property
    def overrides(self) -> list[str]:
        """As typed; [] for a run that was made before they were noted."""
        return self.noted("overrides") or []

    @cached_property
    def typed(self) -> dict[str, str]:
        """Overrides by key, without Hydra's marks."""
        return by_key(self.overrides)

    @property
    def steps(self) -> int:
        """How many are planned."""
        return int(self.tree["loop"]["steps"])

    @property
    def seed(self) -> Any:
        return self.tree.get("seed")

    # --- how far it got ------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.directory.finished

    @property
    def locked(self) -> bool:
        """Whether a process writes to it."""
        return self.directory.locked

    @cached_property
    def damage(self) -> str | None:
        """The first file of the run that is not as tipx wrote it, and what is wrong; None if all can be read."""
        try:
            _ = self.tree, self.provenance, self.rows, self.results, self.first_results
            if self.rows:
                self.directory.refuse_incomplete_provenance()
            if self.finished:
                self.directory.summary()
        except Damaged as error:
            return str(error)
        return None

    @property
    def state(self) -> str:
        """finished, running, stopped or damaged."""
        if self.damage:
            return "damaged"
        if self.finished:
            return "finished"
        return "running" if self.locked else "stopped"

    # --- what was logged at each step ----------------------------------------------------------------------------

    @cached_property
    def rows(self) -> MetricRows:
        """Every line of metrics."""
        return self.directory.rows()

    @property
    def step(self) -> int:
        """The last one with a line; 0 before the first."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def values(self, key: str) -> list[float]:
        """The numbers that were logged under a key, in order of steps."""
        return [*self.rows.series(key).values()]

    def last(self, key: str) -> float | None:
        """The last number that was logged under a key."""
        return next(iter(self.values(key)[-1:]), None)

    # --- what was measured ---------------------------------------------------------------------------------------

    @cached_property
    def first_results(self) -> list[Result]:
        """Evaluations before the first step, also those on held-out texts."""
        return self.results_at(0)

    @cached_property
    def results(self) -> list[Result]:
        """Evaluations at the last planned step, also those on held-out texts: what a report compares."""
        return self.results_at(self.steps)

    @property
    def last_results(self) -> list[Result]:
        """Evaluations at the last step that has any, whether planned or asked for."""
        steps = self.evaluated_steps
        return self.results_at(steps[-1]) if steps else []

    @property
    def evaluated_steps(self) -> list[int]:
        """Steps that have a result, in order."""
        folders = {file.parent.parent.name for file in (self.path / "evals").glob(f"*/*/{FILE}")}
        return sorted(int(name) for name in folders if STEP.fullmatch(name))

    def results_at(self, step: int) -> list[Result]:
        return read_results(self.directory.eval_dir(step))

    @cached_property
    def accuracies(self) -> list[tuple[int, float]]:
        """(step, sampled accuracy) of the first benchmark, as logged while training."""
        rows = self.rows.having(benchmark_of)
        return [(row["step"], value) for row in rows if (value := accuracy(row)) is not None]

    @property
    def accuracy_before(self) -> float | None:
        """Before the first step; None if it was not measured there."""
        return self.accuracies[0][1] if self.accuracies and self.accuracies[0][0] == 0 else None

    @property
    def accuracy_after(self) -> float | None:
        """The last one after the first step."""
        return self.accuracies[-1][1] if self.accuracies and self.accuracies[-1][0] > 0 else None

    # --- what was sampled ----------------------------------------------------------------------------------------

    @property
    def sampled_steps(self) -> list[int]:
        """Steps of which rollouts were saved, in order."""
        return self.directory.sampled()

    def need_samples(self) -> list[int]:
        """`sampled_steps`; raises RunError when there is none."""
        steps = self.sampled_steps
        if not steps:
            raise RunError(f"{self.path} has no sampled step; train with loop.sample_every=50 (0 is never)")
        return steps

    def samples(self, step: int) -> list[Row]:
        """The rollouts saved at a step, to be read."""
        return self.directory.samples(step)

    def sampled(self, number: int | None = None) -> "SampledStep":
        """The step of that number, or the last sampled one; raises RunError if it was not sampled."""
        steps = self.need_samples()
        if number is not None and number not in steps:
            raise RunError(f"step={number}: {self.path} sampled steps {', '.join(map(str, steps))}; give one of them")
        step = steps[-1] if number is None else number
        lines, arrays = self.directory.sample_files(step)
        if not arrays.exists():
            raise RunError(
                f"{self.path}: step {step} lacks {arrays.name}: an older tipx saved it, without the statistics that "
                "inspecting takes; train the run again with --fresh"
            )
        snapshot, rows = Snapshot.read(arrays), self.samples(step)
        if [len(row["tokens"]) for row in rows] != snapshot.lengths_B[: len(rows)].tolist() or any(
            row.get("stop") not in ENDS or row.get("pieces") is None for row in rows
        ):
            remedy = f"inspect another step, or {FRESH}"
            raise damaged(lines, f"it does not tell the rollouts of {arrays.name}", remedy)
        return SampledStep(self, snapshot, rows)


@dataclass(frozen=True)
class StoredModel(StoredRun):
    """The results of a model that is no run, and so has no configuration; `directory` is their folder."""

    @cached_property
    def tree(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class SampledStep:
    """What is kept of one step: statistics of all its tokens, and the rollouts to be read, the first of the step."""

    run: StoredRun
    snapshot: Snapshot
    rows: list[Row]


def stored_runs(runs_dir: Path) -> list[StoredRun]:
    """Every run in the groups below `runs_dir`, oldest first."""
    return [StoredRun(run) for run in all_runs(runs_dir)]


def open_run(name: str, runs_dir: Path) -> StoredRun:
    """The run of that name (see `runs.find.find_run`); raises RunError for none and for several."""
    return StoredRun(need_run(name, runs_dir))


def accuracy(row: Row) -> float | None:
    """The first benchmark's sampled accuracy of a line of metrics."""
    return next((value for key, value in row.items() if benchmark_of(key)), None)


@lru_cache(4096)
def benchmark_of(key: str) -> str | None:
    """The benchmark whose sampled accuracy a key of metrics holds; None for any other key."""
    return keys.EVAL_MEAN.part_of(key)


def dotted(tree: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value), in order; a list is one value, as text."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{before}{key}.")
        else:
            # Hundreds of runs have the same keys.
            yield sys.intern(f"{before}{key}"), str(value) if isinstance(value, (list, dict)) else value


def by_key(overrides: Sequence[str]) -> dict[str, str]:
    """`{"optim.lr": "1e-4"}` of `["++optim.lr=1e-4"]`."""
    pairs = [override.lstrip("+~").partition("=") for override in overrides]
    return {key.split("@")[0]: value for key, _, value in pairs}
