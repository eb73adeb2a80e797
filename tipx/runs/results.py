"""The one reader of `result.json`: an evaluation's numbers, which must be those of its answers. Needs no torch.

A result holds the checksum of its own facts and of the file of answers beside it, and what can be counted from these is
counted again. A result that was made before there were checksums is checked as far as its answers are there.
"""

import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from tipx.files.atomic import damaged, read_json, read_lines
from tipx.stats.estimates import mean_and_error, pass_at_k, ratio_and_error

Row = dict[str, Any]
FILE, SAMPLES, TEXTS = "result.json", "samples.jsonl", "texts.jsonl"
CHECKSUM, SEAL = "answers_sha256", "facts_sha256"
TRUNCATED = 0.05
"""The share of answers cut by the length limit above which the others say little; readers say so."""
PASSING = ("seconds", "tokens_per_s", "answers_before")
"""What differs between two evaluations that are the same."""
REMEDY = "move its folder away and evaluate again with `tipx eval`"
NUMBERS: dict[str, tuple[str, ...]] = {
    SAMPLES: ("problems", "n", "mean"),
    TEXTS: ("texts", "tokens", "perplexity", "reverse_kl", "forward_kl", "teacher_perplexity"),
}
"""Numbers that a result has; of others readers ask whether they are there."""
LINES: dict[str, tuple[str, ...]] = {
    SAMPLES: ("id", "mode", "value"),
    TEXTS: ("tokens", "student_logprob", "teacher_logprob", "reverse_kl", "forward_kl"),
}
"""What each line of answers has: words or numbers."""
WORDS = ("id", "mode")


class Result(NamedTuple):
    """One evaluation on the disk: its `result.json`, and the facts in it."""

    file: Path
    facts: Row

    @classmethod
    def read(cls, file: Path) -> "Result":
        """Raises Damaged where the facts are not those of its answers."""
        return cls(file, read_result(file))

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def benchmark(self) -> str | None:
        """None for one on held-out texts."""
        return self.facts.get("benchmark")

    def values(self, mode: str) -> dict[str, float]:
        """Mean value of each problem's answers of a mode (sample or greedy), by the problem's id; raises Damaged."""
        answers: dict[str, list[float]] = {}
        for line in read_answers(self.folder / SAMPLES, self.facts.get(CHECKSUM)):
            if line["mode"] == mode:
                answers.setdefault(line["id"], []).append(line["value"])
        return {problem: sum(values) / len(values) for problem, values in answers.items()}


def read_results(folder: Path) -> list[Result]:
    """Every evaluation in the folders of a step; raises Damaged."""
    return [Result.read(file) for file in sorted(folder.glob(f"*/{FILE}"))]


def text_checksum(text: str) -> str:
    """Of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def seal_facts(facts: Row) -> Row:
    """Facts as they are written: in plain containers, with the checksum of all that the same evaluation has again."""
    plain: Row = json.loads(json.dumps({name: value for name, value in facts.items() if name != SEAL}))
    lasting = {name: value for name, value in plain.items() if name not in PASSING}
    return plain | {SEAL: text_checksum(json.dumps(lasting, sort_keys=True))}


def read_result(file: Path) -> Row:
    """The facts of an evaluation; raises Damaged where they are not those of its answers."""
    facts = read_json(file, REMEDY)
    if isinstance(facts.get("scores"), dict):  # of hundreds of runs: each problem's name is in memory once
        facts["scores"] = {sys.intern(problem): score for problem, score in facts["scores"].items()}
    if SEAL in facts and seal_facts(facts)[SEAL] != facts[SEAL]:
        raise damaged(file, "it was changed after it was written", REMEDY)
    answers = file.with_name(SAMPLES if "benchmark" in facts else TEXTS)
    for name in NUMBERS[answers.name]:
        if not is_number(facts.get(name)):
            raise damaged(file, f"it has no number {name!r}", REMEDY)
    if "benchmark" in facts and not isinstance(facts["benchmark"], str):
        raise damaged(file, "its benchmark is no name", REMEDY)
    if answers.exists() or CHECKSUM in facts:
        rows = read_answers(answers, facts.get(CHECKSUM))
        try:
            found = answer_statistics(rows, facts) if "benchmark" in facts else text_statistics(rows)
        except (ValueError, OverflowError) as error:
            raise damaged(answers, f"its numbers cannot be ({error})", REMEDY) from error
        refuse_other_numbers(file, facts, found)
    return facts


def read_answers(file: Path, expected: object = None) -> list[Row]:
    """The lines of a file of answers, whose checksum is the expected one if there is any; raises Damaged."""
    rows = read_lines(file, REMEDY)
    if expected is not None and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
        raise damaged(file, f"its checksum is not the one that {FILE} has", REMEDY)
    for number, row in enumerate(rows, 1):
        for name in LINES[file.name]:
            if not (isinstance(row.get(name), str) if name in WORDS else is_number(row.get(name))):
                raise damaged(file, f"line {number} has no {name}", REMEDY)
    if not rows:
        raise damaged(file, "it holds no answer", REMEDY)
    return rows


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def refuse_other_numbers(file: Path, facts: Row, found: Row) -> None:
    """Raises Damaged for the first number that is another one than was counted."""
    for name, value in found.items():
        if name in facts and not equal_values(facts[name], value):
            raise damaged(file, f"its {name} is {facts[name]!r:.80}, but that of its answers is {value!r:.80}", REMEDY)


def equal_values(one: object, other: object) -> bool:
    """Equal, numbers up to rounding."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal_values(one[key], other[key]) for key in one)
    if is_number(one) and is_number(other):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)  # type: ignore[arg-type]
    return one == other


