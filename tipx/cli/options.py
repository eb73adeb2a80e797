"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Hydra overrides, e.g. selector=q3_only ratio=0.1 optim.lr=5e-4")
]
ConfigDir = Annotated[Path | None, typer.Option(help="A folder of your own YAML, laid out like conf/")]
RunsDir = Annotated[Path, typer.Option(help="Where runs are kept")]
