"""What an evaluation says, from its graded answers."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tipx.evals import Evaluation
from tipx.grading.answers import majority_vote
from tipx.grading.grade import OUTCOMES
from tipx.stats.estimates import majority_at_k, mean_and_error, pass_at_k, powers_of_two

Sample = dict[str, Any]


def summarise_samples(samples: Sequence[Sample], how: Evaluation) -> dict[str, Any]:
    """Accuracy with standard errors over problems, pass@k, maj@k, and outcomes that add up to the number of answers.

    Samples of one problem are not independent, so the error is that of the problems' means. `scores` holds those means,
    for paired tests.
    """
    sampled = [s for s in samples if s["mode"] == "sample"]
    by_problem = group_by_problem(sampled)
    correct = [round(sum(s["value"] for s in group)) for group in by_problem]
    mean, error = mean_and_error([c / how.n for c in correct])
    ks = powers_of_two(how.n)
    summary: dict[str, Any] = {
        "mean": mean,
        "mean_se": error,
        "pass_at": {str(k): mean_and_error([pass_at_k(how.n, c, k) for c in correct])[0] for k in ks},
        "maj_at": {str(k): fmean(majority_at_k(count_votes(group), k) for group in by_problem) for k in ks},
        "outcomes": count_outcomes(sampled),
        "mean_length": fmean(s["length"] for s in sampled),
        "mean_length_correct": mean_length(sampled, correct=True),
        "mean_length_wrong": mean_length(sampled, correct=False),
        "clipped_ratio": fmean(s["stop"] == "length" for s in sampled),
        "scores": {group[0]["id"]: c / how.n for group, c in zip(by_problem, correct, strict=True)},
    }
    if how.greedy:
        one = [s for s in samples if s["mode"] == "greedy"]
        summary["greedy"], summary["greedy_se"] = mean_and_error([s["value"] for s in one])
        summary["greedy_outcomes"] = count_outcomes(one)
    return summary


def group_by_problem(samples: Sequence[Sample]) -> list[list[Sample]]:
    """The samples of each problem, in order."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample["id"], []).append(sample)
    return list(groups.values())


def count_votes(group: Sequence[Sample]) -> list[tuple[object, float] | None]:
    """For a vote: what stands for each answer, and whether it is right; None for a sample without an answer."""
    return [None if s["extracted"] is None else (majority_vote(s["extracted"]), s["value"]) for s in group]


def mean_length(samples: Sequence[Sample], *, correct: bool) -> float | None:
    """Tokens of the correct, or of all other answers; None if there is none."""
    lengths = [s["length"] for s in samples if (s["outcome"] == "correct") == correct]
    return fmean(lengths) if lengths else None


def count_outcomes(samples: Sequence[Sample]) -> dict[str, int]:
    """How many answers ended in each way; nothing is dropped."""
    counts = Counter(s["outcome"] for s in samples)
    return {name: counts[name] for name in OUTCOMES}
