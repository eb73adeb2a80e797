"""Selection rules replayed on a sampled step: as they would have selected there, random draws included."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tipx.runs.reader import SampledStep
from tipx.runs.snapshot import Floats, Snapshot


@dataclass(frozen=True)
class Rule:
    """What a rule does to a step: weights, and the rank of each token's score in its response, 1 the highest.

    The rank of a token that is not valid is 0; of equal scores the earlier token ranks first.
    """

    name: str
    weights_N: Floats
    ranks_N: NDArray[np.uint32]

    @property
    def kept_N(self) -> NDArray[np.bool_]:
        return self.weights_N > 0


def own_rule(step: SampledStep, config_dir: Path | None = None) -> Rule:
    """The run's own, with the weights that trained."""
    from tipx.config import rebuild

    section = step.run.tree["selector"]
    selector = rebuild({"selector": section}, config_dir)["selector"]
    _, ranks_N = replay(step.snapshot, selector)
    pick = section["pick"]
    parts = [str(part["_target_"]).rsplit(".", 1)[-1] for part in (section["score"], pick)]
    ratio = f" {pick['ratio']:g}" if "ratio" in pick else ""
    return Rule(f"{parts[0]} + {parts[1]}{ratio}", step.snapshot.weights_N, ranks_N)


def apply_rules(step: SampledStep, overrides: Sequence[str], config_dir: Path | None = None) -> list[Rule]:
    """The rules that overrides stand for, as typed for `tipx train`, applied to a step; raises ConfigError."""
    from tipx.config import build_rules

    selectors = build_rules(step.run.tree, overrides, config_dir)
    return [Rule(name, *replay(step.snapshot, selector)) for name, selector in selectors.items()]


def compare_rules(step: SampledStep, overrides: Sequence[str], config_dir: Path | None) -> list[Rule]:
    """The same; if it is one rule, the run's own before it."""
    asked = apply_rules(step, overrides, config_dir)
    return asked if len(asked) > 1 else [own_rule(step, config_dir), *asked]


def replay(snapshot: Snapshot, selector: Any) -> tuple[Floats, NDArray[np.uint32]]:
    """Weights and ranks."""
    import torch

    from tipx.noise import Noise
    from tipx.types import TokenStats

    stats = TokenStats(**{name: torch.from_numpy(snapshot.grid(v_N)) for name, v_N in snapshot.stats.items()})
    valid_BT = torch.from_numpy(snapshot.grid(snapshot.valid_N))
    noise = Noise(snapshot.seed, snapshot.step).substream("select")
    inside_BT = snapshot.grid(np.ones_like(snapshot.valid_N)).astype(bool)
    weights_N = selector(stats, valid_BT, noise).numpy()[inside_BT].astype(np.float32)
    score_N = selector.score(stats, valid_BT, noise.substream("score")).numpy()[inside_BT]
    return weights_N, ranks(snapshot, score_N)


def ranks(snapshot: Snapshot, score_N: NDArray[np.floating[Any]]) -> NDArray[np.uint32]:
    """Of scores inside each response."""
    out_N = np.zeros(len(score_N), np.uint32)
    for row in range(len(snapshot.lengths_B)):
        part = snapshot.slice(row)
        places = np.flatnonzero(snapshot.valid_N[part]) + part.start
        out_N[places[np.argsort(-score_N[places], kind="stable")]] = np.arange(1, len(places) + 1)
    return out_N


def overlap(rules: Sequence[Rule]) -> list[list[float]]:
    """Jaccard index of what each two rules keep in the step; two that keep nothing agree."""
    kept = [rule.kept_N for rule in rules]
    sizes = [[(int((a & b).sum()), int((a | b).sum())) for b in kept] for a in kept]
    return [[both / either if either else 1.0 for both, either in line] for line in sizes]


def only(rules: Sequence[Rule], snapshot: Snapshot, most: int = 12) -> list[Mapping[str, Any]]:
    """For each rule, what it alone keeps in the step: how many tokens, and which are the most frequent."""
    times_N = np.sum([rule.kept_N for rule in rules], axis=0)
    out: list[Mapping[str, Any]] = []
    for rule in rules:
        alone_N = rule.kept_N & (times_N == 1)
        ids, counts = np.unique(snapshot.tokens_N[alone_N], return_counts=True)
        best = np.argsort(-counts, kind="stable")[:most]
        tokens = [[snapshot.pieces[int(ids[i])], int(counts[i])] for i in best]
        out.append({"count": int(alone_N.sum()), "kept": int(rule.kept_N.sum()), "tokens": tokens})
    return out
