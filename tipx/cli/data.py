"""tipx data"""

from typing import Annotated

import typer

from tipx.cli.options import AsCsv, AsJson, ConfigDir

app = typer.Typer(help="Benchmarks and training sets: what is here, and fetching it.", no_args_is_help=True)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]... [eval.path=...] [data.path=...]", help="As in `tipx list`")
]


@app.callback()
def group() -> None:
    """Benchmarks and training sets: what is on this machine, and fetching it from the hub."""


@app.command()
def check(names: Names = None, config_dir: ConfigDir = None, *, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Say of each benchmark and training set where it is, whether it is whole, and its checksum.

    `tipx data check math500 eval.path=math500.jsonl`
    """
    from tipx.cli.datasets import check_datasets as job
    from tipx.display.console import console
    from tipx.display.output import Form, choose_form, print_frame

    form = choose_form(as_json=as_json, as_csv=as_csv)
    frame = job(names or [], config_dir)
    shown = frame.drop(columns="wrong") if form is Form.TABLE else frame
    print_frame(shown, "benchmarks and training sets", form)
    notes = console(stderr=True, highlight=False)
    for line in frame["wrong"].dropna():
        notes.print(f"unusable: {line}", style="yellow")
    if form is Form.TABLE:
        notes.print("`tipx data pull NAME` fetches from the hub; eval.path= and data.path= name files")


@app.command()
def hashes(names: Names = None, config_dir: ConfigDir = None) -> None:
    """Print tipx/evals/benchmarks.json with the hashes of these benchmarks' problems (for maintainers).

    `tipx data hashes math500`
    """
    from tipx.cli.datasets import benchmark_hashes as job
    from tipx.display.console import print_text

    print_text(job(names or [], config_dir))


@app.command()
def pull(names: Names = None, config_dir: ConfigDir = None) -> None:
    """Fetch benchmarks or training sets from the hub into its cache.

    `tipx data pull math500 aime24`
    """
    from tipx.cli.datasets import pull_datasets as job
    from tipx.display.console import console

    for name, files in job(names or [], config_dir):
        for file in files:
            console().print(f"{name}: {file}", soft_wrap=True, highlight=False)
