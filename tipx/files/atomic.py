"""Files that are whole or not there: written aside, fsynced, renamed into place; and reading them."""

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tipx.errors import Damaged, RunError, RunFailed, TipxError

MANIFEST = "manifest.json"
MADE = "made by tipx"
"""Stands in every page and picture that tipx writes under a name of the user's choice."""
WRITTEN = ".tipx-files"
"""Names of what tipx wrote into a folder of the user's choice."""
REMEDIES = {
    errno.EACCES: "allow writing there, or give another folder",
    errno.EPERM: "allow writing there, or give another folder",
    errno.EROFS: "it is on a disk that is read only: give a folder on another",
    errno.EIO: "the disk has a fault: give a folder on another, and see the system's log",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or give another folder",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or give another folder",
    errno.EISDIR: "a folder stands where a file is needed: remove it, or give another name",
    errno.ENAMETOOLONG: "give a shorter name, or a folder with a shorter path",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
    errno.EFBIG: "raise the limit of a file (`ulimit -f`) and run the same command again",
    errno.ENOENT: "the folder was removed meanwhile: run the same command again",
    errno.ESTALE: "the network disk was lost: mount it again, and run the same command again",
}
"""What to do about each number; those of a full disk are not among them."""


def cache_dir() -> Path:
    """Where what can be had again is kept: $TIPX_CACHE, else `tipx` in $XDG_CACHE_HOME, else in ~/.cache."""
    if own := os.environ.get("TIPX_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tipx"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns the disk's refusal of `path` into one line."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"cannot write {path}: {error.strerror}; {disk_advice(error)}") from error


def disk_advice(error: BaseException) -> str:
    """What to do about a write that failed; more space helps only where there was none."""
    number = error_number(error)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "free space and run the same command again"
    return REMEDIES.get(number or 0, "see the disk and the system's log, then run the same command again")


def make_folder(folder: Path) -> None:
    """A folder, and those above it, if they are not there; raises RunFailed when the disk does not take it."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step; raises RunFailed when the disk does not take it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`."""
    write_parts(path, [data])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """The same of content that need not be in memory at once."""
    aside = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        with aside.open("wb") as handle:
            handle.writelines(parts)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)


def append_text(path: Path, text: str) -> None:
    """Add to the end of `path`; raises RunFailed when the disk does not take it, which may leave a part of `text`."""
    with disk_errors(path), path.open("a") as handle:
        handle.write(text)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of readable JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


AGAIN = "remove it and make it again"


def damaged(path: Path, problem: str, remedy: str) -> Damaged:
    """The error for a file that is not as it was written."""
    return Damaged(f"{path} is damaged: {' '.join(problem.split())}; {remedy}")


