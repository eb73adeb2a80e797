"""Arguments that several commands share, and what every path and name must be."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tipx.files.names import wrong_name, wrong_path, wrong_words


def path(text: Any) -> Path:
    """A path; raises BadParameter for a blank one, and for what no file system takes."""
    if wrong := wrong_path(str(text)):
        raise typer.BadParameter(wrong)
    return Path(text)


def place(text: str) -> str:
    """A path, or a name that stands for one, as it was typed; raises BadParameter."""
    path(text)
    return text


def group(text: str) -> str:
    """The name of a folder; raises BadParameter."""
    if wrong := wrong_name(text):
        raise typer.BadParameter(wrong)
    return text


def words(text: str) -> str:
    """Keys and the like; raises BadParameter for blank text."""
    if wrong := wrong_words(text):
        raise typer.BadParameter(wrong)
    return text


PATH: Any = {"parser": path, "metavar": "PATH"}
PLACE: Any = {"parser": place}
GROUP: Any = {"parser": group, "metavar": "NAME"}
WORDS: Any = {"parser": words, "metavar": "TEXT"}
"""What `typer.Option` is told of each."""

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, e.g. selector=q3_only ratio=0.1 optim.lr=5e-4")
]
ConfigDir = Annotated[Path | None, typer.Option(**PATH, help="A folder of your own YAML, laid out like conf/")]
RunsDir = Annotated[Path, typer.Option(**PATH, help="Where runs are kept")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV on standard output")]
