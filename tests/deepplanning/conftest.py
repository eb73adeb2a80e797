"""Data as the benchmark lays them out, of the embedded sample's cases."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tipx.deepplanning.official import CHECKOUT, PARTS
from tipx.deepplanning.shopping.files import FILES, CaseFiles
from tipx.deepplanning.travel.database import COLUMNS
from tipx.deepplanning.travel.database import FILES as TABLES


def put(folder: Path, files: CaseFiles) -> Path:
    """Write a case's four files."""
    folder.mkdir(parents=True)
    (folder / FILES[0]).write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in files.products))
    for name, value in zip(FILES[1:], (files.user, files.cart, files.validation), strict=True):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False))
    return folder


def put_tables(folder: Path) -> None:
    """Write a journey's tables, without rows; none of flights, as in a town without an airport."""
    for table, file in TABLES.items():
        if table != "flights":
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_text(",".join(COLUMNS[table].split()) + "\n")


def product(identifier: str, **more: Any) -> dict[str, Any]:
    """A product of few words."""
    facts = {"name": "Plain Thing", "brand": "Velmora", "color": "Moss Green", "size": "M", "price": 100.0}
    return facts | {"product_id": identifier, "stock_quantity": 5} | more


def answers(world: Any, calls: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [json.loads(world.call(name, arguments)) for name, arguments in calls]


def small_case(number: int) -> CaseFiles:
    """A case of one product, which is its answer."""
    truth = {"query": f"buy {number}", "ground_truth_products": [{"product_id": "p"}], "ground_truth_coupons": {}}
    return CaseFiles([product("p")], {"user_id": "u"}, {"items": [], "used_coupons": []}, truth)


def write_archives(folder: Path) -> Path:
    """All five as the hub has them, with cases as small as can be; and the lists of queries, as a checkout has them."""
    for part in PARTS:
        database = folder / "made" / part.folder
        for at in range(part.count):
            if part.slice.startswith("shopping"):
                put(database / f"{part.prefix}{at + 1}", small_case(at + 1))
            else:
                put_tables(database / f"{part.prefix}{at}")
        kind = "zip" if part.archive.endswith("zip") else "gztar"
        shutil.make_archive(str(folder / part.folder), kind, folder / "made", part.folder)
        listed = folder / "checkout" / part.queries
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text(json.dumps([{"id": str(at + 1), "query": f"buy {at + 1}"} for at in range(part.count)]))
    shutil.rmtree(folder / "made")
    return folder


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: a folder with the archives, and `checkout/`."""
    return write_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def data(archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's with the archives in it; TIPX_DEEPPLANNING_DIR names the checkout."""
    monkeypatch.setenv(CHECKOUT, str(archives / "checkout"))
    (tmp_path / "data").mkdir()
    for part in PARTS:
        shutil.copy(archives / part.archive, tmp_path / "data")
    return tmp_path / "data"
