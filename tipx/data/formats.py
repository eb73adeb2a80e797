"""Tables as other tools write them: which format a file has, and what is wrong with one that cannot be read."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tipx.data.rows import is_turn

Columns = dict[str, list[Any]]
"""Values by the name of their column."""
DECODER = JSONDecoder()
BLANK = re.compile(r"[ \t\r\n]*")
LISTS = ("data", "rows", "examples", "instances", "train", "validation", "test")
"""Under which of these keys a JSON object holds its rows."""
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
LONGEST_CELL = 2**31 - 1


class WrongError(ValueError):
    """What is wrong with a file, in a few words."""


def of_text(data: bytes) -> str:
    """What bytes say in UTF-8, or in the UTF-16 that a mark announces; raises WrongError."""
    mark, name = next(((m, n) for m, n in BYTE_ORDER_MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        return data[len(mark) :].decode(name)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise WrongError(f"line {line}: byte {error.object[error.start]:#04x} is no {name.upper()} text") from error


def of_lines(data: bytes) -> Columns:
    """JSON objects one after another."""
    return of_rows(json_values(of_text(data)))


def of_json(data: bytes) -> Columns:
    """A list of objects, an object that holds one, an object of columns; or objects one after another."""
    found = json_values(of_text(data))
    if len(found) == 1:
        (whole,) = found
        if isinstance(whole, list):
            return of_rows(whole)
        if isinstance(whole, dict):
            return of_object(whole)
    return of_rows(found)


def json_values(text: str) -> list[Any]:
    """Every JSON value of a text; raises WrongError that names the line."""
    out, at = [], skip_spaces(text, 0)
    while at < len(text):
        try:
            value, at = DECODER.raw_decode(text, at)
        except JSONDecodeError as error:
            raise WrongError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, at) + 1
            raise WrongError(f"line {line}: a number of too many digits, or too many brackets") from error
        out.append(value)
        at = skip_spaces(text, at)
    return out


def skip_spaces(text: str, at: int) -> int:
    """Where what follows blanks begins."""
    found = BLANK.match(text, at)
    return found.end() if found else at


def of_object(whole: dict[str, Any]) -> Columns:
    """The rows in an object; one that holds none is a row."""
    lists = [key for key in LISTS if isinstance(whole.get(key), list) and all(map(is_row, whole[key]))]
    if len(lists) > 1:
        raise WrongError(f"it holds several tables, {', '.join(lists)}: put one of them in a file of its own")
    if lists:
        return of_rows(whole[lists[0]])
    cells = list(whole.values())
    if cells and all(isinstance(cell, dict) for cell in cells):  # as pandas writes them: by column, by row
        return of_columns({name: list(cell.values()) for name, cell in whole.items()})
    chats = any(isinstance(cell, list) and any(map(is_turn, cell)) for cell in cells)
    if cells and all(isinstance(cell, list) for cell in cells) and not chats:
        return of_columns(whole)
    return of_rows([whole])


def is_row(value: Any) -> bool:
    return isinstance(value, dict) and not is_turn(value)


def of_columns(columns: Columns) -> Columns:
    """Columns of one length; raises WrongError for others."""
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise WrongError(f"its columns have different lengths: {', '.join(f'{n} {k}' for n, k in lengths.items())}")
    return columns


def of_rows(rows: list[Any]) -> Columns:
    """Objects as columns; what a row lacks is None. Raises WrongError for what is no object."""
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise WrongError(f"row {number}: expected an object, got {json.dumps(row)[:40]}")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def table_reader(by: str) -> Callable[[bytes], Columns]:
    """A reader of fields that are separated by a sign."""

    def read_columns(data: bytes) -> Columns:
        csv.field_size_limit(LONGEST_CELL)
        reader = csv.reader(io.StringIO(of_text(data), newline=""), delimiter=by, strict=True)
        try:
            names = next(reader, [])
            rows = []
            for row in reader:
                if row and len(row) != len(names):
                    raise WrongError(f"line {reader.line_num}: expected {len(names)} fields, got {len(row)}")
                rows += [row] if row else []
        except csv.Error as error:
            raise WrongError(f"line {reader.line_num}: {error}") from error
        refuse_bad_names(names)
        return {name: [row[place] for row in rows] for place, name in enumerate(names)}

    return read_columns


def of_parquet(data: bytes) -> Columns:
    return of_arrow(pq.ParquetFile(pa.BufferReader(data)).read())


def of_ipc(data: bytes) -> Columns:
    """An Arrow file, or the stream that `Dataset.save_to_disk` writes."""
    source = pa.BufferReader(data)
    opened = pa.ipc.open_file(source) if data.startswith(b"ARROW1") else pa.ipc.open_stream(source)
    return of_arrow(opened.read_all())


def of_arrow(table: pa.Table) -> Columns:
    refuse_bad_names(table.column_names)
    return {name: table.column(name).to_pylist() for name in table.column_names}


def refuse_bad_names(names: list[str]) -> None:
    """Raises WrongError for a name that two columns have."""
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise WrongError(f"two columns are called {twice[0]!r}")


READERS: dict[str, Callable[[bytes], Columns]] = {
    ".jsonl": of_lines,
    ".json": of_json,
    ".csv": table_reader(","),
    ".parquet": of_parquet,
    ".ndjson": of_lines,
    ".tsv": table_reader("\t"),
    ".arrow": of_ipc,
}
UNPACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": lambda data: pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(),
}
RAISED = (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What unpackers and Arrow raise of bytes that are not what they should be."""


def known_suffix(file: Path) -> str | None:
    """The format by a file's name, also under one of a packer; None for one that is not known."""
    ends = [end.lower() for end in file.suffixes]
    ends = ends[:-1] if ends and ends[-1] in UNPACKERS else ends
    return ends[-1] if ends and ends[-1] in READERS else None


def read(file: Path) -> Columns:
    """A file of a known format; raises OSError where it cannot be opened, WrongError where it is broken."""
    data = file.read_bytes()
    if data.startswith(b"version https://git-lfs"):
        raise WrongError("it is only git-lfs's pointer to the data: type `git lfs pull` where it came from")
    if re.match(rb"\s*<(?:!doctype html|html)", data[:200], re.IGNORECASE):
        raise WrongError("it is a web page: fetch the file itself")
    end = known_suffix(file)
    if end is None:
        raise WrongError("its format is not known")
    if not data and end in (".parquet", ".arrow"):  # an empty text has no rows
        raise WrongError("it is empty; expected at least one row")
    packer = file.suffix.lower()
    try:
        return READERS[end](UNPACKERS[packer](data) if packer in UNPACKERS else data)
    except WrongError:
        raise
    except RAISED as error:
        raise WrongError(" ".join(str(error).split())[:200] or type(error).__name__) from error