def read_text(path: Path, remedy: str = AGAIN) -> str:
    """What `write_text` wrote; raises Damaged when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"it is no text (byte {error.start})", remedy) from error
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})", remedy) from error


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object; raises ValueError, in a few words, for anything else."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"holds {type(value).__name__}, not an object")  # noqa: TRY004 - what came is wrong
    return value


def read_json(path: Path, remedy: str = AGAIN) -> dict[str, Any]:
    """What `write_json` wrote; raises Damaged when it is no JSON object."""
    try:
        return parse_object(read_text(path, remedy))
    except ValueError as error:
        raise damaged(path, f"it {error}", remedy) from error


def read_lines(path: Path, remedy: str = AGAIN) -> list[dict[str, Any]]:
    """One JSON object a line; raises Damaged with the number of the first line that is none."""
    rows = []
    for number, line in enumerate(read_text(path, remedy).split("\n"), 1):
        if line:
            try:
                rows.append(parse_object(line))
            except ValueError as error:
                raise damaged(path, f"line {number} {error}", remedy) from error
    return rows


def refuse_others(path: Path) -> None:
    """Raises RunError for a file that does not say that tipx made it: it would be written over."""
    if not os.path.lexists(path):
        return
    try:
        ours = MADE.encode() in path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}), nor written over; give another name") from error
    if not ours:
        raise RunError(f"{path} is there and was not made by tipx; it stays: give another name, or move it away")


def claim_place(folder: Path, names: Iterable[str]) -> None:
    """Note which files tipx writes into a folder; raises RunError for one that is there and was not written by tipx."""
    note, names = folder / WRITTEN, set(names)
    known = set(read_text(note).split("\n")) if note.is_file() else set()
    if others := sorted(name for name in names - known if os.path.lexists(folder / name)):
        raise RunError(
            f"{folder / others[0]} is there and was not made by tipx; it stays: give another folder, or move it away"
        )
    if not names <= known:
        write_text(note, "\n".join(sorted(names | known)))


def remove(path: Path) -> None:
    """Delete a file, a folder with all in it, or a link, never what is behind a link; nothing there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path, why: str) -> Path:
    """Rename to a hidden name beside it that is free, `.NAME.<why>`; returns where it is now."""
    names = (f".{path.name}.{why}{f'-{i}' if i else ''}" for i in itertools.count())
    aside = next(free for free in map(path.with_name, names) if not os.path.lexists(free))
    path.rename(aside)
    return aside


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_folder(folder: Path, fill: Callable[[Path], None], what: str = "checkpoint") -> None:
    """Let `fill` write a folder, add a manifest of checksums, and move it into place.

    A folder that is there is moved aside before and deleted last. Raises RunFailed when the disk does not take it; what
    was written is removed, and nothing else is touched.
    """
    aside, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("tmp", "old"))
    with disk_errors(folder):
        if old.is_dir() and not folder.exists():  # killed between the two renames below
            old.rename(folder)
        for left in (aside, old):
            remove(left)
    try:
        aside.mkdir(parents=True)
        fill(aside)
        files = sorted(path for path in aside.rglob("*") if path.is_file())
        sums = {path.relative_to(aside).as_posix(): file_sha256(path) for path in files}
        (aside / MANIFEST).write_text(json.dumps(sums, indent=1))
        for path in [*aside.rglob("*"), aside]:
            sync_file(path)
        if os.path.lexists(folder):
            folder.rename(old)
        aside.replace(folder)
        sync_file(folder.parent)
        remove(old)
    except TipxError:
        remove(aside)
        raise
    except Exception as error:
        # Four libraries write here, and not all have a class for a full disk; what is none is raised again.
        remove(aside)
        if old.is_dir() and not folder.exists():
            old.rename(folder)
        reason = disk_error(error)
        if reason is None:
            raise
        intact = "earlier checkpoints are intact: " if what == "checkpoint" else ""
        raise RunFailed(f"cannot write {what} {folder}: {reason}; {intact}{disk_advice(error)}") from error


def disk_error(error: BaseException) -> str | None:
    """What the operating system said when a write failed, or None if that is not what happened.

    torch raises RuntimeError with the OSError in its context; safetensors and tokenizers, written in Rust, have
    exceptions of their own that end in "(os error 28)".
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError):
            return link.strerror or str(link)
        if found := re.search(r"([^:]+) \(os error \d+\)", str(link)):
            return found[1].strip()
        link = link.__context__
    return None


def error_number(error: BaseException) -> int | None:
    """The operating system's number of what went wrong, where `disk_error` finds it too."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError):
            return link.errno
        if found := re.search(r"\(os error (\d+)\)", str(link)):
            return int(found[1])
        link = link.__context__
    return None


def sync_file(path: Path) -> None:
    """Fsync a file or a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find_damage(folder: Path) -> str | None:
    """What is wrong with a folder made by `write_folder`, or None if every file is as it was written."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return "it has no manifest"
    try:
        sums = read_json(manifest)
    except Damaged:
        return "its manifest cannot be read"
    if not sums:
        return "its manifest is empty"
    return next((wrong for name, expected in sums.items() if (wrong := changed(folder, name, expected))), None)


def changed(folder: Path, name: str, expected: object) -> str | None:
    """What is wrong with a file of a manifest, or None. A manifest speaks of files in its folder, whoever wrote it."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or not (folder / place).is_file():
        return f"{name} is missing"
    try:
        return None if file_sha256(folder / name) == expected else f"the checksum of {name} does not match"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
