"""Parse, measure cell by cell, check that all agree, report."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import grid, peers, plot, report
from bench.cases import listed
from bench.grid import Row
from bench.run import CaseFailed, Cell, measured


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Peak memory and time of the loss, as ratios.")
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--ratio", type=float, nargs="+", default=[1, 0.5, 0.2, 0.1])
    parser.add_argument("--case", nargs="+", choices=list(listed()), metavar="NAME", help="default: all but the JSD's")
    parser.add_argument("--full", action="store_true", help="512 to 8192 tokens, and every case")
    parser.add_argument("--repeats", type=int, default=1, help="fresh processes a cell; the median counts")
    parser.add_argument("--max-gib", type=float, default=8.0, help="what needs more is extrapolated, not run")
    parser.add_argument("--out", type=Path, default=Path("bench/out"))
    parser.add_argument("--resume", action="store_true", help="take what OUT/results.jsonl has of the same code")
    args = parser.parse_args()
    if args.full:
        args.tokens = [512, 1024, 2048, 8192]
    args.names = args.case or [name for name, case in listed().items() if args.full or not case.extra]
    return args


def attempt(cell: Cell, rows: list[Row], max_gib: float) -> Iterator[Row]:
    """The row of a cell, after that of a small probe where nothing else tells how much it needs."""
    package = listed()[cell.case].package
    if package and not peers.installed(package):
        yield Row(cell, why=peers.NOT_INSTALLED)
        return
    need = grid.about(cell, rows)
    if need is None and grid.at_most(cell) > max_gib * 1024 and cell.tokens > grid.PROBE:
        probe = Row(replace(cell, tokens=grid.PROBE), measured(replace(cell, tokens=grid.PROBE)))
        yield probe
        need = grid.about(cell, [*rows, probe])
    if need is not None and need > max_gib * 1024:
        why = f"not run: needs about {need / 1024:.1f} GiB (extrapolated from fewer tokens)"
        yield Row(cell, why=why, about_mib=need)
    else:
        yield Row(cell, measured(cell))


def sweep(args: argparse.Namespace, console: Console) -> list[Row]:
    """Every cell, each as soon as it is done in OUT/results.jsonl."""
    path = args.out / "results.jsonl"
    wanted = grid.cells(args.tokens, args.ratio, args.vocab, args.hidden, args.names, args.repeats)
    # Rows of cases that are not asked for today stay in the file: a later run may want them.
    versions = {name: grid.versions(name) for name in listed()}
    old = [row for row in grid.load(path) if row.result and row.versions == versions.get(row.cell.case)]
    rows = old if args.resume else []
    args.out.mkdir(parents=True, exist_ok=True)
    grid.save(rows, path)
    done = {row.cell for row in rows}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(wanted))
        for cell in wanted:
            progress.update(bar, description=f"{cell.case}, {cell.tokens} tokens, ratio {cell.ratio:g}")
            if cell not in done:
                for row in attempt(cell, rows, args.max_gib):
                    rows.append(replace(row, versions=versions[cell.case]))
                    grid.append(rows[-1], path)
            progress.advance(bar)
    return [row for row in rows if row.cell in set(wanted)]


def main() -> int:
    """The exit code: 1 where implementations disagree or a case fails."""
    args, console = arguments(), Console()
    console.width = max(console.width, 110)  # a table that wraps cannot be read
    try:
        rows = sweep(args, console)
    except KeyboardInterrupt:
        console.print("Stopped. The same command with --resume goes on from here.")
        return 130
    except CaseFailed as failure:
        console.print(f"[red]{failure}[/red]. The same command with --resume goes on from here.")
        return 1
    lines, wrong = report.agreement(rows)
    report.write(rows, lines, args.out)
    plot.draw(rows, args.out)
    for table in report.tables(rows):
        console.print(table.rich())
    console.print(*lines, sep="\n")
    console.print(f"{args.out}: results.csv, results.md, bench.png, bench.svg")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
