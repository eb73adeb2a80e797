"""tipx data"""

from typing import Annotated

import typer

from tipx.cli.options import ConfigDir

app = typer.Typer(help="Benchmarks and training sets: what is here, and fetching it.", no_args_is_help=True)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]... [eval.path=...] [data.path=...]", help="As in `tipx list`")
]


@app.callback()
def group() -> None:
    """Benchmarks and training sets: what is on this machine, and fetching it from the hub."""


@app.command()
def check(names: Names = None, config_dir: ConfigDir = None) -> None:
    """Say of each benchmark and training set where it is, whether it is whole, and its checksum."""
    from rich.console import Console

    from tipx.datasets import check as job
    from tipx.tables import show_frame

    frame, wrong = job(names or [], config_dir)
    console = Console()
    console.print(show_frame(frame, "benchmarks and training sets"))
    for line in wrong:
        console.print(f"unusable: {line}", soft_wrap=True, highlight=False, markup=False)
    console.print("`tipx data pull NAME` fetches from the hub; eval.path= and data.path= name files", highlight=False)


@app.command()
def pull(names: Names = None, config_dir: ConfigDir = None) -> None:
    """Fetch benchmarks or training sets from the hub into its cache."""
    from rich.console import Console

    from tipx.datasets import pull as job

    for name, files in job(names or [], config_dir):
        for file in files:
            Console().print(f"{name}: {file}", soft_wrap=True, highlight=False)
