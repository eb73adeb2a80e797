"""The official layout: a query file for each language, and a folder of tables for each task."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tipx.deepplanning.official import BY_SLICE
from tipx.deepplanning.travel.database import read_database
from tipx.deepplanning.travel.prompts import Language, PromptTexts, own_texts
from tipx.deepplanning.travel.task import TravelTask
from tipx.deepplanning.travel.trip import read_trip
from tipx.errors import DataError

TASKS = 120
"""Tasks of each language."""
# The user may name the checkout, the folder of the benchmark or of its travel half, or a folder of his own.
BASES = ("", "travelplanning", "benchmark/deepplanning/travelplanning")


@dataclass(frozen=True, slots=True)
class Split:
    """A fifth of the tasks for testing, drawn by task id.

    A task is the same in both languages and has the same id, so an id is a test id in both or in neither: training on
    one language would otherwise show the answers of the other. The draw depends on `seed` and the ids alone.
    """

    seed: int
    test_share: float

    def test(self, ids: Iterable[str]) -> frozenset[str]:
        """The ids held out: 24 of the official 120 at a share of 0.2."""
        known = sorted(set(ids), key=lambda one: hashlib.sha256(f"{self.seed} {one}".encode()).digest())
        return frozenset(known[: round(len(known) * self.test_share)])

    def train(self, ids: Iterable[str]) -> frozenset[str]:
        known = frozenset(ids)
        return known - self.test(known)


def load(folder: Path, language: Language, texts: PromptTexts | None = None, tasks: int = TASKS) -> list[TravelTask]:
    """Every task of a language, in the order of the file; its tables are read when it starts.

    `texts` are what the model is told, ours if None. Raises DataError when the query file or a task's folder is
    missing, a query is not what it should be, or there are not `tasks` of them.
    """
    file, database = find(folder, language)
    queries = read_queries(file, tasks)
    texts = texts or own_texts(language)
    return [
        TravelTask(
            id=f"travel_{language}/{query['id']}",
            slice=f"travel_{language}",
            query=query["query"],
            trip=read_trip(query["meta_info"], f"{str(file)!r}, task {query['id']}"),
            language=language,
            texts=texts,
            database=partial(read_database, tables(database, query["id"])),
        )
        for query in queries
    ]


def find(folder: Path, language: Language) -> tuple[Path, Path]:
    """The query file and the folder of tables; raises DataError."""
    bases = [folder / base for base in BASES]
    file = first(bases, ("", "data"), f"travelplanning_query_{language}.json")
    file = file or BY_SLICE[f"travel_{language}"].query_file(folder)
    database = first(bases, ("", "database"), f"database_{language}")
    if file is None or database is None:
        lacking = f"travelplanning_query_{language}.json" if file is None else f"database_{language}"
        raise DataError(
            f"expected the travel half of DeepPlanning, {str(folder)!r} has no {lacking}; "
            "type: tipx data pull deepplanning"
        )
    return file, database


def first(bases: Iterable[Path], subs: Iterable[str], name: str) -> Path | None:
    subs = tuple(subs)
    return next((base / sub / name for base in bases for sub in subs if (base / sub / name).exists()), None)


def read_queries(file: Path, tasks: int) -> list[dict[str, Any]]:
    """The entries of a query file, each with `id`, `query` and `meta_info`; raises DataError."""
    try:
        queries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(file)!r} cannot be read ({error}); take the official file") from error
    if not isinstance(queries, list) or not all(isinstance(query, dict) for query in queries):
        raise DataError(f"{str(file)!r}: expected a list of tasks; take the official file")
    ids = [query.get("id") for query in queries]
    # An id becomes the name of a folder.
    wrong = [one for one in ids if not isinstance(one, str) or not re.fullmatch(r"[0-9]{1,6}", one)]
    if wrong or len(set(ids)) != len(ids):
        raise DataError(f"{str(file)!r}: expected different numbers as ids, got {wrong[:1] or 'one of them twice'}")
    if not all(isinstance(query.get("query"), str) and isinstance(query.get("meta_info"), dict) for query in queries):
        raise DataError(f"{str(file)!r}: a task lacks its query or its meta_info; take the official file")
    if len(queries) != tasks:
        raise DataError(f"{str(file)!r}: expected {tasks} tasks, got {len(queries)}; take the official file")
    return queries


def tables(database: Path, task: str) -> Path:
    """A task's folder, named with or without "id_"; raises DataError if there is none."""
    found = next((database / name for name in (f"id_{task}", task) if (database / name).is_dir()), None)
    if found is None:
        raise DataError(f"{str(database)!r} has no folder id_{task}; unpack the archive again")
    return found
