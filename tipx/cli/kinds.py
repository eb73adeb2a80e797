"""What `tipx list` prints."""

from pathlib import Path

import pandas as pd
from rich.table import Table
from rich.text import Text

from tipx.cli.listing import FILES, GROUPS, Kind
from tipx.config import describe_choices
from tipx.display.console import console
from tipx.display.output import Form, print_frame
from tipx.files.yamls import first_comment
from tipx.report.spec import available
from tipx.sweep.question import read_sweep, sweep_names


def print_overview(config_dir: Path | None, form: Form) -> None:
    """How many there are of each kind, how one is typed, and the command that names them."""
    rows = [
        {
            "kind": kind.value,
            "names": len(describe_kind(kind, config_dir)),
            "typed": typed_as(kind, "NAME"),
            "listed by": f"tipx list {kind.value}",
        }
        for kind in Kind
    ]
    print_frame(pd.DataFrame(rows), "what there is to choose", form)


def print_kind(kind: Kind, config_dir: Path | None, form: Form) -> None:
    """Each name with a line on it; for programs also how it is typed."""
    described = describe_kind(kind, config_dir)
    if form is not Form.TABLE:
        rows = [{"name": name, "description": line, "typed": typed_as(kind, name)} for name, line in described]
        print_frame(pd.DataFrame(rows, columns=["name", "description", "typed"]), kind.value, form)
        return
    title = f"{kind.value} ({typed_as(kind, '...')})"
    table = Table("", "", title=title, title_justify="left", show_header=False, box=None)
    for name, line in described:
        table.add_row(Text(name, "bold"), line)
    console().print(table, "")


def typed_as(kind: Kind, name: str) -> str:
    """What is typed for a name: `tipx sweep NAME`, or `selector=NAME`."""
    return f"tipx {kind.value.removesuffix('s')} {name}" if kind in FILES else f"{GROUPS[kind]}={name}"


def describe_kind(kind: Kind, config_dir: Path | None) -> list[tuple[str, str]]:
    """Each name with a line on it."""
    if kind is Kind.REPORTS:
        return [(name, first_comment(file)) for name, file in available(None).items()]
    if kind is Kind.SWEEPS:
        return [(name, read_sweep(name, config_dir)[1]) for name in sweep_names(config_dir)]
    return [*describe_choices(GROUPS[kind], config_dir).items()]
