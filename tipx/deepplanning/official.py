"""Where the benchmark's data lie on this machine, and whether they are whole. Nothing is fetched or written here.

The data are five databases, from the hub, and five lists of queries, from the benchmark's repository. They may lie as
`tipx data pull deepplanning` puts them, all in one folder, or as the benchmark's own instructions do.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tipx.deepplanning.shopping.files import FILES
from tipx.deepplanning.travel import database
from tipx.errors import DataError
from tipx.files.atomic import cache_dir

NAME = "deepplanning"
REPO = "Qwen/DeepPlanning"
COMMIT = "31a4d36d123688581a9e9744427272b33ce940e0"
"""Of the benchmark's repository, QwenLM/Qwen-Agent: whose queries are fetched and whose behaviour is kept."""
INSIDE = "benchmark/deepplanning"
MANIFEST = "deepplanning.json"
CHECKOUT = "TIPX_DEEPPLANNING_DIR"
PULL = "fetch it by `tipx data pull deepplanning`, or name its folder: eval.path=FOLDER"


@dataclass(frozen=True)
class Part:
    """One slice's database: `count` folders `prefix`N, each with these files, and its list of queries."""

    slice: str
    archive: str
    home: str
    """Its folder in the benchmark's own layout."""
    prefix: str
    count: int
    files: tuple[str, ...]
    queries: str
    """Its list of queries in the benchmark's repository."""
    sha256: str
    """Of the queries at COMMIT."""

    @property
    def folder(self) -> str:
        return self.archive.split(".")[0]

    def place(self, folder: Path) -> Path | None:
        """Its database under a data folder."""
        ways = ("", self.home, f"{INSIDE}/{self.home}")
        return next((place for way in ways if (place := folder / way / self.folder).is_dir()), None)

    def query_file(self, folder: Path) -> Path | None:
        """Its list of queries: under the data folder, else in the user's checkout."""
        name = Path(self.queries).name
        places = [folder / name, folder / self.queries, folder / INSIDE / self.queries]
        places += [root / self.queries for root in checkouts()]
        return next((place for place in places if place.is_file()), None)

    def cases(self, database: Path) -> dict[str, Path]:
        """Id to folder, in order of number; raises DataError unless all are there with all their files."""
        ids = {path.name.removeprefix(self.prefix): path for path in database.glob(f"{self.prefix}*") if path.is_dir()}
        found = {key: ids[key] for key in sorted((key for key in ids if key.isdecimal()), key=int)}
        if len(found) != self.count:
            raise DataError(
                f"{self.slice}: expected {self.count} folders {self.prefix}N in {database}, found {len(found)}; {PULL}"
            )
        for path in found.values():
            if missing := [name for name in self.files if not (path / name).is_file()]:
                raise DataError(f"{self.slice}: {path / missing[0]} is missing; {PULL}")
        return found


def shopping(level: int, count: int, sha256: str) -> Part:
    queries = f"shoppingplanning/data/level_{level}_query_meta.json"
    archive = f"database_level{level}.tar.gz"
    return Part(f"shopping_l{level}", archive, "shoppingplanning", "case_", count, FILES, queries, sha256)


def travel(language: str, sha256: str) -> Part:
    queries = f"travelplanning/data/travelplanning_query_{language}.json"
    home = "travelplanning/database"
    files = tuple(file for table, file in database.FILES.items() if table not in database.MAY_BE_ABSENT)
    return Part(f"travel_{language}", f"database_{language}.zip", home, "id_", 120, files, queries, sha256)


PARTS = (
    travel("en", "60455bb30bd624b7b2faf436431203ad3df5a16f42a064e70f48e195c5c993c0"),
    travel("zh", "c9ecc754851db6a42e376b2720ae07a9711e6f6ff4d8b235d5de71932e066e97"),
    shopping(1, 50, "e2e583212e73036755e3dff82883e85cd47530227a57ddc39db40f78708dcc70"),
    shopping(2, 50, "d11650af34c5015cb9c8561bbc05c47100c552d1062eaf1dd5ae84c9b4f513b6"),
    shopping(3, 20, "a1db687a7f4b1252222a6043e0f0d11ca67b39fbb488b819be6943597c4a6fcc"),
)
BY_SLICE = {part.slice: part for part in PARTS}


def checkouts() -> list[Path]:
    """Where a checkout of the benchmark may have its folder: itself, or the repository around it."""
    named = os.environ.get(CHECKOUT)
    return [Path(named), Path(named) / INSIDE] if named else []


def data_folder(path: str | None) -> Path:
    """The folder named by `eval.path`, or the folder `deepplanning` in it; the user's cache if none is named."""
    if path is None:
        return cache_dir() / NAME
    return max(Path(path), Path(path) / NAME, key=lambda folder: sum(bool(part.place(folder)) for part in PARTS))


def manifest(folder: Path) -> dict[str, Any]:
    """What `tipx data pull` noted of the data: repository, revision, checksums. {} where it was not at work."""
    try:
        noted = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def cases(name: str, path: str | None) -> dict[str, Path]:
    """Id to folder of a slice's cases; raises DataError when they are not there or not all."""
    part, folder = BY_SLICE[name], data_folder(path)
    database = part.place(folder)
    if database is None:
        raise DataError(f"eval.path: no {part.folder} in {folder}; {PULL}")
    return part.cases(database)


def rows(path: str | None) -> list[dict[str, str | int | None]]:
    """For `tipx data check`: one a slice."""
    folder = data_folder(path)
    noted = manifest(folder).get("archives", {})
    return [row(part, folder, str(noted.get(part.archive, {}).get("sha256", ""))[:12]) for part in PARTS]


def row(part: Part, folder: Path, sha256: str) -> dict[str, str | int | None]:
    head: dict[str, str | int | None] = {"name": f"{NAME}/{part.slice}", "kind": "benchmark", "where": str(folder)}
    absent = {"here": "no", "rows": None, "sha256": None, "wrong": None}
    database = part.place(folder)
    if database is None:
        return head | absent
    try:
        count = len(part.cases(database))
    except DataError as error:
        return head | absent | {"here": "unusable", "wrong": str(error)}
    wrong = None if part.query_file(folder) else f"{part.slice}: no {Path(part.queries).name} in {folder}; {PULL}"
    return head | absent | {"here": "yes", "rows": count, "sha256": sha256 or None, "wrong": wrong}
