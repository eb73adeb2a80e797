"""Files that are whole or not there: written aside, fsynced, renamed into place."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tipx.errors import RunError, RunFailed

MANIFEST = "manifest.json"
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
def writing(path: Path) -> Iterator[None]:
    """Turns the disk's refusal of `path` into one line."""
    try:
        yield
    except OSError as error:
        raise RunFailed(f"cannot write {path}: {error.strerror}; {advice(error)}") from error


def advice(error: BaseException) -> str:
    """What to do about a write that failed; more space helps only where there was none."""
    number = error_number(error)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "free space and run the same command again"
    return REMEDIES.get(number or 0, "see the disk and the system's log, then run the same command again")


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step; raises RunFailed when the disk does not take it."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`."""
    aside = path.with_name(f".{path.name}.tmp")
    with writing(path):
        with aside.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(path)


def append_text(path: Path, text: str) -> None:
    """Add to the end of `path`; raises RunFailed when the disk does not take it, which may leave a part of `text`."""
    with writing(path), path.open("a") as handle:
        handle.write(text)


def write_json(path: Path, value: Any) -> None:
    """`write_text` of readable JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; raises RunError when it is none."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); remove it and make it again") from error


def digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_folder(folder: Path, fill: Callable[[Path], None], what: str = "checkpoint") -> None:
    """Let `fill` write a folder, add a manifest of checksums, and move it into place in one step.

    Raises RunFailed when the disk does not take it; what was written is removed, and nothing else is touched.
    """
    aside = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        fill(aside)
        sums = {p.name: digest(p) for p in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps(sums, indent=1))
        for path in [*aside.iterdir(), aside]:
            sync(path)
        shutil.rmtree(folder, ignore_errors=True)
        aside.replace(folder)
        sync(folder.parent)
    except Exception as error:
        # Four libraries write here, and not all have a class for a full disk; what is none is raised again.
        shutil.rmtree(aside, ignore_errors=True)
        reason = disk_error(error)
        if reason is None:
            raise
        intact = "earlier checkpoints are intact: " if what == "checkpoint" else ""
        raise RunFailed(f"cannot write {what} {folder}: {reason}; {intact}{advice(error)}") from error


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


def sync(path: Path) -> None:
    """Fsync a file or a directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def damage(folder: Path) -> str | None:
    """What is wrong with a folder made by `write_folder`, or None if every file is as it was written."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return "it has no manifest"
    try:
        sums = dict(json.loads(manifest.read_text()))
    except (ValueError, TypeError):
        return "its manifest cannot be read"
    if not sums:
        return "its manifest is empty"
    for name, expected in sums.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if digest(folder / name) != expected:
            return f"the checksum of {name} does not match"
    return None
