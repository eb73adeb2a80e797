"""Archives that are what they should be, and all the ways in which they are not."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tipx.deepplanning.archive import Limits, extract
from tipx.errors import DataError, RunFailed

Put = Callable[[Path], None]


def tar(path: Path, *members: tuple[str, bytes | str]) -> None:
    """Names with what is in them; a text is the target of a link."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            elif name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def zipped(path: Path, *members: tuple[str, bytes | str]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if isinstance(content, str) else 0o100644) << 16
            archive.writestr(info, content)


WAYS = [(tar, "x.tar.gz"), (zipped, "x.zip")]
both = pytest.mark.parametrize(("pack", "name"), WAYS, ids=["tar", "zip"])
Pack = Callable[..., None]


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@both
def test_a_good_one_is_unpacked_in_one_step(pack: Pack, name: str, tmp_path: Path) -> None:
    pack(
        tmp_path / name,
        ("top/", b""),
        ("top/case_1/a.json", b"A"),
        ("./top/b", b"B"),
        ("__MACOSX/._b", b"junk"),
        ("top/._b", b""),
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    (tmp_path / ".out.tmp").mkdir()
    extract(tmp_path / name, tmp_path / "out")
    assert files(tmp_path / "out") == {"top/case_1/a.json": "A", "top/b": "B"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["out", name])


@both
@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("top/../../evil", b"x")],
        [("/tmp/evil", b"x")],
        [("~/evil", b"x")],
        [("C:\\evil", b"x")],
        [("..\\evil", b"x")],
        [("a\nb", b"x")],
        [("top/link", "/etc/passwd")],
        [("top", "."), ("top/evil", b"x")],
        [("a", b"x"), ("A", b"y")],
        [("a", b"x"), ("a/b", b"y")],
        [("a/b", b"x"), ("a", b"y")],
        [("/".join("abcdefghi"), b"x")],
        [("n" * 201, b"x")],
        [(f"many{at}", b"x") for at in range(6)],
        [("large", bytes(2000))],
        [("one", bytes(600)), ("two", bytes(600))],
    ],
)
def test_a_bad_one_leaves_nothing(
    pack: Pack, name: str, members: list[tuple[str, bytes | str]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    pack(home / name, ("good", b"g"), *members)
    (home / "out").mkdir()
    (home / "out" / "old").write_text("old")
    with pytest.raises(DataError, match=r"not unpacked: .*; take the archive from the hub again"):
        extract(home / name, home / "out", Limits(files=6, bytes=1000))
    # What was there stays, and nothing else is there, inside or out.
    assert files(home / "out") == {"old": "old"}
    assert sorted(path.name for path in home.iterdir()) == sorted(["out", name])
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_hard_links_and_devices(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("top/thing")
        info.type, info.linkname = kind, "top/other"
        archive.addfile(info)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        extract(tmp_path / "x.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_written_counts_not_what_is_said(tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", ("bomb", bytes(50_000)))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    # The size in the central directory, 24 bytes into its entry, is made a small one.
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 10)
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError):
        extract(tmp_path / "x.zip", tmp_path / "out", Limits(bytes=1000))
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_a_header_made_to_fill_the_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 10**9
    with gzip.open(tmp_path / "x.tar.gz", "wb") as stream:
        stream.write(header.tobuf(tarfile.PAX_FORMAT))
        stream.write(bytes(10**6))
    with pytest.raises(DataError, match="it unpacks to too much"):
        extract(tmp_path / "x.tar.gz", tmp_path / "out")


def test_an_encrypted_one(tmp_path: Path) -> None:
    zipped(tmp_path / "x.zip", ("a", b"secret"))
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(DataError, match="is encrypted"):
        extract(tmp_path / "x.zip", tmp_path / "out")


@both
@pytest.mark.parametrize("damage", ["cut", "noise", "empty"])
def test_a_broken_one(pack: Pack, name: str, damage: str, tmp_path: Path) -> None:
    pack(tmp_path / name, ("a", bytes(range(256)) * 40), ("b", b"b" * 4000))
    whole = (tmp_path / name).read_bytes()
    middle = len(whole) // 2
    broken = {"cut": whole[:middle], "noise": whole[:40] + bytes(20) + whole[60:], "empty": b""}[damage]
    (tmp_path / name).write_bytes(broken)
    with pytest.raises(DataError, match=r"is broken|not unpacked"):
        extract(tmp_path / name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar.gz", ("a", b"A"))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="cannot write"):
        extract(tmp_path / "x.tar.gz", tmp_path / "file" / "out")
