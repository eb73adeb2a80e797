"""Fetch the benchmark's data into one folder: archives from the hub, queries from its repository, and a manifest."""

import hashlib
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tipx.deepplanning.archive import extract
from tipx.deepplanning.official import COMMIT, INSIDE, MANIFEST, PARTS, REPO, Part, checkouts, data_folder, manifest
from tipx.errors import DataError
from tipx.files.atomic import disk_errors, file_sha256, set_aside, write_json, write_text
from tipx.files.hub import HubFiles

QUERIES = f"https://raw.githubusercontent.com/QwenLM/Qwen-Agent/{COMMIT}/{INSIDE}"
LARGEST = 4 * 2**20
"""Bytes of a list of queries; the largest has half a megabyte."""


def pull(path: str | None) -> Iterator[tuple[str, Path]]:
    """(slice, its folder) of each part as it is ready; raises DataError when one cannot be had or is not whole.

    Archives in the folder come before the hub's. What is there already, whole and from the same archive, stays.
    """
    folder = data_folder(path)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    archives, revision = found(folder)
    for part in PARTS:
        unpack(part, archives[part.archive], folder, revision)
        queries(part, folder)
        yield part.slice, folder / part.folder


def found(folder: Path) -> tuple[dict[str, Path], str | None]:
    """(the archives, the hub's revision they are of; None if they were given); raises DataError."""
    given = {part.archive: folder / part.archive for part in PARTS}
    if all(path.is_file() for path in given.values()):
        return given, None
    try:
        archives = fetched()
        if len({path.parent for path in archives.values()}) > 1:
            # The hub moved on between two of them; what was in the cache is now fetched anew.
            archives = fetched()
    except OSError as error:
        raise DataError(
            f"deepplanning: the archives are not in the hub's cache, and cannot be fetched ({error}); where there is "
            f"network: {HubFiles(REPO, 'database_*').command}, or put {', '.join(given)} into {folder}; then type this "
            "again"
        ) from error
    return archives, next(iter(archives.values())).parent.name


def fetched() -> dict[str, Path]:
    """Raises OSError."""
    return {part.archive: HubFiles(REPO, part.archive).fetch()[0] for part in PARTS}


def unpack(part: Part, archive: Path, folder: Path, revision: str | None) -> None:
    """Put a database into place, and note where it is from."""
    sha256 = file_sha256(archive)
    noted = manifest(folder)
    known = noted.get("archives", {}).get(part.archive, {}).get("sha256") == sha256
    if known and is_whole(part, folder / part.folder):
        return
    fresh = folder / f"{part.folder}.new"
    extract(archive, fresh)
    try:
        inner = inside(fresh, part)
        count = len(part.cases(inner))
        with disk_errors(folder / part.folder):
            if os.path.lexists(folder / part.folder):
                # A database that was not unpacked here, or was changed since, is not ours to delete.
                set_aside(folder / part.folder, "replaced")
            shutil.move(inner, folder / part.folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    note(folder, "archives", part.archive, {"sha256": sha256, "revision": revision, "cases": count})


def is_whole(part: Part, database: Path) -> bool:
    try:
        part.cases(database)
    except DataError:
        return False
    return True


def inside(unpacked: Path, part: Part) -> Path:
    """The folder of the cases: the archive's own, or the one folder in it."""
    ways = [unpacked / part.folder, unpacked, *sorted(path for path in unpacked.iterdir() if path.is_dir())]
    return next((way for way in ways if any(way.glob(f"{part.prefix}*"))), unpacked)


def queries(part: Part, folder: Path) -> None:
    """From the user's checkout, else from the repository; raises DataError."""
    target = folder / Path(part.queries).name
    if target.is_file():
        note(folder, "queries", target.name, {"sha256": file_sha256(target)})
        return
    here = next((root / part.queries for root in checkouts() if (root / part.queries).is_file()), None)
    if here:
        write_text(target, here.read_text(encoding="utf-8"))
    else:
        write_text(target, download(part, target))
    note(folder, "queries", target.name, {"sha256": file_sha256(target)})


def download(part: Part, target: Path) -> str:
    url = f"{QUERIES}/{part.queries}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - https, fixed
            content: bytes = answer.read(LARGEST)
    except OSError as error:
        raise DataError(f"deepplanning: cannot fetch {url} ({error}); put it there by hand: {target}") from error
    if hashlib.sha256(content).hexdigest() != part.sha256:
        raise DataError(f"deepplanning: {url} is not the file it should be; put it there by hand: {target}")
    return content.decode()


def note(folder: Path, group: str, name: str, facts: dict[str, Any]) -> None:
    """Add to the manifest."""
    noted = {"repo": REPO, "commit": COMMIT} | manifest(folder)
    noted[group] = noted.get(group, {}) | {name: facts}
    write_json(folder / MANIFEST, noted)
