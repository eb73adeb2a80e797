"""Slices, the split, whose words, and the score that counts."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.deepplanning.travel.worlds import write_layout
from tipx.deepplanning import official
from tipx.deepplanning.pull import pull
from tipx.deepplanning.scoring import aggregate
from tipx.deepplanning.shopping.official_wording import official_wording
from tipx.deepplanning.shopping.task import LEVELS
from tipx.deepplanning.tasks import Tasks, number
from tipx.deepplanning.travel import layout
from tipx.errors import ConfigError, DataError

JOURNEYS, CARTS = 6, 6
CHECKOUT = os.environ.get("TIPX_DEEPPLANNING_DIR")


def tasks(**changed: Any) -> Tasks:
    plain = {"slices": ["sample"], "split": "all", "split_seed": 0, "test_share": 0.2}
    return Tasks(**(plain | {"wording": "own", "headline": "case"} | changed))


def ids(path: Path | None = None, **changed: Any) -> list[str]:
    return [task.id for task in tasks(**changed).choose(None if path is None else str(path), "benchmark").tasks]


def test_the_sample_is_of_both_domains() -> None:
    found = ids()
    assert len(found) == len(set(found)) == JOURNEYS + CARTS
    assert all(one.startswith("sample/") for one in found)
    assert [*ids(slices=["sample_travel"]), *ids(slices=["sample_shopping"])] == found


def test_a_split_divides_and_purchases_are_never_trained_on() -> None:
    train, test = ids(split="train"), ids(split="test")
    assert sorted([*train, *test]) == sorted(ids())
    assert all("travel" in one for one in train)
    # A fifth of six, rounded.
    assert sum("travel" in one for one in test) == 1
    assert ids(split="test", split_seed=5) != test


def test_a_headline_replaces_each_tasks_own() -> None:
    own = {task.headline for task in tasks().choose(None, "benchmark").tasks}
    assert own == {"case_acc", "case_score"}
    chosen = tasks(split="train", headline="hard_constraint_rate").choose(None, "benchmark").tasks
    assert {task.headline for task in chosen} == {"hard_constraint_rate"}
    for task in chosen:
        assert task.headline in task.start().score("", complete=True)


@pytest.mark.parametrize(("headline", "domain"), [("hard_constraint_rate", "travel"), ("exact", "shopping")])
def test_a_headline_that_a_task_lacks_is_refused(headline: str, domain: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^benchmark.headline={headline}: sample/.* no such score.*\[sample_{domain}\]$"
    ):
        ids(headline=headline)
    assert ids(headline=headline, slices=[f"sample_{domain}"])


def test_the_sample_stands_alone() -> None:
    with pytest.raises(ConfigError, match="a sample stands alone"):
        ids(slices=["sample", "travel_en"])
    for wrong in ([], ["travel_fr"]):
        with pytest.raises(ValidationError):
            tasks(slices=wrong)


def test_missing_data_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ids(tmp_path, slices=["travel_en"])
    text = str(caught.value)
    assert f"tipx data pull deepplanning eval.path={tmp_path}" in text
    assert "benchmark.slices=[sample]" in text
    assert "\n" not in text


def test_both_languages_share_the_split(tmp_path: Path) -> None:
    write_layout(tmp_path)
    english = tasks(slices=["travel_en"], test_share=0.5)
    made = layout.load(tmp_path, "en", tasks=4)
    chinese = [replace(task, id=task.id.replace("_en", "_zh"), slice="travel_zh") for task in made]
    for split in ("train", "test"):
        part = replace(english, split=split).part_of([*made, *chinese])
        assert {number(t) for t in part if t.slice == "travel_en"} == {
            number(t) for t in part if t.slice == "travel_zh"
        }
        assert len(part) == 4


def test_official_purchases_with_what_is_unusual_about_them(data: Path) -> None:
    list(pull(str(data)))
    chosen = tasks(slices=["shopping_l3", "shopping_l1"]).choose(str(data), "benchmark")
    assert [task.slice for task in chosen.tasks] == ["shopping_l3"] * 20 + ["shopping_l1"] * 50
    assert chosen.notes == []
    assert official.manifest(data)["archives"]["database_level1.tar.gz"]["sha256"]


# --- words -----------------------------------------------------------------------------------------------------------

AGENT = """
class Agent:
    def _add_to_cart(self, history):
        history.append({"role": "user", "content": ("Look " "again.")})
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What is read of a checkout, in words of our own."""
    for half, prompts in (
        ("shoppingplanning", "".join(f'SYSTEM_PROMPT_level{level} = "buy {level}"\n' for level in LEVELS)),
        ("travelplanning", 'SYSTEM_PROMPT_EN = "go"\nSYSTEM_PROMPT_ZH = "qu"\n'),
    ):
        (tmp_path / half / "agent").mkdir(parents=True)
        (tmp_path / half / "tools").mkdir()
        (tmp_path / half / "agent" / "prompts.py").write_text(prompts)
    for name in ("tool_schema_en", "tool_schema_zh"):
        (tmp_path / "travelplanning" / "tools" / f"{name}.json").write_text("[]")
    (tmp_path / "shoppingplanning" / "tools" / "shopping_tool_schema.json").write_text("[]")
    (tmp_path / "shoppingplanning" / "agent" / "shopping_agent.py").write_text(AGENT)
    return tmp_path


def test_the_benchmarks_words_are_a_checkouts(checkout: Path) -> None:
    chosen = tasks(wording=str(checkout)).choose(None, "benchmark").tasks
    assert {task.messages[0]["content"] for task in chosen} == {"go", "qu", "buy 1", "buy 2", "buy 3"}
    assert all(task.tools == [] for task in chosen)
    assert chosen[-1].start().follow_up() == "Look again."


def test_no_checkout_is_told(tmp_path: Path, checkout: Path) -> None:
    with pytest.raises(DataError, match="expected a checkout of QwenLM/Qwen-Agent"):
        ids(wording=str(tmp_path / "nowhere"))
    file = checkout / "shoppingplanning" / "agent" / "shopping_agent.py"
    file.write_text("x = 1")
    with pytest.raises(DataError, match="no message in _add_to_cart; check out commit"):
        official_wording(checkout)


@pytest.mark.skipif(not CHECKOUT, reason="parity not run: TIPX_DEEPPLANNING_DIR names no official checkout")
def test_a_real_checkout_has_all_the_words() -> None:
    chosen = tasks(wording=CHECKOUT).choose(None, "benchmark").tasks
    assert len({task.messages[0]["content"] for task in chosen}) == len(LEVELS) + 2
    ours = tasks().choose(None, "benchmark").tasks
    for theirs, own in zip(chosen, ours, strict=True):
        assert [t["function"]["name"] for t in theirs.tools] == [t["function"]["name"] for t in own.tools]


# --- over all tasks --------------------------------------------------------------------------------------------------

JOURNEY = {"case_acc": 1.0, "delivered": 1.0}
CART = {"case_score": 1.0, "match_rate": 1.0, "matched": 2.0, "expected": 2.0, "extra_products": 1.0}
CART |= {"extra_coupons": 0.0, "exact": 0.0, "incomplete": 0.0}
LOST = CART | {"case_score": 0.0, "matched": 1.0, "match_rate": 0.5}


def test_the_leaderboards_number_joins_the_domains() -> None:
    scores = [("travel_en", JOURNEY), ("travel_zh", JOURNEY | {"case_acc": 0.0}), ("travel_zh", JOURNEY)]
    scores += [("shopping_l1", CART), ("shopping_l1", LOST), ("shopping_l2", CART), ("shopping_l3", LOST)]
    found = aggregate(scores)
    # Travel: (1 + 1/2) / 2 over languages; shopping: 2 of 4 cases.
    assert (found["travel/case_acc"], found["shopping/weighted_average_case_score"]) == (0.75, 0.5)
    assert found["avg_acc"] == pytest.approx(0.625)
    assert found["shopping/extra_products"] == 4
    assert found["shopping_l1/weighted_average_case_score"] == 0.5
    assert found["shopping/match_rate"] == pytest.approx(6 / 8)


def test_half_of_it_has_no_such_number() -> None:
    assert "avg_acc" not in aggregate([("travel_en", JOURNEY), ("travel_zh", JOURNEY)])
    assert "avg_acc" not in aggregate([("travel_en", JOURNEY), ("travel_zh", JOURNEY), ("shopping_l1", CART)])
    assert aggregate([("sample", JOURNEY), ("sample", LOST)])["avg_acc"] == 0.5
