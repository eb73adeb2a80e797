"""Lines of metrics are what was written, in little memory."""

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tipx.runs.directory import FIRST_MISSING, Run
from tipx.runs.metrics_file import CHUNK, MetricRows, RowStream

Row = dict[str, Any]


def mixed_rows(count: int) -> list[Row]:
    """Lines with many kinds of numbers, some of which change their kind, and with other keys every few steps."""
    rng = np.random.default_rng(0)
    rows: list[Row] = [{"step": 0, "eval/x/mean": 0.5}]
    for step in range(1, count):
        values = [1.5 * step, step, bool(step % 2), None, 2**80, math.inf, 0]
        odd = values[rng.integers(len(values))] if rng.random() < 0.01 else 0.25 * step
        row: Row = {"step": step, "train/loss": 0.1 * step, "odd": odd, "count": step, "none": None}
        if step % 7 == 0:
            row["eval/x/mean"] = 1 / step
        rows.append(row if step % 5 else {"odd": odd, "step": step})
    return rows


def exact(rows: Any) -> str:
    """Told apart by the order of keys, and 1 from 1.0 and true."""
    return repr([[*row.items()] for row in rows])


def test_rows_are_those_of_a_list() -> None:
    plain = mixed_rows(3 * CHUNK + 5)
    rows = MetricRows(plain)
    assert exact(rows) == exact(plain)
    assert exact(reversed(rows)) == exact(reversed(plain))
    assert rows == plain
    assert rows != plain[:-1]
    assert len(rows) == len(plain)
    for at in (0, 1, 5, 7, CHUNK, -1, -CHUNK):
        assert exact([rows[at]]) == exact([plain[at]])
    assert exact(rows[-3:]) == exact(plain[-3:])
    with pytest.raises(IndexError):
        rows[len(plain)]
    assert [*rows.names] == [*dict.fromkeys(key for row in plain for key in row)]
    for name in ("odd", "eval/x/mean", "none", "nothing"):
        wanted = {row["step"]: row[name] for row in plain if row.get(name) is not None}
        assert repr(rows.series(name)) == repr(wanted)
        assert exact(rows.having(name.__eq__)) == exact([row for row in plain if name in row])
    assert [*MetricRows()] == []
    assert not MetricRows()


def write(path: Path, rows: list[Row]) -> Run:
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(path)


def test_what_is_read_takes_the_memory_of_its_numbers(tmp_path: Path) -> None:
    names = [f"select/number_{i}_frac" for i in range(20)]
    run = write(tmp_path / "run", [{"step": step} | dict.fromkeys(names, step / 7) for step in range(20_000)])
    size = run.metrics_file.stat().st_size
    tracemalloc.start()
    try:
        assert run.good_step() == (19_999, None)
        run.rewind(19_000)
        walked = tracemalloc.get_traced_memory()[1]
        rows = run.rows()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rows) == 19_001
    assert walked < size / 20
    assert held < 1.5 * 8 * 20 * len(rows) + 2**20
    assert most < size


LINES = [json.dumps({"step": step, "a": step / 3}) + "\n" for step in range(8)]
DAMAGE = {
    "none": LINES,
    "no end": [*LINES, '{"step": 8'],
    "a gap": [*LINES[:3], *LINES[4:]],
    "no number": [*LINES[:5], '{"step": 5, "a": "b"}\n', LINES[6]],
    "no text": [*LINES[:5], "\ud800\n"],
    "spaces": [LINES[0], '{ "step":1,  "a": 1e0}\n', *LINES[2:]],
    "first missing": LINES[1:],
    "first missing and a gap": [LINES[1], *LINES[3:]],
    "nothing": [],
}


@pytest.mark.parametrize("measured", [False, True], ids=["", "measured before"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_ways_to_read_agree(damage: str, measured: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "_measured_before", lambda _: measured)
    run = write(tmp_path / "run", [])
    content = "".join(DAMAGE[damage]).encode(errors="surrogatepass")
    run.metrics_file.write_bytes(content)
    rows, problem = run.good_rows()
    assert (problem == FIRST_MISSING) == (damage == "first missing" and measured)
    assert run.good_step() == (rows[-1]["step"] if rows else 0, problem)
    for step in (9, 5, 2, 0, -1):
        run.metrics_file.write_bytes(content)
        run.rewind(step)
        left = run.metrics_file.read_bytes()
        assert [*map(json.loads, left.splitlines())] == [row for row in rows if row["step"] <= step]


def test_a_stream_has_the_line_that_it_read(tmp_path: Path) -> None:
    run = write(tmp_path / "run", [{"step": 0, "a": 0.5}])
    stream = RowStream(run.metrics_file)
    (row,) = stream
    assert stream.line == b'{"step": 0, "a": 0.5}\n'
    assert row == {"step": 0, "a": 0.5}
    assert [*RowStream(tmp_path / "nowhere")] == []
    folder = RowStream(tmp_path)
    assert [*folder] == []
    assert folder.problem == "it cannot be read (Is a directory)"
