"""What goes to a file of the user's choice, or into the run."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure

from tipx.errors import ConfigError
from tipx.files.atomic import MADE, disk_errors, refuse_others, write_text
from tipx.runs.directory import Run


def save_page(run: Run, step: int, content: str, out: Path | None) -> Path:
    """By default runs/.../inspect/000050.html; returns where it is. Raises ConfigError for a folder that is missing."""
    if out is None:
        return run.save_page(step, content)
    write_text(checked(out, "a page, e.g. tokens.html"), content)
    return out


def save_picture(figure: Figure, out: Path) -> None:
    """As a PNG, or what the name ends in."""
    with disk_errors(checked(out, "a picture, e.g. tokens.png")), warnings.catch_warnings():
        # A token in a script that the font lacks is a box; the table has it.
        warnings.filterwarnings("ignore", message="Glyph")
        kind = out.suffix.lower().lstrip(".") or "png"
        figure.savefig(out, metadata={{"png": "Software"}.get(kind, "Creator"): f"matplotlib, {MADE}"})


def checked(out: Path, what: str) -> Path:
    """`out` if it can be written, and is nothing that somebody else made."""
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out}: expected a file in a folder that exists, for {what}")
    refuse_others(out)
    return out
