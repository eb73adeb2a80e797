"""Which cells are measured, which are too big, and a file that keeps what was measured.

A cell that would need more than the limit is never started. Its need is a line through the same case at fewer tokens,
which therefore come first; a case whose memory stops growing at so many rows is taken to stop there.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import peers
from bench.cases import listed
from bench.run import Cell, Result

PROJECT = Path(__file__).parent.parent
SOURCES = ("tipx/vocab/*.py", "tipx/divergences.py", "bench/cases.py", "bench/peers.py", "bench/run.py")
PROBE = 128  # tokens of the cell that tells how much a case needs, where nothing smaller was measured
COPIES = 20  # no case has more fp32 tensors of (tokens x vocabulary) alive: what is small enough needs no probe


@dataclass(frozen=True)
class Row:
    """A cell and what came of it: a result, or why there is none. `about_mib` is a need that was not measured."""

    cell: Cell
    result: Result | None = None
    why: str = ""
    about_mib: float | None = None
    versions: str = ""

    @property
    def mib(self) -> float | None:
        """Measured, or extrapolated."""
        return self.result.mib if self.result else self.about_mib


def cells(
    tokens: list[int], ratios: list[float], vocab: int, hidden: int, names: list[str], repeats: int
) -> list[Cell]:
    """The grid, fewest tokens first."""
    cases = listed()
    return [
        Cell(name, n, vocab, hidden, ratio, repeat)
        for n in sorted(tokens)
        for name in names
        for ratio in cases[name].ratios(ratios)
        for repeat in range(repeats)
    ]


def versions(name: str) -> str:
    """What decides a result beside the cell: the code that is compared, torch, and the package of the case."""
    code = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in PROJECT.glob(pattern)):
        code.update(path.read_bytes())
    package = listed()[name].package
    found = [f"torch {importlib.metadata.version('torch')}", f"code {code.hexdigest()[:8]}"]
    return ", ".join([*found, *([f"{package} {peers.version(package)}"] if package else [])])


def about(cell: Cell, rows: list[Row]) -> float | None:
    """MiB that a cell needs, from the same case at fewer tokens; None where nothing is known."""
    limit = listed()[cell.case].rows or cell.tokens
    known: dict[int, float] = {}
    for row in rows:
        same = (row.cell.case, row.cell.ratio, row.cell.vocab) == (cell.case, cell.ratio, cell.vocab)
        if same and row.result and row.cell.tokens <= cell.tokens:
            known[min(row.cell.tokens, limit)] = row.result.mib
    points = sorted(known.items())[-2:]
    if not points:
        return None
    at, mib = points[-1]
    slope = (mib - points[0][1]) / (at - points[0][0]) if len(points) > 1 else mib / at
    return mib + max(slope, 0) * (min(cell.tokens, limit) - at)


def at_most(cell: Cell) -> float:
    """MiB that no case exceeds."""
    return COPIES * 4 * cell.tokens * cell.vocab / 2**20


def load(path: Path) -> list[Row]:
    """Rows of a file. A last line that was cut off is left out, any other is an error."""
    rows, lines = [], path.read_text().splitlines() if path.exists() else []
    for at, line in enumerate(lines):
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            if at < len(lines) - 1:
                raise
            break
        result = Result(**found["result"]) if found["result"] else None
        rows.append(Row(**(found | {"cell": Cell(**found["cell"]), "result": result})))
    return rows


def save(rows: list[Row], path: Path) -> None:
    """All rows, replacing the file."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def append(row: Row, path: Path) -> None:
    """One more row."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")
