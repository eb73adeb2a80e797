"""Where a table is: a file, a folder, or the hub's cache, whole or half there."""

import json
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError

from tipx.data.table import Place, fetch_refusal
from tipx.errors import DataError
from tipx.files import hub
from tipx.files.hub import HubFiles

FIRST, SECOND = "hf://datasets/org/first/data/test-*.jsonl", "hf://datasets/org/second/test.jsonl"
ROW = json.dumps({"problem": "p", "answer": "1"}) + "\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


def put(cache: Path, repo: str, name: str, text: str = ROW) -> Path:
    """A file in the cache, as huggingface_hub lays it out."""
    folder = cache / f"datasets--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text("abc")
    file = folder / "snapshots" / "abc" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def place(path: str | None = None) -> Place:
    return Place("eval.path", "bench", path, (FIRST, SECOND))


def test_the_first_copy_in_the_cache_is_taken(cache: Path) -> None:
    assert place().offline() is None
    second = put(cache, "org/second", "test.jsonl")
    found = place().find()
    assert (found.files, found.origin) == ((second,), SECOND)
    parts = [put(cache, "org/first", f"data/test-{i}.jsonl") for i in (1, 0)]
    put(cache, "org/first", "data/train-0.jsonl")
    assert place().find().files == (parts[1], parts[0])
    assert len(place().find().rows()) == 2


def test_half_a_download_is_none(cache: Path) -> None:
    file = put(cache, "org/second", "test.jsonl")
    file.unlink()
    file.symlink_to(cache / "blobs" / "gone")
    assert place().offline() is None


def test_a_torn_file_is_named(cache: Path) -> None:
    put(cache, "org/second", "test.jsonl", ROW + ROW[:10])
    with pytest.raises(
        DataError, match=r"test\.jsonl' is not valid \.jsonl \(line 2, column 11: Expecting ':'.*mend it"
    ):
        place().find().rows()


@pytest.mark.usefixtures("cache")
def test_nothing_offline_says_what_to_type() -> None:
    with pytest.raises(DataError) as caught:
        place().find()
    for part in (
        "eval.path: not in",
        "org/first: HF_HUB_OFFLINE",
        "hf download --repo-type dataset org/first",
        "eval.path=/",
    ):
        assert part in str(caught.value)


def test_a_folder_holds_a_file_of_the_benchmarks_name(tmp_path: Path) -> None:
    (tmp_path / "bench.jsonl").write_text(ROW)
    assert place(str(tmp_path)).find().files == (tmp_path / "bench.jsonl",)


@pytest.mark.parametrize(
    "address", ["hf://datasets/org", "hf://datasets/org/name", "hf://datasets//x/y", "hf://datasets/o rg/n/x"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(DataError, match=r"eval\.path: expected hf://datasets/OWNER/NAME/FILE"):
        place(address).find()


def test_a_gated_set_says_where_to_ask() -> None:
    error = GatedRepoError.__new__(GatedRepoError)
    assert "https://huggingface.co/datasets/a/b" in fetch_refusal(HubFiles("a/b", "x"), error)
    assert fetch_refusal(HubFiles("a/b", "x"), OSError("one\ntwo")) == "one"


def test_what_is_not_in_the_cache_is_fetched_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = hub.snapshot_download

    def download(repo: str, *, allow_patterns: list[str], local_files_only: bool = False, **_: str) -> str:
        if local_files_only:
            return str(real(repo, repo_type="dataset", allow_patterns=allow_patterns, local_files_only=True))
        asked.append(repo)
        if repo == "org/first":
            raise OSError("503 try later")
        return str(put(cache, repo, "test.jsonl").parent)

    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(hub, "find_hub", lambda _: None)
    assert [place().find().origin for _ in range(2)] == [SECOND, SECOND]
    assert asked == ["org/first", "org/second"]
