"""Stores of runs as `tipx sweep` leaves them, of real size, with invented numbers; no model is touched.

python tests/report/synthetic.py FOLDER    # 500 runs, to measure with
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tipx.config import choices, load, resolve
from tipx.runs.identity import identity

COMMIT = "0123456789abcdef"
RULES = {
    "full": 0.67, "soft_or": 0.66, "q3_only": 0.645, "entropy_top": 0.65, "random": 0.34, "shuffled": 0.4,
    "prefix": 0.5, "entropy_sampling": 0.63, "div_only": 0.655, "q3_reverse": 0.64, "bottom_soft_or": 0.27,
}  # fmt: skip


@dataclass
class Sweep:
    """One group. `grid` holds the overrides of its points without seed; the rest says how the runs look."""

    folder: Path
    grid: Sequence[Sequence[str]]
    seeds: int = 3
    steps: int = 150
    typed: bool = True
    """Whether the commands name the number of steps."""
    problems: int = 64
    n: int = 4
    base: Sequence[str] = ()
    benchmarks: Sequence[str] = ("arithmetic",)
    result: dict[str, Any] = field(default_factory=dict)
    start: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=lambda: RULES)

    def make(self, skip: Sequence[int] = ()) -> list[Path]:
        """Every run but the skipped ones, and sweep.json."""
        points, made = [], []
        for words in self.grid:
            for seed in range(self.seeds):
                overrides = [*self.base, *words, f"seed={seed}", *([f"loop.steps={self.steps}"] if self.typed else [])]
                tree, chosen = composed((*self.base, *words, f"loop.steps={self.steps}"))
                tree = tree | {"seed": seed, "group": self.folder.name}
                name = f"{chosen['model']}-{chosen['selector']}-{identity(tree)}"
                points.append({"run": name, "overrides": overrides, "choices": chosen})
                if len(points) - 1 not in skip:
                    made.append(self.run(name, tree, overrides, chosen))
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = {
            "name": self.folder.name,
            "description": "invented",
            "command": f"tipx sweep {self.folder.name}",
            "points": points,
        }
        (self.folder / "sweep.json").write_text(json.dumps(plan))
        return made

    def run(self, name: str, tree: dict[str, Any], overrides: list[str], chosen: dict[str, str]) -> Path:
        path = self.folder / name
        path.mkdir(parents=True)
        rng = np.random.default_rng(int(name[-8:], 16))
        (path / ".lock").touch()
        (path / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        start = {"argv": [], "commit": COMMIT, "dirty": False, "device": "cpu"} | self.start
        write(path / "provenance.json", {"starts": [start], "choices": chosen, "overrides": overrides})
        level, ratio = self.accuracy.get(chosen["selector"], 0.5), tree["selector"]["pick"].get("ratio", 1)
        rows = [{"step": 0}, *(row(step, self.steps, level, ratio, rng) for step in range(1, self.steps + 1))]
        (path / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        self.samples(path, rng, ratio)
        for benchmark in self.benchmarks:
            out = path / "evals" / f"{self.steps:06d}" / f"{benchmark}-abcdef"
            out.mkdir(parents=True)
            write(out / "result.json", self.facts(benchmark, level, rng))
        write(path / "summary.json", {"steps": self.steps})
        return path

    def facts(self, benchmark: str, level: float, rng: np.random.Generator) -> dict[str, Any]:
        """Problems differ in how hard they are, in the same way for every run."""
        hard = np.random.default_rng(7).normal(0, 0.2, self.problems)
        p = np.clip(level + rng.normal(0, 0.005) + hard, 0.01, 0.99)
        right = rng.binomial(self.n, p)
        scores = {f"{benchmark}-{i}": int(r) / self.n for i, r in enumerate(right)}
        values = np.array(list(scores.values()))
        answers = self.problems * self.n
        facts = {
            "mean": values.mean(), "mean_se": values.std(ddof=1) / len(values) ** 0.5,
            "pass_at": {"1": values.mean(), str(self.n): float((values > 0).mean())},
            "maj_at": {"1": values.mean()}, "greedy": float((values > 0.4).mean()), "greedy_se": 0.01,
            "outcomes": {"correct": int(right.sum()), "wrong": answers - int(right.sum()), "truncated": 0},
            "mean_length": 40.0, "clipped_ratio": 0.0, "benchmark": benchmark, "problems": self.problems,
            "problems_sha256": "f00d", "partial": False, "n": self.n, "seed": 0, "temperature": 1.0, "top_p": 1.0,
            "top_k": 0, "max_new_tokens": 8192, "template": {"chat": False}, "scores": scores,
        }  # fmt: skip
        return facts | self.result

    def samples(self, path: Path, rng: np.random.Generator, ratio: float) -> None:
        """Tokens of the last step, most of them sure and agreeing."""
        (path / "rollouts").mkdir()
        entropy, divergence = rng.exponential(0.3, 200), rng.exponential(0.2, 200) ** 2
        kept = (entropy + divergence >= np.quantile(entropy + divergence, 1 - ratio)).astype(float)
        stats = {"student_entropy": entropy.tolist(), "reverse_kl": divergence.tolist()}
        line = {"prompt": "", "response": "", "tokens": [0] * 200, "weights": kept.tolist(), "stats": stats}
        (path / "rollouts" / f"{self.steps:06d}.jsonl").write_text(json.dumps(line) + "\n")


COMPOSED: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, str]]] = {}


def composed(words: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration and choices of overrides; composed once."""
    if words not in COMPOSED:
        COMPOSED[words] = resolve(load(words)), choices(words)
    return COMPOSED[words]


