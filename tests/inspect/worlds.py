"""Runs to look at, made without training: random statistics, weights by the run's own rule."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tipx.config import load, rebuild, resolve
from tipx.inspect.rules import replay
from tipx.runs.directory import Run
from tipx.runs.snapshot import LEADERS, ROLES, Snapshot
from tipx.types import STATISTICS

U32, F32 = np.uint32, np.float32

# What a model may write that a page or a terminal must not obey.
HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!--",
    "]]>",
    "\"'&amp;&lt;",
    "{{DATA}}${window.hacked = 1}`",
    "😀",
    "𐍈",
    "\ufffd",
    "\x00\x1b[31m\x07",
    "\u202eright to left\u202c",
    "\u200b",
    "\r\n",
    "\t",
    "\\u003c",
    "",
)
# Tools' results of 60 tokens, which are shown whole, of 61, whose last 21 are folded, and of 160, whose last 120 are.
LONG: dict[str, Any] = {
    "pieces": [f" w{i}." for i in range(600)],
    "lengths": (200, 320, 30),
    "tools": True,
    "heard": ((2, 62), (70, 131), (140, 300)),
}
PLAIN = (" the", " of", " 4", "2", " =", ".", " so", " then", "\n", " answer")


def make_run(
    folder: Path,
    pieces: Sequence[str] = PLAIN,
    lengths: Sequence[int] = (12, 30, 7, 25),
    shown: int | None = None,
    steps: Sequence[int] = (10, 20),
    tools: bool = False,
    scores: Sequence[float | None] | None = None,
    *,
    heard: Sequence[tuple[int, int]] = ((2, 5),),
) -> Run:
    """A run with sampled steps under `folder`; with `tools` some of each response's tokens are not the student's.

    Those are [from, to) of `heard`. Answers alternate: right, wrong, and a prompt without one. With `scores` the
    rollouts are an agent's, which have no answer; None is one that an older tipx saved.
    """
    shown = len(lengths) if shown is None else shown
    words = ["selector=q3_only", "ratio=0.2", "seed=3", "loop.sample_every=10"]
    run = Run.create(folder / "runs" / "solo" / "made-0badcafe", resolve(load(words)), {"argv": ["tipx", "train"]})
    run.log({"step": 0})
    for step in steps:
        one = snapshot(step, pieces, lengths, shown, heard if tools else ())
        rows = [row(one, pieces, b) for b in range(shown)]
        if scores is not None:
            rows = [made | judged(score) for made, score in zip(rows, scores, strict=True)]
        run.save_samples(step, rows, one.to_bytes())
    return run


def snapshot(
    step: int, pieces: Sequence[str], lengths: Sequence[int], shown: int, heard: Sequence[tuple[int, int]]
) -> Snapshot:
    rng, n = np.random.default_rng(step), sum(lengths)
    place_N = np.concatenate([np.arange(length) for length in lengths])
    valid_N = ~np.any([np.zeros(n, bool), *((place_N >= start) & (place_N < end) for start, end in heard)], axis=0)
    stats = {name: (rng.gamma(0.3, 1.0, n) * valid_N).astype(F32) for name in sorted(STATISTICS)}
    stats |= {f"{role}_logprob": -stats[f"{role}_logprob"] for role in ROLES}
    m = sum(lengths[:shown])
    made: dict[str, Any] = {
        "seed": 3,
        "step": step,
        "lengths_B": np.array(lengths),
        "tokens_N": np.arange(n, dtype=U32) % len(pieces),
        "valid_N": valid_N,
        "weights_N": np.zeros(n, F32),
        "stats": stats,
        "top_ids": {role: rng.integers(0, len(pieces), (m, LEADERS)).astype(U32) for role in ROLES},
        "top_probs": {role: -np.sort(-rng.dirichlet([0.2] * LEADERS, m)).astype(F32) for role in ROLES},
        "pieces": dict(enumerate(pieces)),
    }
    selector = rebuild({"selector": resolve(load(["selector=q3_only", "ratio=0.2"]))["selector"]})["selector"]
    weights_N, _ = replay(Snapshot(**made), selector)
    return Snapshot(**made | {"weights_N": weights_N})


def judged(score: float | None) -> dict[str, Any]:
    """How an agent's rollout did: one of score 0 ran out of turns."""
    if score is None:
        return {"answer": None}
    return {"answer": None, "score": score, "stop": "eos" if score else "turns"}


def row(one: Snapshot, pieces: Sequence[str], b: int) -> dict[str, Any]:
    tokens = one.tokens_N[one.slice(b)].tolist()
    said = ["\\boxed{4}", "\\boxed{5}", ""][b % 3]
    made = {
        "prompt": f"question {b} {pieces[b % len(pieces)]}",
        "response": said,
        "tokens": tokens,
        "pieces": [pieces[token] for token in tokens],
        "valid": one.valid_N[one.slice(b)].tolist(),
        "stop": "eos",
        "weights": one.weights_N[one.slice(b)].tolist(),
        "stats": {},
        "id": str(b),
        "answer": ["4", "4", None][b % 3],
    }
    loaded: dict[str, Any] = json.loads(json.dumps(made))
    return loaded
