"""What is asked of a model: a benchmark, and how it is taken."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from tipx.evals import Benchmark, Evaluation, Remarked, agents
from tipx.models.pair import Template
from tipx.rollout.hf import HFRollouts
from tipx.runs.identity import without_younger_keys
from tipx.types import Prompt

SAMPLING = ("temperature", "top_p", "top_k", "max_new_tokens")
"""What shapes an answer; how many are made at once does not."""


@dataclass(frozen=True)
class Exam:
    """A benchmark and how it is taken. Its problems are read once, and when they are asked for.

    `unread` holds texts from the user's environment, and what results say for each of them. `dtype` is that of the
    weights, `usual` the one that results are named without. `notes` are lines that the result says besides.
    """

    benchmark: Benchmark
    how: Evaluation
    seed: int
    template: Template
    unread: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    usual: str | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def everything(self) -> list[Prompt]:
        """All problems; raises what `Benchmark.load` raises."""
        return self.benchmark.load(self.how.path)

    @property
    def problems(self) -> list[Prompt]:
        """Those that are given."""
        return self.everything[: self.how.limit]

    @property
    def answers(self) -> int:
        """How many are made."""
        return len(self.problems) * (self.how.n + self.how.greedy)

    @cached_property
    def folder_name(self) -> str:
        """`<benchmark>-<hash6>` of all that decides the answers, so that other settings never overwrite a result.

        Among it are the problems, not where they were read from: two copies of one file are one benchmark.
        """
        settings = without_younger_keys(asdict(self.how), "Evaluation")
        settings.pop("path", None)
        if isinstance(self.how.sampling, agents.Agents):
            settings["sampling"] = agents.agent_settings(self.how.sampling)
        else:
            settings["sampling"] = {key: settings["sampling"][key] for key in SAMPLING}
            if not isinstance(self.how.sampling, HFRollouts):
                settings["engine"] = type(self.how.sampling).__name__
        facts = [
            problems_fingerprint(self.everything),
            settings,
            self.seed,
            without_younger_keys(asdict(self.template), "Template"),
        ]
        if isinstance(self.benchmark, Remarked):
            facts.append(self.benchmark.checksums(self.how.path))
        if self.dtype != self.usual:
            facts.append({"dtype": self.dtype})
        text = json.dumps(facts, sort_keys=True)
        return f"{self.benchmark.name}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def hide_environment_texts(value: Any, unread: Mapping[str, str]) -> Any:
    """A result without the texts that are not to be written down."""
    if isinstance(value, dict):
        return {key: hide_environment_texts(part, unread) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide_environment_texts(part, unread) for part in value]
    return unread.get(value, value) if isinstance(value, str) else value


def problems_fingerprint(problems: Sequence[Prompt]) -> str:
    """sha256 of problems: ids, texts, gold answers and earlier turns, or an agent's messages and tools, in order."""
    text = json.dumps([[p.id, p.text, p.answer, *asked_besides(p)] for p in problems])
    return hashlib.sha256(text.encode()).hexdigest()


def asked_besides(problem: Prompt) -> list[Any]:
    """The turns before the question, or what an agent is given besides, and what counts."""
    task = problem.task
    if task is None:
        return [problem.before] if problem.before else []
    return [task.messages, task.tools, task.headline]
