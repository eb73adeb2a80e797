"""What is printed when a job is over."""

import shlex
from pathlib import Path

from tipx.cli.options import runs_option
from tipx.display.console import console
from tipx.display.plots import as_png, learning_curve
from tipx.display.tables import before_after, held_out
from tipx.report.comparison import difference
from tipx.runs.directory import Run
from tipx.runs.find import last_activity
from tipx.runs.reader import StoredRun, stored_runs
from tipx.runs.step_times import step_times
from tipx.signals import is_main


def print_run(run: Run, *, worked: bool) -> None:
    """What was measured before and after, where the time of a step went, and where the rest is."""
    if not is_main():
        return
    screen = console()
    if not worked:
        screen.print(f"already finished: {run.path} (--fresh to start over)", soft_wrap=True, highlight=False)
    stored = StoredRun(run)
    for table in (before_after(stored), held_out(stored)):
        if table is not None:
            screen.print(table)
    if worked or not (run.path / "curve.png").exists():  # an earlier start may have ended just before
        run.save_picture("curve.png", as_png(learning_curve(stored)))
    if (times := step_times(stored.rows)) is not None:
        shares = ", ".join(f"{phase} {share:.0%}" for phase, share in times.shares.items())
        screen.print(f"step     {times.seconds:.3g} s: {shares}", soft_wrap=True, highlight=False)
    screen.print(f"run      {run.path}\npicture  {run.path / 'curve.png'}", soft_wrap=True, highlight=False)


def print_next_commands(run: Run, config_dir: Path | None) -> None:
    """What one would type next, on standard error."""
    if is_main():
        for command in next_commands(StoredRun(run), config_dir):
            console(stderr=True).print(f"next     {command}", soft_wrap=True, highlight=False)


def next_commands(run: StoredRun, config_dir: Path | None) -> list[str]:
    """Look at its tokens, evaluate it with more samples, compare it: each only where there is something to do it with.

    It is compared with the run of its group that was trained last and has a result like one of its own: of the same
    model on the same benchmark, asked in the same way.
    """
    if run.damage:
        return []
    runs_dir = run.path.parent.parent
    runs = stored_runs(runs_dir)
    place = runs_option(runs_dir)
    inspect = [f"tipx inspect {typed_name(run, runs)}{place}"] if run.sampled_steps else []
    evaluate = []
    if any(result.benchmark for result in run.results):
        own = [] if config_dir is None else ["--config-dir", str(config_dir)]
        words = [*evaluation_words(run), *own]
        evaluate = [f"tipx eval {typed_name(run, runs)} {shlex.join(words)}{place}"]
    others = [other for other in runs if other.group == run.group and other.name != run.name]
    others.sort(key=lambda other: last_activity(other.path), reverse=True)
    newest = next((other for other in others if is_like(other, run)), None)
    if newest is None:
        return [*inspect, *evaluate, f"tipx runs{place}"]
    return [*inspect, *evaluate, f"tipx compare {typed_name(newest, runs)} {typed_name(run, runs)}{place}"]


def evaluation_words(run: StoredRun) -> list[str]:
    """The run's benchmark and how it is evaluated, as they were chosen and typed, with four times the samples."""
    chosen = [f"{group}={run.choices[group]}" for group in ("benchmark", "eval") if group in run.choices]
    typed = [f"{key}={value}" for key, value in run.typed.items() if key.startswith(("benchmark.", "eval."))]
    other = [word for word in typed if not word.startswith(("eval.n=", "eval.limit=", "eval.sampling."))]
    return [*chosen, *other, f"n={4 * run.need('eval.n', int)}"]


def is_like(other: StoredRun, run: StoredRun) -> bool:
    """Whether `tipx compare` compares the two, and they are of one model."""
    if other.damage or not other.finished or other.choices.get("model") != run.choices.get("model"):
        return False
    pairs = [(a, b) for a in other.results for b in run.results if a.benchmark and a.benchmark == b.benchmark]
    return any(difference(a, b) is None for a, b in pairs)


def typed_name(run: StoredRun, runs: list[StoredRun]) -> str:
    """Its name; its path where two groups have a run of that name."""
    alone = sum(other.name == run.name for other in runs) == 1
    return shlex.quote(run.name if alone else str(run.path))
