"""The benchmark's own shopping cases, from the folder the user has them in."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tipx.deepplanning import official
from tipx.deepplanning.shopping.files import CaseFiles, read
from tipx.deepplanning.shopping.task import LEVELS, OURS, ShoppingTask, Turn, Wording, buying
from tipx.errors import DataError


def load(
    path: str | None, levels: Sequence[int] = LEVELS, wording: Wording = OURS
) -> tuple[list[ShoppingTask], list[str]]:
    """(the cases in order, what the user should know of them); raises DataError when they cannot be had whole.

    The query is the case's own: the lists in the benchmark's repository are older than the data. A cart that is filled
    before anyone has shopped is what an earlier run left, and is emptied.
    """
    tasks, notes = list[ShoppingTask](), list[str]()
    for level in levels:
        name = f"shopping_l{level}"
        held = {key: read(folder) for key, folder in official.cases(name, path).items()}
        tasks += [task(name, level, key, files, wording) for key, files in held.items()]
        notes += remarks(name, held, official.BY_SLICE[name].query_file(official.data_folder(path)))
    return tasks, notes


def task(name: str, level: int, key: str, files: CaseFiles, wording: Wording) -> ShoppingTask:
    case = files.case(f"{name}/{key}")
    products, coupons = files.bought()
    done = "The cart is filled."
    steps: tuple[Turn, ...] = (buying(list(products), coupons), done, [("get_cart_info", {})], done)
    return ShoppingTask(f"{name}/{key}", name, level, files.query, case, steps, wording)


def remarks(name: str, held: dict[str, CaseFiles], queries: Path | None) -> Iterator[str]:
    """What is unusual about a level's cases, a line each."""
    if filled := [key for key, files in held.items() if files.filled]:
        yield f"{name}: {len(filled)} carts were full (case {filled[0]} first), as an earlier run leaves them: emptied"
    if unpriced := [key for key, files in held.items() if files.unpriced]:
        yield (
            f"{name}: {len(unpriced)} cases have a product without a number as price or stock (case {unpriced[0]} "
            "first): what is missing counts as 0, and what is no number cannot be bought, as by the benchmark's tools"
        )
    if queries is None:
        return
    listed = listing(queries)
    if differ := [key for key, files in held.items() if key in listed and listed[key] != files.query]:
        yield (
            f"{name}: {len(differ)} queries differ from {queries.name} (case {differ[0]} first), which is older than "
            "the data; the cases' own are used"
        )


def listing(queries: Path) -> dict[str, str]:
    """Id to query; raises DataError."""
    try:
        return {str(one["id"]): str(one["query"]) for one in json.loads(queries.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{queries}: is no list of queries ({error!r}); {official.PULL}") from error
