"""What a step did: the numbers of one line of metrics.jsonl."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tipx.runs import metric_keys as keys
from tipx.selectors import Selector
from tipx.selectors.everything import Everything
from tipx.selectors.quadrant import Quadrants
from tipx.train.ahead import Batch
from tipx.types import Rollout, StopReason, TokenStats, response_ends

MONITORED = frozenset({"student_entropy", "reverse_kl", "loss"})
"""What the log says of tokens."""


@dataclass(frozen=True)
class Update:
    """What one optimizer step did: mean loss over kept tokens, gradient norm before clipping, learning rate.

    `applied` is False when loss or gradient was not finite, and the weights were left alone; `bad_steps` counts those.
    `weights_changed` is the share of weights that are not what they were: in a short type a step may be too small.
    `kept` are statistics of this process's kept tokens that came with the loss, before the step.
    """

    loss: float
    grad_norm: float
    lr: float
    applied: bool
    bad_steps: int
    weights_changed: float
    kept: TokenStats = field(default_factory=TokenStats)


def monitored(selector: Selector) -> frozenset[str]:
    """The statistics in `MONITORED` that must be scored to be known of all tokens.

    Where every token is trained on, they come with the loss.
    """
    return frozenset() if isinstance(selector.pick, Everything) else MONITORED


def update(done: Update) -> dict[str, float]:
    """The optimizer's part."""
    return {
        keys.LOSS: done.loss,
        keys.GRAD_NORM: done.grad_norm,
        keys.LR: done.lr,
        keys.APPLIED: done.applied,
        keys.BAD_STEPS: done.bad_steps,
        keys.WEIGHTS_CHANGED_FRAC: done.weights_changed,
    }


def selection(
    stats: TokenStats,
    kept_stats: TokenStats,
    valid_BT: Bool[Tensor, "B T"],
    weights_BT: Float[Tensor, "B T"],
    quadrants: Quadrants,
) -> dict[str, float]:
    """Kept share, and what kept and dropped tokens look like. Entropy and divergence (reverse KL) in nats.

    `stats` are of all tokens, `kept_stats` of the kept ones. What neither knows is left out.
    """
    kept_BT = (weights_BT > 0) & valid_BT
    tokens, kept_tokens = int(valid_BT.sum()), int(kept_BT.sum())
    row = {
        keys.SAMPLED_TOKENS: tokens,
        keys.KEPT_TOKENS: kept_tokens,
        keys.KEPT_FRAC: kept_tokens / max(tokens, 1),
    }
    everywhere, only_kept = dict(stats.computed()), dict(kept_stats.computed())
    if kept_tokens == tokens:
        everywhere = only_kept | everywhere
    masks = {"kept": kept_BT, "dropped": valid_BT & ~kept_BT, "all": valid_BT}
    for family, name in ((keys.ENTROPY, "student_entropy"), (keys.REVERSE_KL, "reverse_kl")):
        for part, mask_BT in masks.items():
            values_BT = everywhere.get(name, only_kept.get(name) if part == "kept" else None)
            if values_BT is not None and mask_BT.any():
                row[family.of(part)] = float(values_BT[mask_BT].mean())
    if "loss" in everywhere and (mass := float(everywhere["loss"][valid_BT].sum())) > 0:
        row[keys.KEPT_LOSS_FRAC] = float(everywhere["loss"][kept_BT].sum()) / mass
    if {"student_entropy", "reverse_kl"} <= everywhere.keys():
        quadrant_BT = quadrants(TokenStats(**everywhere), valid_BT)
        for number, name in enumerate(keys.QUADRANTS, 1):
            inside_BT = quadrant_BT == number
            row[keys.QUADRANT_FRAC.of(name)] = int(inside_BT.sum()) / max(tokens, 1)
            row[keys.QUADRANT_FRAC_OF_KEPT.of(name)] = int((inside_BT & kept_BT).sum()) / max(kept_tokens, 1)
    return row


