"""`tipx compare`: two results over the same problems. Reads files, needs neither torch nor hydra."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tipx.errors import DataError, RunError
from tipx.runs.find import find_run, no_run
from tipx.runs.reader import StoredRun
from tipx.runs.results import FILE, Result, read_results
from tipx.stats.difference import Difference
from tipx.stats.paired import CONFIDENCE, McNemar, compare_means, mcnemar_test

SETTINGS = (
    "benchmark",
    "problems",
    "problems_sha256",
    "n",
    "temperature",
    "top_p",
    "top_k",
    "max_new_tokens",
    "template",
    "headline",
    "agent",
    "grading",
    "dtype",
)
"""Keys of result.json that must agree, or the difference is not one of the models; see `setting`."""
# Points, between the checkpoints of one run at 16 samples a problem (an independent reproduction of the paper, 1,739
# updates, 35 checkpoints). Two checkpoints that are equally good differ by twice that now and then.
CHECKPOINT_SD = {"math500": 0.24, "aime24": 0.77, "aime25": 1.19}
NOISE = {name: 2 * sd / 100 for name, sd in CHECKPOINT_SD.items()}


@dataclass(frozen=True)
class Comparison:
    """B against A on one benchmark."""

    benchmark: str
    a: Result
    b: Result
    sampled: Difference
    greedy: McNemar | None

    @property
    def noise(self) -> list[str]:
        """Reasons to take the difference for none."""
        low, high = self.sampled.low, self.sampled.high
        reasons = []
        if low is None or high is None:
            reasons.append("one problem has no interval")
        elif low <= 0 <= high:
            reasons.append(f"the {CONFIDENCE:.0%} interval includes 0")
        if abs(self.sampled.difference) < NOISE.get(self.benchmark, 0):
            reasons.append(
                f"checkpoints of one run differ by as much (sd {CHECKPOINT_SD[self.benchmark]} points between them)"
            )
        return reasons

    def record(self) -> dict[str, Any]:
        """As plain containers."""
        keys = ("mean", "mean_se", "greedy", "greedy_se")
        one = {
            side: {"result": str(r.file)} | {k: r.facts[k] for k in keys if k in r.facts}
            for side, r in (("a", self.a), ("b", self.b))
        }
        test = {"sampled": asdict(self.sampled), "greedy": asdict(self.greedy) if self.greedy else None}
        settings = {"problems": self.a.facts["problems"], "n": self.a.facts["n"], "confidence": CONFIDENCE}
        return {"benchmark": self.benchmark} | settings | one | test | {"noise": self.noise}


def compare(a: str, b: str, only: str | None, runs_dir: Path) -> list[Comparison]:
    """Every benchmark, or `only` one, of which both have comparable results; raises RunError or DataError for none."""
    sides = [[r for r in answered(name, runs_dir) if only in (None, r.benchmark)] for name in (a, b)]
    for name, found in zip((a, b), sides, strict=True):
        if not found:
            raise RunError(
                f"{name!r} has no result{f' of benchmark={only}' if only else ''}; `tipx eval {name}` makes one"
            )
    fits = [(x, y) for x in sides[0] for y in sides[1] if x.benchmark == y.benchmark and difference(x, y) is None]
    if not fits:
        # Of all pairs the one that is nearest says best what is wrong.
        pairs = [(x, y) for x in sides[0] for y in sides[1]]
        x, y = next(((x, y) for x, y in pairs if x.benchmark == y.benchmark), pairs[0])
        raise DataError(f"{x.folder} and {y.folder} cannot be compared: {difference(x, y)}; evaluate both alike")
    return [compared(x, y) for x, y in fits]


def benchmark_of(words: Sequence[str]) -> str | None:
    """NAME of `benchmark=NAME`; raises DataError for other words."""
    for word in words:
        if not word.startswith("benchmark="):
            raise DataError(
                f"{word!r}: expected benchmark=NAME after the two results, as in `tipx compare A B benchmark=math500`"
            )
    return words[-1].partition("=")[2] if words else None


def answered(name: str, runs_dir: Path) -> list[Result]:
    """Results on benchmarks, not those on held-out texts."""
    return [result for result in results(name, runs_dir) if "benchmark" in result.facts]


def results(name: str, runs_dir: Path) -> list[Result]:
    """Of a result file, a folder that holds results, or the last evaluation of a run; raises RunError."""
    place = Path(name)
    if place.name == FILE and place.is_file():
        return [Result.read(place)]
    run = find_run(name, runs_dir)
    if run is not None:
        return StoredRun(run).last_results
    if place.is_dir():
        return [*map(Result.read, place.glob(FILE)), *read_results(place)]
    raise no_run(name, runs_dir, also=", no folder of results and no result.json")


def difference(a: Result, b: Result) -> str | None:
    """The first setting in which two results differ; None if they are comparable."""
    for key in SETTINGS:
        x, y = setting(a.facts, key), setting(b.facts, key)
        if key == "grading" and x != y:
            return f"their answers were graded by versions {x} and {y} of the grader; remove the older result"
        if isinstance(x, dict) and isinstance(y, dict):
            part = next((k for k in sorted({*x, *y}) if x.get(k) != y.get(k)), None)
            if part is not None:
                return f"{key}.{part} is {x.get(part)!r} and {y.get(part)!r}"
        elif x != y:
            return f"{key} is {x!r} and {y!r}"
    return None


def setting(facts: Mapping[str, Any], key: str) -> Any:
    """One of `SETTINGS` in a result.

    Of the grading it is the version, 1 for a result that does not say it. The dtype of one that does not say it was
    float32, unless a run's own was set.
    """
    if key == "grading":
        return facts.get(key, {}).get("version", 1)
    if key == "dtype":
        return facts.get(key, "float32")
    return facts.get(key)


def compared(a: Result, b: Result) -> Comparison:
    """The tests, over problems."""
    x, y = a.values("sample"), b.values("sample")
    if x.keys() != y.keys():
        raise DataError(
            f"{a.folder} and {b.folder} cannot be compared: their samples are of different problems; evaluate again"
        )
    sampled = compare_means([*x.values()], [y[problem] for problem in x])
    one, other = a.values("greedy"), b.values("greedy")
    both = bool(one) and one.keys() == other.keys()
    greedy = mcnemar_test([v > 0 for v in one.values()], [other[p] > 0 for p in one]) if both else None
    return Comparison(str(a.benchmark), a, b, sampled, greedy)