def answer_statistics(rows: Sequence[Row], facts: Row) -> Row:
    """Means with their errors over problems, scores, and how answers ended."""
    sampled, greedy = ([row for row in rows if row["mode"] == mode] for mode in ("sample", "greedy"))
    by_problem: dict[str, list[float]] = {}
    for row in sampled:
        by_problem.setdefault(str(row["id"]), []).append(row["value"])
    if not by_problem:
        return {"problems": 0}
    means = {problem: fmean(values) for problem, values in by_problem.items()}
    n = max(map(len, by_problem.values()))
    mean, error = mean_and_error([*means.values()])
    found: Row = {"problems": len(means), "n": n, "mean": mean, "mean_se": error, "scores": means}
    # An agent has not ended well unless by itself; an answer is cut where it reached its limit.
    cut = [row.get("stop") != "eos" if "slice" in row else row.get("stop") == "length" for row in sampled]
    found["clipped_ratio"] = fmean(cut)
    if isinstance(outcomes := facts.get("outcomes"), dict):
        found["outcomes"] = dict.fromkeys(outcomes, 0) | Counter(str(row.get("outcome")) for row in sampled)
    if isinstance(facts.get("pass_at"), dict):
        right = [round(sum(values)) for values in by_problem.values()]
        found["pass_at"] = {k: fmean(pass_at_k(n, c, int(k)) for c in right) for k in facts["pass_at"] if k.isdigit()}
    if greedy:
        found["greedy"], found["greedy_se"] = mean_and_error([row["value"] for row in greedy])
    return found


def text_statistics(rows: Sequence[Row]) -> Row:
    """Means over all tokens, with standard errors over texts; a perplexity's is carried over from its logarithm."""
    counts = [row["tokens"] for row in rows]
    result: Row = {"texts": len(rows), "tokens": sum(counts)}
    for name, key in (("perplexity", "student_logprob"), ("teacher_perplexity", "teacher_logprob")):
        nll, error = ratio_and_error([-row[key] for row in rows], counts)
        result[name] = math.exp(nll)
        result[f"{name}_se"] = None if error is None else math.exp(nll) * error
    for name in ("reverse_kl", "forward_kl"):
        result[name], result[f"{name}_se"] = ratio_and_error([row[name] for row in rows], counts)
    return result


def model_name(target: str) -> str:
    """A folder name for a model's results: its own, and 6 hex digits of where it is and of which weights lie there."""
    folder = Path(target).resolve()
    weights = [folder] if folder.is_file() else sorted(p for p in folder.glob("*.safetensors") if p.is_file())
    files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in weights]
    place = str(folder) if folder.exists() else target
    digest = hashlib.sha256(f"{place} {files}".encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{Path(place).name.replace(':', '-')}-{digest}"
