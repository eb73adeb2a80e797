"""`tipx data pull deepplanning`, without a network: archives in the folder, or in the hub's cache."""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tipx.deepplanning import official, pull
from tipx.deepplanning.official import BY_SLICE, CHECKOUT, COMMIT, PARTS, REPO, cases, data_folder, manifest, rows
from tipx.deepplanning.shopping.load import load
from tipx.errors import DataError
from tipx.files.atomic import file_sha256


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "cache"))
    yield
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("*.new"))


@pytest.fixture(scope="module")
def pulled(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything is in its place; to be read only."""
    folder = Path(shutil.copytree(archives, tmp_path_factory.mktemp("pulled") / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CHECKOUT, str(archives / "checkout"))
        list(pull.pull(str(folder)))
    return folder


def test_everything_is_put_into_place_counted_and_noted(data: Path) -> None:
    done = dict(pull.pull(str(data)))
    assert list(done) == ["travel_en", "travel_zh", "shopping_l1", "shopping_l2", "shopping_l3"]
    assert {name: len(cases(name, str(data))) for name in done} == {
        "travel_en": 120,
        "travel_zh": 120,
        "shopping_l1": 50,
        "shopping_l2": 50,
        "shopping_l3": 20,
    }
    assert list(cases("travel_en", str(data)))[:3] == ["0", "1", "2"]
    noted = manifest(data)
    assert (noted["repo"], noted["commit"]) == (REPO, COMMIT)
    assert noted["archives"]["database_en.zip"] == {
        "sha256": file_sha256(data / "database_en.zip"),
        "revision": None,
        "cases": 120,
    }
    assert noted["queries"]["level_3_query_meta.json"]["sha256"] == file_sha256(data / "level_3_query_meta.json")
    assert [row["here"] for row in rows(str(data))] == ["yes"] * 5
    assert rows(str(data))[0]["sha256"] == file_sha256(data / "database_en.zip")[:12]


def test_twice_is_once_and_other_archives_are_unpacked_again(data: Path) -> None:
    list(pull.pull(str(data)))
    mark = data / "database_level3" / "mark"
    mark.write_text("")
    list(pull.pull(str(data)))
    assert mark.is_file()
    with (data / "database_level3.tar.gz").open("ab") as handle:
        handle.write(b"\0")  # other bytes, the same content
    list(pull.pull(str(data)))
    assert not mark.exists()


def test_archives_from_the_hub_are_noted_with_their_revision(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECKOUT, str(archives / "checkout"))
    snapshots, asked = tmp_path / "snapshots", list[str]()
    for revision in ("old", "new"):
        (snapshots / revision).mkdir(parents=True)
        for part in PARTS:
            shutil.copy(archives / part.archive, snapshots / revision)

    def fetch(files: Any) -> list[Path]:
        # The hub moves on after the second.
        asked.append(files.pattern)
        return [snapshots / ("old" if len(asked) <= 2 else "new") / files.pattern]

    monkeypatch.setattr("tipx.deepplanning.pull.HubFiles.fetch", fetch)
    list(pull.pull(None))
    assert len(asked) == 10
    noted = manifest(tmp_path / "cache" / "deepplanning")
    assert {one["revision"] for one in noted["archives"].values()} == {"new"}
    assert data_folder(None) == tmp_path / "cache" / "deepplanning"


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"HF_HUB_OFFLINE.*hf download --repo-type dataset Qwen/DeepPlanning.*or put data"
    ):
        list(pull.pull(str(tmp_path / "data")))


def test_too_few_cases_change_nothing(data: Path) -> None:
    list(pull.pull(str(data)))
    shutil.rmtree(data / "database_level3" / "case_7")
    shutil.make_archive(str(data / "database_level3"), "gztar", data, "database_level3")
    (data / "database_level3" / "mark").write_text("")
    with pytest.raises(DataError, match=r"shopping_l3: expected 20 folders case_N in .*, found 19"):
        list(pull.pull(str(data)))
    assert (data / "database_level3" / "mark").is_file()
    assert rows(str(data))[4]["here"] == "unusable"
    (data / "database_level2" / "case_9" / "cart.json").unlink()
    with pytest.raises(DataError, match=r"case_9/cart\.json is missing"):
        cases("shopping_l2", str(data))


def test_the_archive_may_lack_its_folder(data: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(data / "database_level3.tar.gz", tmp_path / "flat")
    shutil.make_archive(str(data / "database_level3"), "gztar", tmp_path / "flat" / "database_level3")
    list(pull.pull(str(data)))
    assert len(cases("shopping_l3", str(data))) == 20


def test_queries_are_fetched_and_checked(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECKOUT)
    urls = list[str]()

    def urlopen(url: str, **_: float) -> io.BytesIO:
        urls.append(url)
        return io.BytesIO(b"[]")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(DataError, match="is not the file it should be; put it there by hand"):
        list(pull.pull(str(data)))
    place = f"https://raw.githubusercontent.com/QwenLM/Qwen-Agent/{COMMIT}/benchmark/deepplanning/travelplanning/data"
    assert urls == [f"{place}/travelplanning_query_en.json"]
    right = [part.__class__(**part.__dict__ | {"sha256": hashlib.sha256(b"[]").hexdigest()}) for part in PARTS]
    monkeypatch.setattr("tipx.deepplanning.pull.PARTS", right)
    list(pull.pull(str(data)))
    assert (data / "level_1_query_meta.json").read_text() == "[]"


def test_queries_that_cannot_be_had(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CHECKOUT)

    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(DataError, match=r"cannot fetch https://.*no network.*; put it there by hand"):
        list(pull.pull(str(data)))


def test_the_benchmarks_own_layout_is_read_too(data: Path, tmp_path: Path) -> None:
    home = tmp_path / "clone" / official.INSIDE
    for part in PARTS:
        shutil.unpack_archive(data / part.archive, home / part.home)
    for folder in (tmp_path / "clone", home):
        assert [row["rows"] for row in rows(str(folder))] == [120, 120, 50, 50, 20]
    # A folder with one of many benchmarks in it.
    (tmp_path / "all").mkdir()
    home.rename(tmp_path / "all" / "deepplanning")
    assert data_folder(str(tmp_path / "all")) == tmp_path / "all" / "deepplanning"
    assert [row["here"] for row in rows(str(tmp_path / "nothing"))] == ["no"] * 5


def test_shopping_loads(data: Path) -> None:
    list(pull.pull(str(data)))
    tasks, notes = load(str(data))
    assert (len(tasks), notes) == (120, [])
    assert [tasks[at].id for at in (0, 9, 50, 119)] == [
        "shopping_l1/1",
        "shopping_l1/10",
        "shopping_l2/1",
        "shopping_l3/20",
    ]
    assert {task.slice for task in tasks} == {"shopping_l1", "shopping_l2", "shopping_l3"}
    world = tasks[0].start()
    for turn in tasks[0].gold() or []:
        for name, arguments in turn if isinstance(turn, list) else []:
            world.call(name, arguments)
    assert world.score("", complete=True)["exact"] == 1
    assert [task.id for task in load(str(data), [3])[0]][:1] == ["shopping_l3/1"]


def test_a_filled_cart_is_emptied_and_another_query_is_noticed(data: Path) -> None:
    list(pull.pull(str(data)))
    case = data / "database_level1" / "case_2"
    (case / "cart.json").write_text(json.dumps({"items": [{"product_id": "p", "quantity": 1}], "used_coupons": []}))
    listed = json.loads((data / "level_1_query_meta.json").read_text())
    listed[3]["query"] = "older"
    (data / "level_1_query_meta.json").write_text(json.dumps(listed))
    tasks, notes = load(str(data), [1])
    assert tasks[1].start().cart.items == {}
    assert tasks[3].messages[1]["content"] == "buy 4"
    assert notes[0].startswith("shopping_l1: 1 carts were full (case 2 first)")
    assert notes[1].startswith("shopping_l1: 1 queries differ from level_1_query_meta.json (case 4 first)")


def test_products_without_numbers_are_noticed_and_are_no_fault(data: Path) -> None:
    list(pull.pull(str(data)))
    for number, more in (3, {}), (5, {"price": "?", "stock_quantity": 1}):
        file = data / "database_level2" / f"case_{number}" / "products.jsonl"
        file.write_text(json.dumps({"product_id": "p", "name": "Thing"} | more))
    tasks, notes = load(str(data), [2])
    assert len(tasks) == 50
    assert [note.split(":")[0] for note in notes] == ["shopping_l2"]
    assert "2 cases have a product without a number as price or stock (case 3 first)" in notes[0]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("products.jsonl", '{"product_id": "p"}\n', "no product has a word to be found by"),
        ("products.jsonl", "", "expected products with an id each"),
        ("products.jsonl", "{", "is not valid JSON"),
        ("user_info.json", "[]", "expected a JSON object, got list"),
        (
            "validation_cases.json",
            '{"query": "x", "ground_truth_products": [{"product_id": "z"}]}',
            "'z' is no product",
        ),
        ("validation_cases.json", '{"query": "x", "ground_truth_products": [3]}', "cannot be read"),
        ("validation_cases.json", '{"query": "x", "ground_truth_coupons": {"half off": 1}}', "'half off' is no coupon"),
        ("validation_cases.json", "{}", "has no query"),
    ],
)
def test_a_case_that_is_not_one(name: str, text: str, says: str, pulled: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(pulled / "database_level3", data / "database_level3")
    shutil.copy(pulled / "level_3_query_meta.json", data)
    (data / "database_level3" / "case_5" / name).write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        load(str(data), [3])
    assert "tipx data pull deepplanning" in str(caught.value)


def test_absent_data_say_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no database_level1 in .*; fetch it by `tipx data pull deepplanning`"):
        load(str(tmp_path))
    assert set(BY_SLICE) == {"travel_en", "travel_zh", "shopping_l1", "shopping_l2", "shopping_l3"}
