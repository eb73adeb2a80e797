"""Training prompts that are problems of a benchmark: found, left out and recorded.

Problems are told by a hash of their spelling. Those of well-known benchmarks come with tipx, in `benchmarks.json`: they
are found without a file of the benchmark.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tipx.errors import DataError
from tipx.evals import Benchmark
from tipx.evals.problems import Problems
from tipx.evals.suite import Suite, suite_parts
from tipx.files.package_data import package_folder
from tipx.spec import spec
from tipx.types import Prompt

FILE = Path(__file__).parent / "benchmarks.json"
BYTES = 6
"""Of a hash: among 20,000 prompts and 2,000 problems two that are not the same are taken for it once in 10 million."""
# Spelling that differs between copies of one problem, and what some copies ask besides. Spaces go altogether: "$ x $",
# "$x$" and "\\( x \\)" are one.
SPELLING = (
    (re.compile(r"(please|let.?s) (reason|think) step by step,? and[^.]*\\boxed\s*\{\s*\}\.?", re.IGNORECASE), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[!,;:() \[\]]|\\q?quad(?![a-zA-Z])|\\?\$|[\s~]+"), ""),
)


@dataclass(frozen=True)
class Contamination:
    """What a guard found.

    `checked` is how many problems there are, by benchmark, `hashed` those that are known by their hashes alone,
    `unread` those that nothing is known of, `dropped` ids of the prompts that were left out, by benchmark.
    """

    checked: dict[str, int]
    unread: list[str]
    dropped: dict[str, list[str]]
    hashed: list[str] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        return {prompt for prompts in self.dropped.values() for prompt in prompts}

    def record(self) -> dict[str, Any]:
        """As plain containers."""
        return asdict(self)

    def warnings(self) -> list[str]:
        """For the user: what was left out, and what was not checked."""
        lines = []
        if self.ids:
            many = ", ".join(f"{len(ids)} of {name}" for name, ids in self.dropped.items() if ids)
            found = f"left out {len(self.ids)} training prompts that are benchmark problems: {many}"
            lines.append(f"{found}; guard.enabled=false keeps them")
        if self.unread:
            lines.append(
                f"not checked against {', '.join(self.unread)}: no file of it can be read here, and tipx has no hashes "
                "of it; `tipx data check` says where one may be"
            )
        return lines

    def line(self) -> str:
        """What was checked."""
        known = [f"{n} ({size}{', by hash' if n in self.hashed else ''})" for n, size in self.checked.items()]
        return f"no prompt is a problem of {', '.join(known)}" if known else "not checked: guard.enabled=false"


@spec
class Guard:
    """Leaves out training prompts that equal a problem of a benchmark.

    These are the run's own benchmark, every table of `conf/benchmark`, and further ones that are named, as far as they
    can be read without network or come with tipx as hashes.
    """

    enabled: bool
    """false trains also on prompts that are problems of a benchmark; results then say so."""
    known: dict[str, Problems]
    """Further benchmarks to compare prompts with, by name: +benchmark@guard.known.mine=mine."""

    def __call__(self, prompts: Sequence[Prompt], benchmark: Benchmark | Suite, path: str | None) -> Contamination:
        """Which of the prompts are problems. The run's benchmark is read from `path`, if there is one."""
        if not self.enabled:
            return Contamination({}, [], {})
        own = {one.name: (one, path) for one in suite_parts(benchmark)}
        # A folder of benchmarks holds known ones too.
        folder = path if path is not None and Path(path).is_dir() else None
        known = {one.name: (one, folder) for one in (*shipped_problem_tables(), *self.known.values())}
        every: Mapping[str, tuple[Benchmark, str | None]] = known | own
        read = {name: problem_hashes(read_offline(one, place)) for name, (one, place) in every.items()}
        there = {name: found for name in every if (found := read[name] | known_hashes().get(name, frozenset()))}
        keys = [(prompt.id, prompt_hashes([prompt])) for prompt in prompts]
        return Contamination(
            checked={name: len(found) for name, found in there.items()},
            unread=sorted(every.keys() - there.keys()),
            dropped={name: [prompt for prompt, texts in keys if texts & found] for name, found in there.items()},
            hashed=sorted(name for name in there if not read[name]),
        )


@cache
def shipped_problem_tables() -> tuple[Problems, ...]:
    """Every benchmark of the shipped `conf/benchmark` that is a table of problems."""
    found = []
    for file in sorted((package_folder("conf") / "benchmark").glob("*.yaml")):
        tree = yaml.safe_load(file.read_text())
        if str(tree.get("_target_", "")).endswith(f".{Problems.__name__}"):
            found.append(Problems(**{key: value for key, value in tree.items() if key not in ("_target_", "asked")}))
    return tuple(found)


@cache
def known_hashes() -> dict[str, frozenset[bytes]]:
    """Of the problems of well-known benchmarks, by its name."""
    found = {}
    for name, entry in json.loads(FILE.read_text())["benchmarks"].items():
        packed = base64.b64decode(entry)
        found[name] = frozenset(packed[i : i + BYTES] for i in range(0, len(packed), BYTES))
    return found


def hashes_text(benchmarks: Mapping[str, Sequence[Prompt]]) -> str:
    """`benchmarks.json` with these problems; others stay as they are. What was spelled otherwise is not kept."""
    kept = known_hashes() if json.loads(FILE.read_text())["spelling"] == spelling_mark() else {}
    every = kept | {name: problem_hashes(problems) for name, problems in benchmarks.items()}
    packed = {name: base64.b64encode(b"".join(sorted(every[name]))).decode() for name in sorted(every)}
    return json.dumps({"spelling": spelling_mark(), "benchmarks": packed}, indent=1) + "\n"


def spelling_mark() -> str:
    """Changes with the rules of spelling: hashes that were made by others find nothing."""
    return hashlib.sha256(repr([(pattern.pattern, by) for pattern, by in SPELLING]).encode()).hexdigest()[:12]


def problem_hashes(problems: Iterable[Prompt]) -> frozenset[bytes]:
    return frozenset(short_hash(problem.text) for problem in problems)


def prompt_hashes(prompts: Iterable[Prompt]) -> frozenset[bytes]:
    """Of every question that a chat asks."""
    return frozenset(short_hash(text) for prompt in prompts for text in prompt.questions)


def short_hash(text: str) -> bytes:
    """What two copies of a problem have in common."""
    return hashlib.sha256(normalise_spelling(text).encode("utf-8", "replace")).digest()[:BYTES]


def overlapping_ids(problems: Sequence[Prompt], prompts: Iterable[Prompt]) -> list[str]:
    """Ids of the problems that are among the prompts."""
    there = prompt_hashes(prompts)
    return [problem.id for problem in problems if short_hash(problem.text) in there]


def normalise_spelling(text: str) -> str:
    """A problem's text without what differs between copies: letter case, spaces, dollar signs."""
    for pattern, by in SPELLING:
        text = pattern.sub(by, text)
    return text.casefold()


def read_offline(benchmark: Benchmark, path: str | None) -> list[Prompt]:
    """The problems that can be read without network; [] if none can. A copy that is not whole is none."""
    try:
        if isinstance(benchmark, Problems):
            table = benchmark.place(path).offline()
            return [] if table is None else benchmark.read(table)
        return benchmark.load(path)
    except DataError:
        # It is not what this run is about: an evaluation on this benchmark will say what is wrong.
        return []
