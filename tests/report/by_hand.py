"""Runs whose numbers a test has chosen, and the arithmetic of tests in plain Python, which calls no `tipx`."""

import json
import shutil
from collections.abc import Sequence
from math import gamma, pi, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tipx.runs.results import model_name


def set_result(run: Path, **facts: Any) -> Path:
    """The one result of a run's last step, with some facts replaced."""
    (file,) = (file for file in run.glob("evals/*/*/result.json") if file.parent.parent.name != "000000")
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))
    return file


def set_scores(run: Path, scores: Sequence[float], **facts: Any) -> Path:
    """The same, with these shares of right answers to the problems."""
    found = {f"p{i}": score for i, score in enumerate(scores)}
    error = stdev(scores) / sqrt(len(scores))
    return set_result(run, scores=found, mean=fmean(scores), mean_se=error, problems=len(scores), **facts)


def add_result(run: Path, step: int, name: str, facts: dict[str, Any]) -> Path:
    """One more result, in a folder of that name."""
    file = run / "evals" / f"{step:06d}" / name / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(facts))
    return file


def copy_first(run: Path, **facts: Any) -> Path:
    """A result before the first step, as that of the last but for some facts."""
    (file,) = (file for file in run.glob("evals/*/*/result.json") if file.parent.parent.name != "000000")
    return add_result(run, 0, file.parent.name, json.loads(file.read_text()) | facts)


def set_model(runs_dir: Path, path: str, run: Path, **facts: Any) -> Path:
    """A result of `tipx eval` of a model, as that of a run but for some facts."""
    file = runs_dir / "eval" / model_name(path) / "arithmetic-abcdef" / "result.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(json.loads(set_result(run).read_text()) | facts))
    return file


def set_lines(run: Path, lines: Sequence[dict[str, Any]]) -> None:
    """The lines of metrics; the steps are counted here."""
    text = "".join(json.dumps({"step": step} | line) + "\n" for step, line in enumerate(lines))
    (run / "metrics.jsonl").write_text(text)


def to_held_out(run: Path, **facts: float) -> None:
    """Makes the result one on held-out texts."""
    old = set_result(run)
    texts = {"texts": 8, "tokens": 80, "reverse_kl": 1.0, "forward_kl": 1.0, "teacher_perplexity": 4.0} | facts
    add_result(run, int(old.parent.parent.name), "heldout-abcdef", texts)
    shutil.rmtree(old.parent)


def p_of_t(t: float, freedom: float) -> float:
    """Two-sided: one less the integral of Student's density from -|t| to |t|, by Simpson's rule."""
    steps = 20_000
    width = abs(t) / steps
    scale = gamma((freedom + 1) / 2) / (sqrt(freedom * pi) * gamma(freedom / 2))
    heights = [scale * (1 + (i * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
    area = width / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))
    return 1 - 2 * area


def t_test(differences: Sequence[float]) -> float:
    """The p-value of a t test of mean 0."""
    return p_of_t(fmean(differences) / (stdev(differences) / sqrt(len(differences))), len(differences) - 1)
