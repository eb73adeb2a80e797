"""What was found as JSON and as Markdown, and the lines at the end."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.gpu_check.results import Cell, Section
from bench.report import Shown
from tipx.files.atomic import write_text

NAME = "gpu_check"
DEVICE, PRODUCT = "The device", "product in bfloat16"
"""A table of the calibration, and a row of it."""


@dataclass(frozen=True)
class Units:
    """What this device does in a second, from the calibration."""

    tflops: float
    gbs: float

    @classmethod
    def of(cls, sections: Sequence[Section]) -> "Units | None":
        """None where it was not calibrated."""
        rows = [row for section in sections if section.name == "calibration" for row in section.tables.get(DEVICE, [])]
        figures = {str(row["what"]): float(row["figure"] or 0) for row in rows}
        return cls(figures[PRODUCT], figures["copy"]) if {PRODUCT, "copy"} <= figures.keys() else None


def add_units(row: dict[str, Cell], units: Units | None) -> dict[str, Cell]:
    """Beside seconds `s`: what the device could have multiplied (TFLOP) and copied (GB) in them."""
    seconds = row.get("s")
    if units is None or not isinstance(seconds, float):
        return row
    cells: dict[str, Cell] = {}
    for name, value in row.items():
        cells[name] = value
        if name == "s":
            cells |= {"TFLOP": seconds * units.tflops, "GB": seconds * units.gbs}
    return cells


def table(title: str, rows: Sequence[dict[str, Cell]]) -> Shown:
    """Columns in the order in which rows name them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    heads = [name.replace("_", " ") for name in columns]
    return Shown(title, heads, [[show_cell(row.get(name)) for name in columns] for row in rows])


def show_cell(cell: Cell) -> str:
    """Numbers with three digits that count; a dash for what is not there."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|")


def verdict(sections: Sequence[Section]) -> tuple[bool, list[str]]:
    """Whether all that was checked passed, and a line for each section that was skipped and each check that failed."""
    lines = [f"skipped: {section.name}: {section.why}" for section in sections if section.status == "skipped"]
    lines += [f"skipped: {section.name}: {what}" for section in sections for what in section.left_out]
    failures = [f"failed: {section.name}: {line}" for section in sections for line in section.failures]
    if not any(section.checks for section in sections):
        failures.append("failed: nothing was checked")
    return not failures, lines + failures


def markdown(about: dict[str, str], sections: Sequence[Section]) -> str:
    """One page."""
    passed, lines = verdict(sections)
    units = Units.of(sections)
    parts = ["# GPU check\n", f"{'All checks passed.' if passed else 'Not all checks passed.'}\n"]
    parts += [f"- {line}" for line in lines]
    parts.append(table("Machine", [{"what": name, "is": value} for name, value in about.items()]).markdown())
    overview: list[dict[str, Cell]] = [
        {
            "section": section.name,
            "status": section.status,
            "checks": len(section.checks),
            "failed": sum(not check.passed for check in section.checks),
            "wall s": section.seconds,
        }
        for section in sections
    ]
    parts.append(table("Sections", overview).markdown())
    for section in sections:
        parts.append(f"## {section.name.capitalize()}\n")
        parts += [f"- {note}" for note in section.notes] + [""] * bool(section.notes)
        for title, rows in section.tables.items():
            parts.append(table(title, [add_units(row, units) for row in rows]).markdown())
    return "\n".join(parts)


def finite(tree: Any) -> Any:
    """JSON has no infinity: numbers that are none become text."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return str(tree)
    if isinstance(tree, dict):
        return {key: finite(value) for key, value in tree.items()}
    return [finite(value) for value in tree] if isinstance(tree, list) else tree


def write(about: dict[str, str], sections: Sequence[Section], out: Path) -> list[Path]:
    """OUT/gpu_check.json and OUT/gpu_check.md. Which device it was is known by the first section that ran."""
    about = {"device": next((section.device for section in sections if section.device), "unknown")} | about
    passed, lines = verdict(sections)
    trees = [asdict(section) for section in sections]
    for section, tree in zip(sections, trees, strict=True):
        for check, written in zip(section.checks, tree["checks"], strict=True):
            written["passed"] = check.passed
    whole = {"about": about, "passed": passed, "lines": lines, "sections": trees}
    files = {f"{NAME}.json": json.dumps(finite(whole), indent=1), f"{NAME}.md": markdown(about, sections)}
    for name, text in files.items():
        write_text(out / name, text + "\n" * (not text.endswith("\n")))
    return [out / name for name in files]
