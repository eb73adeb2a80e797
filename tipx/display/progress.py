"""Showing how a job goes: a live display in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from tipx.display.console import console
from tipx.runs import metric_keys as keys

Row = dict[str, Any]
PLAIN_EVERY_S = 10.0


@contextmanager
def bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """One bar on stderr, if that is a terminal; what it gives is called with how many more are done."""
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), TimeRemainingColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bars:
        task = bars.add_task(name, total=total)
        yield lambda done: bars.advance(task, done)


class Quiet:
    """Shows nothing: for the processes that are not the main one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, message: str) -> None: ...

    def step(self, row: Row) -> None: ...

    def phase(self, name: str, total: int) -> Callable[[int], None]:
        return lambda _done: None


class Screen:
    """Loss, kept fraction, divergence, tokens/s and time left of a run of `steps` steps, on stderr."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.console = console(stderr=True)
        self.live = self.console.is_terminal
        self.began, self.first, self.shown = time.monotonic(), 0, 0.0
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.live,
        )
        self.train: Any = None

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def say(self, message: str) -> None:
        # Not folded: a path or a command in it is to be copied.
        self.console.print(message, highlight=False, soft_wrap=True)

    def step(self, row: Row) -> None:
        """One line of metrics has been written."""
        accuracy = [f"{name} {row[key]:.3f}" for key in row if (name := keys.EVAL_MEAN.part_of(key))]
        accuracy += [f"held-out perplexity {row[keys.PERPLEXITY]:.2f}"] if keys.PERPLEXITY in row else []
        step, divergence = row[keys.STEP], keys.REVERSE_KL.of("all")
        if keys.LOSS not in row:
            self.say(f"step {step:>5}  {' '.join(accuracy)}")
            return
        self.first = self.first or step
        note = f"loss {row[keys.LOSS]:.4f}  kept {row[keys.KEPT_FRAC]:.0%}  "
        note += f"div {row[divergence]:.4f}  " if divergence in row else ""
        note += f"{row[keys.TOKENS_PER_S]:.0f} tok/s" if keys.TOKENS_PER_S in row else ""
        if self.live:
            if self.train is None:
                self.train = self.bars.add_task("train", total=self.steps, note="")
            self.bars.update(self.train, completed=step, note=note)
        if accuracy or (not self.live and self._time_to_speak(step)):
            self.say(f"step {step:>5}  {'  '.join([note, *accuracy])}{'' if self.live else self._eta(step)}")

    def phase(self, name: str, total: int) -> Callable[[int], None]:
        """A bar for `total` things; call the result with how many more are done."""
        if not self.live:
            return lambda _done: None
        task = self.bars.add_task(name, total=total, note="")

        def tick(done: int) -> None:
            self.bars.advance(task, done)
            if self.bars.tasks[task].finished:
                self.bars.update(task, visible=False)

        return tick

    def _time_to_speak(self, step: int) -> bool:
        now = time.monotonic()
        if step != self.steps and now - self.shown < PLAIN_EVERY_S:
            return False
        self.shown = now
        return True

    def _eta(self, step: int) -> str:
        done = step - self.first
        if done <= 0:
            return ""
        left = (time.monotonic() - self.began) / (done + 1) * (self.steps - step)
        return f"  {int(left // 60)}:{int(left % 60):02d} left"
