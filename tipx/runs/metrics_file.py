"""metrics.jsonl: one line a step, in order, appended while the run trains.

A kill or a power cut may leave a last line without its end. That line is none: the step is trained again and writes the
same line. A line that is damaged before that ends what can be trusted, and the run goes back to a checkpoint before it.
"""

import json
from pathlib import Path
from typing import Any

from tipx.files.atomic import append_text, parse_object, write_text
from tipx.runs.metric_keys import with_current_keys

Row = dict[str, Any]


def read_rows(file: Path) -> tuple[list[Row], str | None]:
    """The lines before the first that is missing or is none, and what is wrong there; None if nothing is."""
    rows: list[Row] = []
    try:
        data = file.read_bytes() if file.exists() else b""
    except OSError as error:
        return [], f"it cannot be read ({error.strerror})"
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1], 1):
        try:
            rows.append(parse_row(line, rows[-1]["step"] if rows else None))
        except ValueError as error:
            return rows, f"line {number} {error}"
    return rows, None


def append_row(file: Path, row: Row) -> None:
    """Add one line; raises RunFailed when the disk does not take it."""
    append_text(file, json.dumps(row) + "\n")


def write_rows(file: Path, rows: list[Row]) -> None:
    """Put these lines in the place of the file, whole or not at all."""
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))


def parse_row(line: bytes, before: int | None) -> Row:
    """A line of metrics that follows the one of step `before`, with the keys of today.

    Raises ValueError, in a few words, if it is none.
    """
    try:
        row = parse_object(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("is no text") from error
    step = row.get("step")
    if type(step) is not int or not all(value is None or isinstance(value, (int, float)) for value in row.values()):
        raise ValueError("does not hold a step's numbers")
    if step not in ((0, 1) if before is None else (before + 1,)):
        raise ValueError(f"is of step {step}, {'the first' if before is None else f'after step {before}'}")
    return with_current_keys(row)