def row(step: int, steps: int, level: float, ratio: float, rng: np.random.Generator) -> dict[str, Any]:
    """One line of metrics, with every key that a real one has."""
    part, noise = step / steps, rng.normal(0, 0.02, 30).tolist()
    found: dict[str, Any] = {
        "step": step, "train/loss": 1.2 - part + noise[0], "train/grad_norm": 5 + noise[1], "train/lr": 1e-3,
        "train/applied": True, "train/bad_steps": 0, "rollout/tokens": 2529, "select/kept_tokens": int(2529 * ratio),
        "select/kept_frac": ratio, "select/kept_loss_frac": 0.9,
        "rollout/mean_length": 40 + noise[2], "rollout/max_length": 60, "rollout/truncated_frac": 0.0,
        "perf/tokens_per_s": 3480 + noise[3],
    }  # fmt: skip
    for i, kind in enumerate(("entropy", "reverse_kl")):
        for j, which in enumerate(("kept", "dropped", "all")):
            found[f"select/{kind}_{which}"] = max(0.01, 0.6 - 0.45 * part * level - 0.1 * j + noise[4 + 3 * i + j])
    shares = (0.45 - 0.1 * part + noise[10], 0.05, 0.05 + 0.02 * part, 0.45 + 0.08 * part - noise[10])
    found |= {f"quadrant/q{q + 1}_frac": share for q, share in enumerate(shares)}
    found |= {f"quadrant/q{q + 1}_frac_of_kept": share for q, share in enumerate(shares)}
    for i, phase in enumerate(("rollout", "score", "select", "train")):
        found |= {f"time/{phase}_s": 0.3 + noise[12 + i], f"memory/{phase}_mib": 600.0 + 300 * ratio + noise[16 + i]}
    if step % 50 == 0:
        now = 0.25 + (level - 0.25) * part + noise[20]
        found |= {"eval/arithmetic/mean": now, "eval/arithmetic/mean_se": 0.01, "eval/arithmetic/greedy": now + 0.2}
    return found


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, default=float) + "\n")


def budgeted(rules: Sequence[str], ratios: Sequence[float]) -> list[list[str]]:
    """`full`, and each rule at each ratio."""
    return [["selector=full"], *([f"selector={r}", f"ratio={x}"] for r in rules if r != "full" for x in ratios)]


if __name__ == "__main__":
    grid = budgeted(list(RULES), [0.5, 0.4, 0.3, 0.2, 0.1])[:50]
    Sweep(Path(sys.argv[1]) / "controls", grid, seeds=10, problems=512, base=["experiment=tiny"]).make()
