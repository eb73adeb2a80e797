"""What a sampled step leaves: enough to replay its rule to the same weights, and nothing else changed by it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.rows import lasting
from tipx.config import rebuild
from tipx.noise import Noise
from tipx.runs.directory import Run
from tipx.runs.snapshot import LEADERS, Snapshot
from tipx.train.start import train_run
from tipx.types import STATISTICS, TokenStats

Overrides = Callable[..., list[str]]


def train(args: list[str]) -> Run:
    return train_run(args, fresh=False, config_dir=None)[0]


def tensors(one: Snapshot) -> tuple[TokenStats, torch.Tensor]:
    stats = {name: torch.from_numpy(one.grid(values_N)) for name, values_N in one.stats.items()}
    return TokenStats(**stats), torch.from_numpy(one.grid(one.valid_N))


@pytest.mark.parametrize(
    "rule",
    ["soft_or", "q3_only", "entropy_sampling", "shuffled", "random", "q3", "soft_or selector.pick.scope=step"],
)
def test_a_replayed_rule_gives_exactly_the_weights_that_trained(rule: str, overrides: Overrides) -> None:
    run = train(overrides("ratio=0.3", "loop.rollouts=2", "loop.prompts=4", "seed=3", *f"selector={rule}".split()))
    for step in (2, 4):
        one = Snapshot.read(run.sample_files(step)[1])
        assert one.stats.keys() == STATISTICS
        selector = rebuild({"selector": run.config()["selector"]})["selector"]
        weights_BT = selector(*tensors(one), Noise(one.seed, one.step).substream("select"))
        assert weights_BT.numpy().tobytes() == one.grid(one.weights_N).tobytes()
        row = next(row for row in run.rows() if row["step"] == step)
        assert int((one.weights_N > 0).sum()) == row["select/kept_tokens"]
        assert len(one.tokens_N) == row["rollout/tokens"]


@pytest.mark.parametrize("rule", ["soft_or", "entropy_top", "random", "full"])
def test_sampling_changes_no_bit_of_training(rule: str, overrides: Overrides, tmp_path: Path) -> None:
    """Also where the rule needs less than the samples do, and the log asks for nothing."""
    some = [f"selector={rule}", "loop.monitor_every=3", "loop.save_every=4"]
    on, off = (train(overrides(*some, f"loop.sample_every={n}", f"runs_dir={tmp_path / str(n)}")) for n in (1, 0))
    assert [lasting(row) for row in on.rows()] == [lasting(row) for row in off.rows()]
    ours, theirs = (run.checkpoints.open("last")[1] for run in (on, off))
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert on.sampled() == [1, 2, 3, 4]
    assert not (off.path / "rollouts").exists()


def test_lines_and_arrays_agree(overrides: Overrides) -> None:
    run = train(overrides("loop.sample_count=3"))
    one, rows = Snapshot.read(run.sample_files(4)[1]), run.samples(4)
    assert len(one.lengths_B) == 8
    answers = {prompt.id: prompt.answer for prompt in rebuild({"data": run.config()["data"]})["data"].load()}
    for b, row in enumerate(rows):
        part = one.slice(b)
        assert row["tokens"] == one.tokens_N[part].tolist()
        assert row["weights"] == one.weights_N[part].tolist()
        for name, values in row["stats"].items():
            assert values == pytest.approx(one.stats[name][part].tolist(), rel=1e-5, abs=1e-9)
        assert row["answer"] == answers[row["id"]]
        assert "".join(row["pieces"]).split() == row["response"].split()
    shown = sum(len(row["tokens"]) for row in rows)
    for role in ("student", "teacher"):
        ids, probs = one.top_ids[role], one.top_probs[role]
        assert ids.shape == probs.shape == (shown, LEADERS)
        assert (np.diff(probs) <= 0).all()
        assert ((probs > 0) & (probs < 1)).all()
        # The sampled token's probability, where it is among those that lead.
        where, which = (ids == one.tokens_N[:shown, None]).nonzero()
        assert len(where)
        expected = np.exp(one.stats[f"{role}_logprob"][where])
        np.testing.assert_allclose(probs[where, which], expected, rtol=1e-4)
        assert set(ids.ravel().tolist()) <= one.pieces.keys()
    assert set(one.tokens_N.tolist()) <= one.pieces.keys()


def test_no_rollout_shown_still_keeps_the_statistics(overrides: Overrides) -> None:
    run = train(overrides("loop.sample_count=0"))
    one = Snapshot.read(run.sample_files(4)[1])
    assert run.samples(4) == []
    assert len(one.top_ids["student"]) == 0
    assert len(one.stats["jsd"]) == len(one.tokens_N) > 0


def test_an_agents_rollout_has_its_score_and_how_it_ended(tmp_path: Path) -> None:
    small = ["loop.steps=1", "loop.prompts=4", "loop.rollouts=2", "loop.sample_every=1", "loop.sample_count=8"]
    short = ["data.size=16", "loop.eval_every=0", "loop.eval_last=false", "heldout.every=0", "hardware.device=cpu"]
    run = train(["experiment=tiny_agent", *small, *short, f"runs_dir={tmp_path}"])
    row, samples = run.rows()[-1], run.samples(1)
    assert len(samples) == 8
    assert 0 < row["agent/score"] < 1
    assert sum(sample["score"] for sample in samples) / 8 == pytest.approx(row["agent/score"])
    for reason in ("eos", "length", "tokens", "context", "turns"):
        assert sum(sample["stop"] == reason for sample in samples) / 8 == pytest.approx(
            row[f"agent/ended_{reason}_frac"]
        )


def test_an_answer_has_no_score(overrides: Overrides) -> None:
    assert all("score" not in row for row in train(overrides("loop.sample_count=3")).samples(4))
