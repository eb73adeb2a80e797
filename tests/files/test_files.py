"""Files are whole or not there, whatever the disk does."""

import errno
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from tipx.errors import RunFailed
from tipx.files.atomic import MANIFEST, append_text, file_sha256, find_damage, write_folder, write_json, write_text


def no_space(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def fill(folder: Path, text: str = "new") -> None:
    (folder / "a.bin").write_text(text)
    (folder / "b.bin").write_text(text * 2)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: a disk that is full, as far as a write can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "one")
    write_text(path, "two")
    assert path.read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    write_json(path, {"a": [1]})
    assert json.loads(path.read_text()) == {"a": [1]}


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_text(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    write_text(path, "old")
    monkeypatch.setattr(call, no_space)
    with pytest.raises(RunFailed, match=r"cannot write .*x\.txt: No space left on device; free space and run the same"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_line_that_does_not_fit_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_text(path, "first\n")
    with (
        largest_file(8),
        pytest.raises(RunFailed, match=r"cannot write .*log\.jsonl: File too large; raise the limit of a file"),
    ):
        append_text(path, "second\n")
    append_text(path, "third\n")
    # What fitted, "se", may stay: readers take whole lines only, and a resumed run rewrites the file.
    assert path.read_text().startswith("first\n")


def test_a_folder_is_whole_and_knows_its_checksums(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "000004"
    write_folder(folder, fill)
    assert find_damage(folder) is None
    sums = json.loads((folder / MANIFEST).read_text())
    assert sums == {name: file_sha256(folder / name) for name in ("a.bin", "b.bin")}
    # sha256 of "new" by `printf new | sha256sum`.
    assert sums["a.bin"].startswith("11507a0e")
    assert [p.name for p in folder.parent.iterdir()] == ["000004"]


def test_a_folder_takes_the_place_of_another_and_of_what_a_kill_left(tmp_path: Path) -> None:
    folder = tmp_path / "000004"
    write_folder(folder, lambda f: (f / "old.bin").write_text("x") and None)
    (tmp_path / ".000004.tmp").mkdir()
    (tmp_path / ".000004.tmp" / "half").write_text("h")
    write_folder(folder, fill)
    assert sorted(p.name for p in folder.iterdir()) == ["a.bin", "b.bin", MANIFEST]
    assert [p.name for p in tmp_path.iterdir()] == ["000004"]


def rust(_: Path) -> None:
    raise SafetensorError("I/O error: No space left on device (os error 28)\nwith more lines")


def rust_too(_: Path) -> None:
    raise Exception("No space left on device (os error 28)")  # noqa: TRY002 - as tokenizers does


def archive(_: Path) -> None:
    try:
        no_space()
    finally:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")


@pytest.mark.parametrize("how", [no_space, rust, rust_too, archive])
def test_every_library_s_full_disk_is_one_line_and_leaves_what_was_there(
    how: Callable[[Path], None], tmp_path: Path
) -> None:
    before, folder = tmp_path / "000002", tmp_path / "000004"
    write_folder(before, fill)
    write_folder(folder, fill)

    def half(aside: Path) -> None:
        fill(aside, "newer")
        how(aside)

    with pytest.raises(RunFailed) as caught:
        write_folder(folder, half)
    assert str(caught.value) == (
        f"cannot write checkpoint {folder}: No space left on device; earlier checkpoints are intact: free space and "
        "run the same command again"
    )
    assert find_damage(before) is None
    assert find_damage(folder) is None
    assert (folder / "a.bin").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000002", "000004"]


def weights(folder: Path) -> None:
    save_file({"w": torch.zeros(4096)}, folder / "w.safetensors")


def optimizer(folder: Path) -> None:
    with (folder / "trainer.pt").open("wb") as handle:
        torch.save({"w": torch.zeros(4096)}, handle)


def tokens(folder: Path) -> None:
    Tokenizer(WordLevel({str(i): i for i in range(1000)}, unk_token="0")).save(str(folder / "tokenizer.json"))


def words(folder: Path) -> None:
    (folder / "words.json").write_text("x" * 16384)


@pytest.mark.parametrize("library", [weights, optimizer, tokens, words])
def test_a_disk_that_is_really_full(library: Callable[[Path], None], tmp_path: Path) -> None:
    # 4096 floats of 4 bytes, or 1000 entries of more than 8, do not fit a file of 8 KiB.
    with largest_file(8192), pytest.raises(RunFailed, match=r"cannot write checkpoint .*: File too large; earlier"):
        write_folder(tmp_path / "000004", library)
    assert not list(tmp_path.iterdir())
    write_folder(tmp_path / "000004", library)
    assert find_damage(tmp_path / "000004") is None


def test_a_disk_that_fills_up_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(RunFailed, match="No space left on device"):
        write_folder(tmp_path / "000004", fill)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("a bug")])
def test_a_bug_while_saving_keeps_its_traceback(error: Exception, tmp_path: Path) -> None:
    def broken(_: Path) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        write_folder(tmp_path / "000004", broken)
    assert not (tmp_path / "000004").exists()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "a.bin").write_text("ne"), "the checksum of a.bin does not match"),
        (lambda f: (f / "a.bin").write_bytes(b"nex"), "the checksum of a.bin does not match"),
        (lambda f: (f / "b.bin").unlink(), "b.bin is missing"),
        (lambda f: (f / MANIFEST).unlink(), "it has no manifest"),
        (lambda f: (f / MANIFEST).write_text('{"a.bin": '), "its manifest cannot be read"),
        (lambda f: (f / MANIFEST).write_bytes(b"\x00\xff\x00"), "its manifest cannot be read"),
        (lambda f: (f / MANIFEST).write_text("[1]"), "its manifest cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{}"), "its manifest is empty"),
    ],
    ids=["truncated", "flipped", "missing", "no manifest", "cut manifest", "binary manifest", "other json", "empty"],
)
def test_damage_is_found_and_named(harm: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "000004", fill)
    harm(tmp_path / "000004")
    assert find_damage(tmp_path / "000004") == said


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "free space and run the same command again"),
        (errno.EDQUOT, "free space and run the same command again"),
        (errno.EACCES, "give another folder"),
        (errno.EROFS, "read only"),
        (errno.EIO, "the disk has a fault"),
        (errno.ENOTDIR, "a file stands where a folder is needed"),
        (errno.EISDIR, "a folder stands where a file is needed"),
        (errno.ENAMETOOLONG, "give a shorter name"),
        (errno.EXDEV, "see the disk and the system's log"),
    ],
)
def test_more_space_is_asked_for_where_there_is_none(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    def rust(_: Path) -> None:
        raise SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr("os.fsync", refuse)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    for write in (
        lambda: write_text(tmp_path / "x", "text"),
        lambda: write_folder(tmp_path / "folder", fill),
        lambda: write_folder(tmp_path / "folder", rust),
    ):
        with pytest.raises(RunFailed, match=f"{os.strerror(number)}; .*{says}") as caught:
            write()
        assert ("free space" in str(caught.value)) == full
