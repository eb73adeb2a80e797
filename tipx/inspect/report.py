"""The table of tokens, printed."""

from pathlib import Path

from tipx.display.console import Console, print_text
from tipx.display.tables import show_frame
from tipx.inspect.picture import over_training
from tipx.inspect.save import as_csv, save_picture
from tipx.inspect.tokens import counts, markdown, top
from tipx.runs.reader import StoredRun


def print_tokens(console: Console, run: StoredRun, ngrams: int, most: int, form: str, plot: Path | None) -> None:
    """In a form; and the picture, if it was asked for."""
    counted = counts(run, ngrams)
    frame = top(counted, most)
    if form == "table":
        steps = ", ".join(map(str, run.sampled_steps))
        console.print(show_frame(frame, f"{run.name}, steps {steps}"))
    else:
        print_text(as_csv(frame) if form == "csv" else markdown(frame))
    if plot is not None:
        save_picture(over_training(counted, run.name), plot)
        console.print(f"picture  {plot}", soft_wrap=True, highlight=False)
