"""The table of tokens, printed."""

from pathlib import Path

from tipx.display.console import console, print_text
from tipx.display.output import Form, print_frame
from tipx.inspect.picture import over_training
from tipx.inspect.save import save_picture
from tipx.inspect.tokens import counts, markdown, top
from tipx.runs.reader import StoredRun


def print_tokens(run: StoredRun, ngrams: int, most: int, form: str, plot: Path | None) -> None:
    """In a form, which is one of `Form` or "markdown"; and the picture, if it was asked for."""
    counted = counts(run, ngrams)
    frame = top(counted, most)
    if form == "markdown":
        print_text(markdown(frame))
    else:
        print_frame(frame, f"{run.name}, steps {', '.join(map(str, run.sampled_steps))}", Form(form))
    if plot is not None:
        save_picture(over_training(counted, run.name), plot)
        notes = console(stderr=form != Form.TABLE, soft_wrap=True, highlight=False)
        notes.print(f"picture  {plot}")
