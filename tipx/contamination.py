"""Training prompts that are problems of a benchmark: found, left out and recorded."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tipx.errors import DataError
from tipx.evals import Benchmark
from tipx.evals.problems import Problems
from tipx.evals.suite import Suite, parts
from tipx.spec import spec
from tipx.types import Prompt

# Spelling that differs between copies of one problem. Spaces go altogether: "$ x $", "$x$" and "\\( x \\)" are one.
SPELLING = (
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[!,;:() \[\]]|\\q?quad(?![a-zA-Z])|\\?\$|[\s~]+"), ""),
)


@dataclass(frozen=True)
class Found:
    """What a guard found: problems checked against, by benchmark; those it could not read; ids of what it left out."""

    checked: dict[str, int]
    unread: list[str]
    dropped: dict[str, list[str]]

    @property
    def ids(self) -> set[str]:
        return {prompt for prompts in self.dropped.values() for prompt in prompts}

    def record(self) -> dict[str, Any]:
        """As plain containers."""
        return asdict(self)

    def line(self) -> str:
        """For the user, if something was left out."""
        many = ", ".join(f"{len(ids)} of {name}" for name, ids in self.dropped.items() if ids)
        found = f"left out {len(self.ids)} training prompts that are benchmark problems: {many}"
        return f"{found}; guard.enabled=false keeps them"


@spec
class Guard:
    """If `enabled`, training prompts that equal a problem of the run's benchmark or of a `known` one are left out.

    The known ones are checked if they can be read without network.
    """

    enabled: bool
    known: dict[str, Problems]

    def __call__(self, prompts: Sequence[Prompt], benchmark: Benchmark | Suite, path: str | None) -> Found:
        """Which of the prompts are problems. The run's benchmark is read from `path`, if there is one."""
        if not self.enabled:
            return Found({}, [], {})
        own = {one.name: (one, path) for one in parts(benchmark)}
        # A folder of benchmarks holds known ones too.
        folder = path if path is not None and Path(path).is_dir() else None
        every: Mapping[str, tuple[Benchmark, str | None]] = {n: (b, folder) for n, b in self.known.items()} | own
        texts = {name: problems for name, (one, place) in every.items() if (problems := readable(one, place))}
        keys = [(prompt.id, {spelling(text) for text in prompt.questions}) for prompt in prompts]
        dropped = {}
        for name, problems in texts.items():
            known = {spelling(problem.text) for problem in problems}
            dropped[name] = [prompt for prompt, texts in keys if texts & known]
        return Found({n: len(p) for n, p in texts.items()}, sorted(every.keys() - texts.keys()), dropped)


def spelling(text: str) -> str:
    """A problem's text without what differs between copies: letter case, spaces, dollar signs."""
    for pattern, by in SPELLING:
        text = pattern.sub(by, text)
    return text.casefold()


def readable(benchmark: Benchmark, path: str | None) -> list[Prompt]:
    """The problems that can be read without network; [] if none can. A copy that is not whole is none."""
    try:
        if isinstance(benchmark, Problems):
            table = benchmark.place(path).offline()
            return [] if table is None else benchmark.read(table)
        return benchmark.load(path)
    except DataError:
        # It is not what this run is about: an evaluation on this benchmark will say what is wrong.
        return []
