"""What the paper printed: facts to set beside one's own."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent / "paper.csv"

Key = tuple[str, str, float, str | None, str]


@dataclass(frozen=True)
class Fact:
    """One cell of a table of the paper: per cent, or GB; `spread` is what it prints after ±."""

    table: int
    value: float
    spread: float | None


@cache
def facts() -> dict[Key, Fact]:
    """By (model, selector, ratio, benchmark or None, metric), in the names of `conf/`."""
    import pandas as pd

    frame = pd.read_csv(FILE, comment="#")
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return {
        (row["model"], row["selector"], float(row["ratio"]), row["benchmark"], row["metric"]): Fact(
            row["table"], row["value"], row["spread"]
        )
        for row in rows
    }


def fact(model: str, selector: str, ratio: float, benchmark: str | None, metric: str) -> Fact | None:
    """The cell of that rule, or of every token where all are kept; None where the paper has none."""
    return facts().get((model, "full" if ratio == 1 else selector, ratio, benchmark, metric))
