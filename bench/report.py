"""Tables, the check that all implementations agree, and the files CSV and Markdown."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from bench.cases import ALL_TOKENS, FULL, PAPER, TRL, TRL_TILES, TRL_WIDE, listed
from bench.grid import Row
from bench.run import Cell, Result

METHOD = """Every cell ran in a fresh process with one thread. Memory: growth of the peak resident set (VmHWM) over the
resident set just before, with the inputs made and a tiny run of the same case done. Time: CPU seconds of loss and
backward. Divided by: the same number of another row at the same number of tokens (paper-style: at the same ratio; the
others over all tokens). `~`: extrapolated, not measured."""
# Short heading and the case that a number is divided by; the paper's code selects, so its own ratio is the fair one.
BASES = {"full": FULL, "paper": PAPER, "TRL": TRL, "TRL 64x4096": TRL_TILES, "TRL 256x8192": TRL_WIDE}
Key = tuple[str, int, float]


@dataclass(frozen=True)
class Shown:
    """A table to print or to write."""

    title: str
    head: list[str]
    body: list[list[str]]

    def rich(self) -> Table:
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE)
        for at, name in enumerate(self.head):
            table.add_column(name, justify="left" if at == 0 else "right", no_wrap=at > 0)
        for line in self.body:
            table.add_row(*line)
        return table

    def markdown(self) -> str:
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)], *self.body]
        return f"### {self.title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def middle(rows: list[Row]) -> dict[Key, Row]:
    """One row for each case, tokens, and ratio: the median over repeats of memory and of time."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.cell.case, row.cell.tokens, row.cell.ratio), []).append(row)
    return {key: merged(group) for key, group in groups.items()}


def merged(group: list[Row]) -> Row:
    results = [row.result for row in group if row.result]
    if not results:
        return group[0]
    times = {"mib": median(r.mib for r in results), "cpu_s": median(r.cpu_s for r in results)}
    return replace(group[0], result=replace(results[0], **times, wall_s=median(r.wall_s for r in results)))


def base(rows: dict[Key, Row], case: str, cell: Cell) -> Row | None:
    """The row that another is divided by."""
    return rows.get((case, cell.tokens, cell.ratio if case == PAPER else 1))


def tables(rows: list[Row]) -> list[Shown]:
    """For each number of tokens: memory, then time."""
    found = middle(rows)
    made = []
    for tokens in sorted({row.cell.tokens for row in rows}):
        mine = [row for row in found.values() if row.cell.tokens == tokens]
        size = f"{tokens:,} tokens, vocabulary {mine[0].cell.vocab:,}, hidden size {mine[0].cell.hidden}"
        bases = [name for name, case in BASES.items() if any(row.cell.case == case and row.mib for row in mine)]
        for title, unit in (("Peak memory", "MiB"), ("Time", "CPU s")):
            head = ["implementation", "ratio", unit, *[f"/ {name}" for name in bases]]
            body = [line(row, found, bases, unit) for row in mine]
            made.append(Shown(f"{title}: {size}", head, body))
    return made


def line(row: Row, found: dict[Key, Row], bases: list[str], unit: str) -> list[str]:
    """One row's cells."""
    name = f"{row.cell.case} ({row.why})" if row.why and unit == "MiB" else row.cell.case
    mine, rough = number(row, unit)
    cells = [shown(mine, rough=rough, digits=1 if unit == "MiB" else 2)]
    for short in bases:
        other, loose = number(base(found, BASES[short], row.cell), unit)
        cells.append(shown(mine and other and mine / other, rough=rough or loose, digits=3))
    return [name, f"{row.cell.ratio:g}", *cells]


def number(row: Row | None, unit: str) -> tuple[float | None, bool]:
    """A row's number, and whether it is extrapolated."""
    if row is None:
        return None, False
    if unit == "MiB":
        return row.mib, row.result is None
    return (row.result.cpu_s, False) if row.result else (None, False)


def shown(value: float | None, *, rough: bool, digits: int) -> str:
    return "-" if value is None else ("~" if rough else "") + f"{value:,.{digits}f}"


def agreement(rows: list[Row]) -> tuple[list[str], bool]:
    """What the check found, as lines, and whether anything disagrees: loss and both gradient norms at ratio 1."""
    lines, wrong = [], False
    cases = listed()
    measured = [(row.cell, row.result) for row in rows if row.result and row.cell.ratio == 1]
    for tokens, objective in sorted({(cell.tokens, cases[cell.case].objective) for cell, _ in measured}):
        same = {c.case: r for c, r in measured if (c.tokens, cases[c.case].objective) == (tokens, objective)}
        # Full logits are the plainest; where they were not measured, the first that holds to the tight tolerance.
        anchor = FULL if FULL in same else min(same, key=lambda name: (cases[name].tolerance, name != ALL_TOKENS))
        off = {name: distance(result, same[anchor]) for name, result in same.items() if name != anchor}
        far = [f"{name} is off by {x:.1e}" for name, x in off.items() if not x <= cases[name].tolerance]
        worst = max((x for name, x in off.items() if cases[name].tolerance < 1e-3), default=0.0)
        loose = max((x for name, x in off.items() if cases[name].tolerance >= 1e-3), default=0.0)
        text = f"Agreement, {objective}, {tokens} tokens: {len(same)} implementations against {anchor}, worst relative"
        text += f" difference of loss and gradient norms {worst:.1e}" + (f" (bf16 cache: {loose:.1e})" if loose else "")
        lines.append("; ".join([text, *[f"MISMATCH: {x}" for x in far]]))
        wrong = wrong or bool(far)
    return lines, wrong


def distance(one: Result, other: Result) -> float:
    """Largest relative difference; infinite where something is not a number, which `max` would pass over."""
    names = ("loss", "states_norm", "weight_norm")
    gaps = [abs(getattr(one, n) - getattr(other, n)) / abs(getattr(other, n)) for n in names]
    return math.inf if any(math.isnan(gap) for gap in gaps) else max(gaps)


def write(rows: list[Row], lines: list[str], out: Path) -> None:
    """results.csv and results.md."""
    fields = ["case", "tokens", "vocab", "hidden", "ratio", "repeat", *Result.__dataclass_fields__, "about_mib", "why"]
    with (out / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*fields, "versions"])
        writer.writeheader()
        for row in rows:
            values = vars(row.cell) | (vars(row.result) if row.result else {})
            writer.writerow(values | {"about_mib": row.about_mib, "why": row.why, "versions": row.versions})
    parts = [METHOD, "".join(f"- {text}\n" for text in lines), *[table.markdown() for table in tables(rows)]]
    (out / "results.md").write_text("\n\n".join(part.rstrip("\n") for part in parts) + "\n")
