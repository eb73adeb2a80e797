"""The data of a page: a small header, and columns of numbers that the browser reads as typed arrays.

Columns are compressed one by one; 50 rollouts of 4,000 tokens are 200,000 entries each.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipx.grading.grade import Answer, Grade, start_grader
from tipx.inspect.quadrants import AXES, Thresholds, table
from tipx.inspect.rules import Rule, only, overlap
from tipx.runs.metrics_file import Row
from tipx.runs.reader import ENDS, SampledStep
from tipx.runs.snapshot import LEADERS, ROLES

TYPES = {"uint8": "Uint8Array", "uint32": "Uint32Array", "float32": "Float32Array"}
Columns = dict[str, NDArray[Any]]


def header_and_columns(step: SampledStep, rules: Sequence[Rule]) -> tuple[dict[str, Any], Columns]:
    """Of the rollouts that were saved, under these rules."""
    one, thresholds = step.snapshot, Thresholds.of_step(step)
    lengths = [len(row["tokens"]) for row in step.rows]
    shown = slice(0, sum(lengths))
    texts = SharedTexts()
    columns: Columns = {
        "piece": texts.of([piece for row in step.rows for piece in row["pieces"]]),
        "token": one.tokens_N[shown],
        "valid": one.valid_N[shown].astype(np.uint8),
    }
    columns |= {name: values_N[shown] for name, values_N in sorted(one.stats.items())}
    for i, rule in enumerate(rules):
        columns |= {f"weight{i}": rule.weights_N[shown], f"rank{i}": rule.ranks_N[shown]}
    for role in ROLES:
        columns |= {f"{role}_top": one.top_ids[role].ravel(), f"{role}_top_prob": one.top_probs[role].ravel()}
    # Those that lead are told by id alone: a table from ids to texts.
    led = np.unique(np.concatenate([columns[f"{role}_top"] for role in ROLES]))
    columns |= {"led": led, "led_piece": texts.of([one.pieces.get(token, "") for token in led.tolist()])}
    columns |= {f"{role}_top": np.searchsorted(led, columns[f"{role}_top"]).astype(np.uint32) for role in ROLES}
    columns |= {f"quantiles_{axis}": table(one, axis) for axis in AXES}
    quadrant_N = thresholds.quadrants(one)
    header = {
        "run": step.run.name,
        "step": one.step,
        "steps": step.run.sampled_steps,
        "leaders": LEADERS if len(step.rows) else 0,
        "models": {role: step.run.tree["model"][role]["path"] for role in ROLES},
        "quantiles": thresholds.quantiles,
        "thresholds": {axis: float(np.nan_to_num(value)) for axis, value in thresholds.values.items()},
        "tokens": int(one.valid_N.sum()),
        "sequences": len(one.lengths_B),
        "shares": [int((quadrant_N == q).sum()) / max(int(one.valid_N.sum()), 1) for q in (1, 2, 3, 4)],
        "rules": [rule.name for rule in rules],
        "overlap": overlap(rules),
        "only": only(rules, one),
        "rollouts": rollouts(step.rows, lengths),
        "texts": texts.every,
    }
    return header, columns


class SharedTexts:
    """Each text once, and numbers that stand for it."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, pieces: Sequence[str]) -> NDArray[np.uint32]:
        """The numbers of these."""
        return np.array([self.known.setdefault(piece, len(self.known)) for piece in pieces], np.uint32)

    @property
    def every(self) -> list[str]:
        return list(self.known)


def rollouts(rows: Sequence[Row], lengths: Sequence[int]) -> list[dict[str, Any]]:
    """What is known of each but its tokens.

    The grade is None where the prompt has no answer, the score where it is no task, or an older tipx saved it.
    """
    starts = np.cumsum([0, *lengths]).tolist()
    return [
        {
            "start": starts[i],
            "length": lengths[i],
            "prompt": row["prompt"],
            "answer": row.get("answer"),
            "cut": ENDS[row["stop"]],
            "score": row.get("score"),
            "grade": grade and asdict(grade),
        }
        for i, (row, grade) in enumerate(zip(rows, graded(rows), strict=True))
    ]


def graded(rows: Sequence[Row]) -> list[Grade | None]:
    """The grade of each rollout that has an answer to be graded by. Saved texts hold their special tokens."""
    found = [i for i, row in enumerate(rows) if row.get("answer")]
    with start_grader() as judge:
        answers = [
            Answer(rows[i]["response"], rows[i]["answer"], rows[i]["stop"] == "length", rows[i]["prompt"])
            for i in found
        ]
        grades = dict(zip(found, judge.grade_all(answers), strict=True))
    return [grades.get(i) for i in range(len(rows))]


def packed(values: NDArray[Any]) -> dict[str, str]:
    """A column for the browser: its kind of typed array, and zlib in base64."""
    little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
    text = base64.b64encode(zlib.compress(little.tobytes(), 1)).decode()
    return {"type": TYPES[values.dtype.name], "data": text}
