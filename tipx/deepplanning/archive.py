"""Archives from elsewhere, unpacked with mistrust: files and folders only, all inside, none too many, none too large.

Everything that is not a plain file or folder ends it: links, devices, sparse files, encryption, names that lead out of
the folder or mean something to some system, two members of one name. The limits hold for what is really written, not
for what the archive says of itself.
"""

import gzip
import io
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tipx.errors import DataError
from tipx.files.atomic import disk_errors, remove

GIB = 2**30
BLOCK = 2**20
# What a broken or hostile archive raises in the libraries that read it.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Limits:
    """More than any archive of the benchmark needs: travel unpacks to under 1 GiB in a few thousand files."""

    files: int = 50_000
    bytes: int = 4 * GIB
    depth: int = 8
    name: int = 200
    at_once: int = 16 * BLOCK
    """Bytes of one read: an archive's own headers are small, unless they are made to fill the memory."""


LIMITS = Limits()


class Unsafe(Exception):
    """What is wrong with an archive; never leaves `extract`."""


@dataclass(frozen=True)
class Member:
    """A plain file or a folder in an archive."""

    name: str
    folder: bool
    size: int
    open: Callable[[], Any]


def extract(archive: Path, folder: Path, limits: Limits = LIMITS) -> None:
    """Unpack a .zip or .tar.gz into a folder of its own, which is there only if all went well.

    Raises DataError for an archive that is broken or not to be trusted, RunFailed when the disk does not take it.
    """
    aside = folder.with_name(f".{folder.name}.tmp")
    with disk_errors(folder):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    try:
        unpack(archive, aside, limits)
        with disk_errors(folder):
            remove(folder)
            aside.replace(folder)
    except Unsafe as unsafe:
        raise DataError(f"{archive}: not unpacked: {unsafe}; take the archive from the hub again") from unsafe
    except BROKEN as error:
        raise DataError(f"{archive}: is broken ({error}); remove it and fetch it again") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def unpack(archive: Path, folder: Path, limits: Limits) -> None:
    """Raises Unsafe, or what the libraries raise."""
    taken = Taken()
    left = limits.bytes
    with archive.open("rb") as handle:
        members = zip_members(handle) if archive.suffix == ".zip" else tar_members(handle, folder, limits)
        for number, member in enumerate(members):
            if number >= limits.files:
                raise Unsafe(f"more than {limits.files} members")
            if path := safe(member.name, limits):
                taken.add(path, member)
                left -= write(member, folder / path, left)


class Taken:
    """The names so far, in small letters: some disks do not tell A from a."""

    def __init__(self) -> None:
        self.files, self.folders = set[str](), set[str]()

    def add(self, path: PurePosixPath, member: Member) -> None:
        """Raises Unsafe for a file that is there, or that is a folder elsewhere in the archive."""
        own = str(path).lower()
        around = {str(parent).lower() for parent in path.parents} | ({own} if member.folder else set())
        if own in self.files or (not member.folder and own in self.folders) or around & self.files:
            raise Unsafe(f"{member.name!r} is there twice")
        self.folders |= around
        self.files |= set() if member.folder else {own}


def safe(name: str, limits: Limits) -> PurePosixPath | None:
    """The path inside the folder; None for what desktops put into archives. Raises Unsafe."""
    if name.startswith(("/", "~")) or any(ord(c) < 32 or c in '\\:*?"<>|\x7f' for c in name):
        raise Unsafe(f"the name {name[:80]!r}")
    parts = PurePosixPath(name).parts
    if ".." in parts or len(parts) > limits.depth or any(len(part.encode()) > limits.name for part in parts):
        raise Unsafe(f"the name {name[:80]!r}")
    junk = not parts or parts[0] == "__MACOSX" or parts[-1].startswith("._") or parts[-1] == ".DS_Store"
    return None if junk else PurePosixPath(*parts)


def write(member: Member, path: Path, left: int) -> int:
    """Bytes written, never more than `left`. Raises Unsafe."""
    if member.folder:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return 0
    if member.size > left:
        raise Unsafe(f"{member.name!r} is too large")
    done = 0
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # "x": a file that is there already is one too many.
        with member.open() as source, path.open("xb") as target:
            while block := source.read(BLOCK):
                done += len(block)
                if done > left:
                    raise Unsafe(f"{member.name!r} is too large")
                target.write(block)
    return done


def zip_members(handle: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(handle) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Unsafe(f"{info.filename!r} is neither a file nor a folder")
            if info.flag_bits & 1:
                raise Unsafe(f"{info.filename!r} is encrypted")
            yield Member(info.filename, info.is_dir(), info.file_size, partial(archive.open, info))


def tar_members(handle: IO[bytes], folder: Path, limits: Limits) -> Iterator[Member]:
    stream: Any = BoundedStream(gzip.GzipFile(fileobj=handle), limits)
    with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise Unsafe(f"{info.name!r} is neither a file nor a folder")
            try:
                # The library's own opinion, beside ours.
                tarfile.data_filter(info, str(folder))
            except tarfile.FilterError as error:
                raise Unsafe(str(error)) from error
            yield Member(info.name, info.isdir(), info.size, partial(archive.extractfile, info))


class BoundedStream(io.RawIOBase):
    """A stream that refuses to give too much at once, or to be read too far."""

    def __init__(self, stream: gzip.GzipFile, limits: Limits) -> None:
        super().__init__()
        self.stream, self.limits = stream, limits

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self.limits.at_once or self.stream.tell() > 2 * self.limits.bytes:
            raise Unsafe("it unpacks to too much")
        try:
            return self.stream.read(size)
        except gzip.BadGzipFile as error:
            # An OSError, though no disk is at fault.
            raise Unsafe(f"it is damaged ({error})") from error

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        # What is skipped is unpacked too.
        if whence or offset > 2 * self.limits.bytes:
            raise Unsafe("it unpacks to too much")
        return self.stream.seek(offset)

    def tell(self) -> int:
        return self.stream.tell()
