"""DeepPlanning (arXiv 2601.18137) as a benchmark, and what one must know of its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tipx.agents.rules import Rules
from tipx.data.deepplanning import prompts
from tipx.deepplanning import official, scoring
from tipx.deepplanning.tasks import OWN, Tasks
from tipx.deepplanning.travel.scoring import PLAN_PARSE
from tipx.evals import Evaluation
from tipx.spec import spec
from tipx.types import Prompt

TURNS = 400
"""Calls of the model that the benchmark's own scripts allow."""
APART = "not comparable with the leaderboard"


@spec
class DeepPlanning(Tasks):
    """DeepPlanning's tasks as a benchmark."""

    title: str
    """Its name in results. The embedded sample carries its own name, whatever this says."""

    @property
    def name(self) -> str:
        return f"{self.title}_sample" if self.is_sample else self.title

    def load(self, path: str | None) -> list[Prompt]:
        """Every task; raises DataError when the data cannot be had, ConfigError for a headline that they lack."""
        return prompts(self.choose(path, "benchmark").tasks)

    def source(self, path: str | None) -> str:
        return "embedded" if self.is_sample else str(official.data_folder(path))

    def aggregate(self, scores: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, float]:
        """See `deepplanning.scoring.aggregate`."""
        return scoring.aggregate(scores)

    def remarks(self, how: Evaluation) -> dict[str, Any]:
        """The settings that name a number, where the data are from, and `notes`."""
        return {
            "headline": self.headline,
            "plan_parse": PLAN_PARSE,
            "wording": self.wording if self.wording == OWN else "official",
            "split": self.split,
            "data": None if self.is_sample else official.manifest(official.data_folder(how.path)) or None,
            "notes": [*self.notes(how), *self.choose(how.path, "benchmark").notes],
        }

    def checksums(self, path: str | None) -> dict[str, str]:
        """The sha256 of each slice's archive, as `tipx data pull deepplanning` noted it."""
        if self.is_sample:
            return {}
        noted = official.manifest(official.data_folder(path)).get("archives", {})
        archives = {name: official.BY_SLICE[name].archive for name in self.slices}
        return {name: str(noted[archive]["sha256"]) for name, archive in archives.items() if archive in noted}

    def notes(self, how: Evaluation) -> Iterator[str]:
        """What is not as on the leaderboard, a line each."""
        if self.is_sample:
            yield f"slice=sample: small tasks of tipx's own with invented names; {APART}"
            return
        yield f"plan_parse={PLAN_PARSE}: journeys are read by rules, on the leaderboard by a language model"
        if self.wording == OWN:
            yield f"wording=own: prompts and tool descriptions are tipx's own; {APART}"
        else:
            yield "what tools say of errors and of empty results is in tipx's own words"
        if isinstance(how.sampling, Rules) and how.sampling.max_turns < TURNS:
            yield (
                f"max_turns={how.sampling.max_turns}, max_new_tokens={how.sampling.max_new_tokens} for all of a task: "
                f"the benchmark's scripts allow {TURNS} turns, in shopping for each of its two parts, and any length"
            )
        if any(name.startswith("shopping") for name in self.slices):
            yield "shopping's second part goes on with the conversation of the first, thinking included"
        if self.split != "all" or len(set(self.slices)) < len(official.PARTS):
            yield f"part of the benchmark: {', '.join(self.slices)}, split {self.split}"
        if not official.manifest(official.data_folder(how.path)):
            yield f"data of unknown revision: no {official.MANIFEST}, which `tipx data pull deepplanning` writes"
