"""Data as the benchmark lays them out, of the embedded sample's cases."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tipx.deepplanning.shopping.files import FILES, CaseFiles


def put(folder: Path, files: CaseFiles) -> Path:
    """Write a case's four files."""
    folder.mkdir(parents=True)
    (folder / FILES[0]).write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in files.products))
    for name, value in zip(FILES[1:], (files.user, files.cart, files.validation), strict=True):
        (folder / name).write_text(json.dumps(value, ensure_ascii=False))
    return folder


def product(identifier: str, **more: Any) -> dict[str, Any]:
    """A product of few words."""
    facts = {"name": "Plain Thing", "brand": "Velmora", "color": "Moss Green", "size": "M", "price": 100.0}
    return facts | {"product_id": identifier, "stock_quantity": 5} | more


def answers(world: Any, calls: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    return [json.loads(world.call(name, arguments)) for name, arguments in calls]
