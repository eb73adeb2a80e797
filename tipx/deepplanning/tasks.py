"""Which tasks of the benchmark are taken: slices, a split, whose words, and the score that counts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tipx.deepplanning import official
from tipx.deepplanning.scoring import SAMPLE
from tipx.deepplanning.shopping import load as shopping
from tipx.deepplanning.shopping import sample as shopping_sample
from tipx.deepplanning.shopping.official_wording import official_wording
from tipx.deepplanning.shopping.task import ShoppingTask
from tipx.deepplanning.travel import layout as travel
from tipx.deepplanning.travel.prompts import LANGUAGES, Language, official_texts
from tipx.deepplanning.travel.sample import sample_tasks
from tipx.deepplanning.travel.task import TravelTask
from tipx.errors import ConfigError, DataError
from tipx.spec import Open01, Seed, spec

Slice = Literal[
    "travel_en", "travel_zh", "shopping_l1", "shopping_l2", "shopping_l3", "sample", "sample_travel", "sample_shopping"
]
Headline = Literal[
    "case",
    "composite_score",
    "commonsense_score",
    "personalized_score",
    "hard_constraint_rate",
    "delivered",
    "match_rate",
    "exact",
]
SHOPPING = ("match_rate", "exact")
"""Those of a purchase; the others are a journey's."""
JOURNEYS: dict[str, Language] = {"travel_en": "en", "travel_zh": "zh"}
OWN = "own"
AnyTask = TravelTask | ShoppingTask


@dataclass(frozen=True)
class Chosen:
    """Tasks, and what one must know of them, a line each."""

    tasks: list[AnyTask]
    notes: list[str]


@spec
class Tasks:
    """DeepPlanning's tasks, in order."""

    slices: Annotated[tuple[Slice, ...], Field(min_length=1)]
    """Which parts: travel_en, travel_zh, shopping_l1 to shopping_l3; or the embedded sample, sample_travel,
    sample_shopping, which are not mixed with others."""
    split: Literal["all", "train", "test"]
    """Which share of the journeys: all, train or test. Purchases are never trained on: all of them are test."""
    split_seed: Seed
    """Seed that draws which journeys are test. Training and benchmark must have the same, or they overlap."""
    test_share: Open01
    """Share of the journeys that are test. Both languages share the split."""
    wording: str
    """Prompts and tool descriptions: own, or the folder of a checkout of QwenLM/Qwen-Agent whose texts are read."""
    headline: Headline
    """The score that counts as the result. case: whether a task is solved. hard_constraint_rate: what the paper
    counts. Others are scores of a task."""

    @property
    def is_sample(self) -> bool:
        return any(name.startswith(SAMPLE) for name in self.slices)

    def choose(self, path: str | None, section: str) -> Chosen:
        """The tasks, from the data folder `path`, the user's cache if None.

        `section` is where this is configured, for errors. Raises ConfigError, or DataError when data are not to be had.
        """
        if self.is_sample and len(self.slices) > 1:
            raise ConfigError(
                f"{section}.slices: a sample stands alone, got {', '.join(self.slices)}; sample is of both domains"
            )
        if not self.is_sample:
            self.refuse_missing_slices(path, section)
        parts = [part(name, path) for name in self.slices]
        tasks = self.part_of([task for one in parts for task in one.tasks])
        return Chosen(
            self.worded([self.counted(task, section) for task in tasks]), [n for one in parts for n in one.notes]
        )

    def refuse_missing_slices(self, path: str | None, section: str) -> None:
        """Raises DataError for the first slice without data."""
        folder, where = official.data_folder(path), "" if path is None else f" eval.path={path}"
        key = {"benchmark": "eval.path", "data": "data.path"}[section]
        for name in self.slices:
            if official.BY_SLICE[name].place(folder) is None:
                raise DataError(
                    f"{section}.slices: the data of {name} are not in {folder}; fetch them: "
                    f"tipx data pull deepplanning{where}, or name their folder: {key}=FOLDER; the embedded sample "
                    f"needs none: {section}.slices=[sample]"
                )

    def part_of(self, tasks: Sequence[AnyTask]) -> list[AnyTask]:
        """Those of the split."""
        if self.split == "all":
            return list(tasks)
        ids = {number(task) for task in tasks if isinstance(task, TravelTask)}
        test = travel.Split(self.split_seed, self.test_share).test(ids)
        held_out = {task.id: isinstance(task, ShoppingTask) or number(task) in test for task in tasks}
        return [task for task in tasks if held_out[task.id] == (self.split == "test")]

    def counted(self, task: AnyTask, section: str) -> AnyTask:
        """The task with the score that counts; raises ConfigError if it has none of that name."""
        if self.headline == "case":
            return task
        if (self.headline in SHOPPING) != isinstance(task, ShoppingTask):
            raise ConfigError(
                f"{section}.headline={self.headline}: {task.id} has no such score; take {section}.headline=case, or "
                f"other slices: {section}.slices=[{self.fitting}]"
            )
        return replace(task, headline=self.headline)

    @property
    def fitting(self) -> str:
        """A slice that has the headline."""
        here, there = ("shopping", "shopping_l1") if self.headline in SHOPPING else ("travel", "travel_en")
        return f"{SAMPLE}_{here}" if self.is_sample else there

    def worded(self, tasks: Sequence[AnyTask]) -> list[AnyTask]:
        """The tasks in the words that were asked for; raises DataError for a folder that is no checkout."""
        if self.wording == OWN:
            return list(tasks)
        checkout = Path(self.wording)
        spoken = {task.language for task in tasks if isinstance(task, TravelTask)}
        texts = {language: official_texts(checkout, language) for language in LANGUAGES if language in spoken}
        bought = [task for task in tasks if isinstance(task, ShoppingTask)]
        wording = official_wording(checkout) if bought else None
        return [
            replace(task, texts=texts[task.language])
            if isinstance(task, TravelTask)
            else replace(task, wording=wording or task.wording)
            for task in tasks
        ]


def part(name: Slice, path: str | None) -> Chosen:
    """All of one slice; raises DataError."""
    if name.startswith(SAMPLE):
        journeys = sample_tasks() if name != "sample_shopping" else []
        return Chosen([*journeys, *(shopping_sample.tasks() if name != "sample_travel" else ())], [])
    if name in JOURNEYS:
        return Chosen(list(travel.load(official.data_folder(path), JOURNEYS[name])), [])
    tasks, notes = shopping.load(path, [int(name[-1])])
    return Chosen(list(tasks), notes)


def number(task: AnyTask) -> str:
    return task.id.rpartition("/")[2]