def mismatch(engine_BT: Float[Tensor, "B T"], stats: TokenStats, valid_BT: Bool[Tensor, "B T"]) -> dict[str, float]:
    """How far the sampling engine's log-probabilities are from the student's, nats.

    `kl` is the mean difference over tokens the engine sampled, an estimate of KL(engine || student).
    """
    gap_N = (engine_BT - stats["student_logprob"])[valid_BT]
    if not len(gap_N):
        return {}
    return {
        keys.MISMATCH_KL: float(gap_N.mean()),
        keys.MISMATCH_ABS_MEAN: float(gap_N.abs().mean()),
        keys.MISMATCH_ABS_MAX: float(gap_N.abs().max()),
    }


def ahead(batch: Batch) -> dict[str, float]:
    """How old a batch is that may have been sampled ahead, and what that took if this start of the run did it."""
    return {keys.STALENESS: batch.staleness} | ({} if batch.seconds is None else {keys.AHEAD_S: batch.seconds})


def lengths(rollouts: Sequence[tuple[int, str]]) -> dict[str, float]:
    """Sampled tokens and the share ended by a limit, from (their number, stop reason) of every sequence."""
    sizes = [length for length, _ in rollouts]
    return {
        keys.MEAN_LENGTH: sum(sizes) / len(sizes),
        keys.MAX_LENGTH: max(sizes),
        keys.TRUNCATED_FRAC: sum(reason != "eos" for _, reason in rollouts) / len(rollouts),
    }


def agents(numbers: Sequence[Mapping[str, float]], ends: Sequence[tuple[int, str]]) -> dict[str, float]:
    """Means of the trajectories' scores and counts, shares of how they ended, and how many hold no sampled token."""
    known = {name: [one[name] for one in numbers if name in one] for one in numbers for name in one}
    row = {keys.AGENT.of(name): sum(values) / len(values) for name, values in known.items()}
    shares = {
        keys.AGENT_ENDED_FRAC.of(r): sum(reason == r for _, reason in ends) / len(ends) for r in get_args(StopReason)
    }
    return row | shares | {keys.AGENT_EMPTY: sum(length == 0 for length, _ in ends)}


def samples(
    rollout: Rollout,
    stats: TokenStats,
    weights_BT: Float[Tensor, "B T"],
    decode: Callable[[list[int]], Any],
    count: int,
) -> list[dict[str, object]]:
    """The first `count` rollouts with text, statistics and what was selected, to be read by people and programs.

    `valid` is false for tokens that the student did not sample, such as the results of tools.
    """
    rows: list[dict[str, object]] = []
    for b, n in enumerate(response_ends(rollout.valid_BT[:count])):
        prompt = list(rollout.prompt_ids[b])
        tokens: list[int] = rollout.response_BT[b, :n].tolist()
        rows.append(
            {
                "prompt": decode(prompt),
                "response": decode(tokens),
                "tokens": tokens,
                "pieces": in_context(decode, prompt[-1], tokens),
                "valid": rollout.valid_BT[b, :n].tolist(),
                "stop": rollout.stop_reasons[b],
                "weights": rounded(weights_BT[b, :n]),
                "stats": {name: rounded(values_BT[b, :n]) for name, values_BT in stats.computed().items()},
            }
        )
    return rows


def in_context(decode: Callable[[list[int]], Any], before: int, tokens: list[int]) -> list[str]:
    """The text that each token adds to the one before it, so that a word-level tokenizer's blanks are there too.

    A token that is only a part of a character is U+FFFD, as it is by itself.
    """
    seen: dict[tuple[int, ...], str] = {}

    def text(*ids: int) -> str:
        if ids not in seen:
            seen[ids] = str(decode(list(ids)))
        return seen[ids]

    out = []
    for last, token in pairwise([before, *tokens]):
        both, one = text(last, token), text(last)
        fits = both.startswith(one) and "\ufffd" not in both
        out.append(both.removeprefix(one) if fits else text(token))
    return out


def rounded(values_T: Tensor) -> list[float]:
    """Six significant digits are enough to look at, and half the file."""
    return [float(f"{v:.6g}") for v in values_T.to(torch.float64).tolist()]
