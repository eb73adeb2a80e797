"""The numbers of a step, against arithmetic by hand, and the meter.

The step: A has four tokens, B has two; the rest is padding and holds garbage.

    token      A0   A1   A2   A3   B0   B1
    entropy h  1    2    3    4    5    6     median 3.5: unsure are A3 B0 B1
    d          1    6    2    5    3    4     median 3.5: wrong are A1 A3 B1
    loss       1    1    1    5    2    0     10 in all
    weight     0    1    0    0.5  1    0     kept: A1 A3 B0
    quadrant   4    3    4    1    2    1
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tipx.rollout.collect import from_lists
from tipx.selectors.quadrant import Quadrants
from tipx.train import meter
from tipx.train import step_metrics as metrics
from tipx.train.meter import Meter
from tipx.train.step_metrics import Update
from tipx.types import TokenStats

MEDIANS = Quadrants(entropy_quantile=0.5, divergence_quantile=0.5)
X = 99.0
VALID_BT = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
STATS = TokenStats(
    student_entropy=torch.tensor([[1.0, 2, 3, 4], [5, 6, X, X]]),
    reverse_kl=torch.tensor([[1.0, 6, 2, 5], [3, 4, X, X]]),
    loss=torch.tensor([[1.0, 1, 1, 5], [2, 0, X, X]]),
)
WEIGHTS_BT = torch.tensor([[0, 1, 0, 0.5], [1, 0, 0, 0]])


NOTHING = TokenStats()


def selection(weights_BT: Tensor, stats: TokenStats = STATS, kept_stats: TokenStats = NOTHING) -> dict[str, float]:
    return metrics.selection(stats, kept_stats, VALID_BT, weights_BT, MEDIANS)


def test_selection_by_hand() -> None:
    assert selection(WEIGHTS_BT) == pytest.approx(
        {
            "rollout/tokens": 6,
            "select/kept_tokens": 3,
            "select/kept_frac": 0.5,
            "select/entropy_kept": 11 / 3,  # 2 4 5
            "select/entropy_dropped": 10 / 3,  # 1 3 6
            "select/entropy_all": 3.5,
            "select/reverse_kl_kept": 14 / 3,  # 6 5 3
            "select/reverse_kl_dropped": 7 / 3,  # 1 2 4
            "select/reverse_kl_all": 3.5,
            "select/kept_loss_frac": 0.8,  # 1 + 5 + 2 of 10, whatever the weights
            "quadrant/q1_frac": 2 / 6,
            "quadrant/q2_frac": 1 / 6,
            "quadrant/q3_frac": 1 / 6,
            "quadrant/q4_frac": 2 / 6,
            "quadrant/q1_frac_of_kept": 1 / 3,
            "quadrant/q2_frac_of_kept": 1 / 3,
            "quadrant/q3_frac_of_kept": 1 / 3,
            "quadrant/q4_frac_of_kept": 0,
        }
    )


def test_a_part_that_is_empty_has_no_mean() -> None:
    everything = selection(VALID_BT.float())
    assert not [key for key in everything if key.endswith("dropped")]
    assert everything["select/kept_loss_frac"] == everything["select/kept_frac"] == 1
    nothing = selection(torch.zeros(2, 4))
    assert not [key for key in nothing if key.endswith("_kept") and "entropy" in key]
    assert nothing["select/kept_loss_frac"] == nothing["select/kept_frac"] == 0
    assert sum(nothing[f"quadrant/q{q}_frac"] for q in (1, 2, 3, 4)) == pytest.approx(1)


def test_a_loss_of_zero_has_no_share() -> None:
    row = selection(WEIGHTS_BT, TokenStats(**{**STATS.computed(), "loss": torch.zeros(2, 4)}))
    assert "select/kept_loss_frac" not in row


def test_what_is_not_known_of_all_tokens_is_left_out() -> None:
    counts = {"rollout/tokens": 6, "select/kept_tokens": 3, "select/kept_frac": 0.5}
    assert selection(WEIGHTS_BT, TokenStats()) == counts
    entropy = {"kept": 11 / 3, "dropped": 10 / 3, "all": 3.5}
    row = selection(WEIGHTS_BT, TokenStats(student_entropy=STATS.student_entropy))
    assert row == pytest.approx(counts | {f"select/entropy_{part}": value for part, value in entropy.items()})
    # Of kept tokens the loss knows all, of others nothing: what stands there must not count.
    row = selection(WEIGHTS_BT, TokenStats(), kept_stats=STATS)
    assert row == pytest.approx(counts | {"select/entropy_kept": 11 / 3, "select/reverse_kl_kept": 14 / 3})


def test_the_loss_of_every_token_knows_what_scoring_would_say() -> None:
    everything = VALID_BT.float()
    assert selection(everything, TokenStats(), kept_stats=STATS) == selection(everything)


def test_a_row_is_made_of_numbers_that_json_knows() -> None:
    update = metrics.update(Update(loss=0.5, grad_norm=2.0, lr=1e-3, applied=True, bad_steps=0, weights_changed=0.75))
    assert update == {
        "train/loss": 0.5,
        "train/grad_norm": 2.0,
        "train/lr": 1e-3,
        "train/applied": True,
        "train/bad_steps": 0,
        "train/weights_changed_frac": 0.75,
    }
    row = selection(WEIGHTS_BT) | update
    assert json.loads(json.dumps(row)) == row


def test_lengths_of_sequences_that_a_limit_ended() -> None:
    # Whatever the limit was: of a trajectory there are several.
    assert metrics.lengths([(3, "eos"), (5, "length"), (4, "turns"), (5, "context")])["rollout/truncated_frac"] == 0.75


def test_mismatch_by_hand() -> None:
    # Engine less student: 0.5, -0.25, 0.125 and, of padding, what must not count.
    engine_BT = torch.tensor([[-1.0, -2.25, X], [-0.5, -X, X]])
    stats = TokenStats(student_logprob=torch.tensor([[-1.5, -2.0, 0], [-0.625, 0, 0]]))
    valid_BT = torch.tensor([[True, True, False], [True, False, False]])
    assert metrics.mismatch(engine_BT, stats, valid_BT) == {
        "rollout/mismatch_kl": 0.125,
        "rollout/mismatch_abs_mean": pytest.approx(0.875 / 3),
        "rollout/mismatch_abs_max": 0.5,
    }
    assert metrics.mismatch(engine_BT, stats, torch.zeros(2, 3, dtype=torch.bool)) == {}


def test_agents_by_hand() -> None:
    # A trajectory without a score is not in that score's mean.
    row = metrics.agents(
        [{"score": 1.0, "turns": 2}, {"turns": 4}, {"score": 0.5, "turns": 3}], [(3, "eos")] * 2 + [(0, "turns")]
    )
    assert (row["agent/score"], row["agent/turns"]) == (0.75, 3)
    assert (row["agent/ended_eos_frac"], row["agent/ended_turns_frac"]) == pytest.approx((2 / 3, 1 / 3))
    assert sum(value for key, value in row.items() if key.startswith("agent/ended_")) == pytest.approx(1)
    assert row["agent/empty_trajectories"] == 1


def test_lengths_by_hand() -> None:
    assert metrics.lengths([(3, "eos"), (5, "length"), (4, "eos"), (5, "eos")]) == {
        "rollout/mean_length": 17 / 4,
        "rollout/max_length": 5,
        "rollout/truncated_frac": 0.25,
    }


def test_samples_show_valid_tokens_with_their_statistics_and_weights() -> None:
    made = from_lists([[7], [8, 9]], [[1, 2, 3, 4], [5, 6]], ["length", "eos"], torch.device("cpu"))
    stats = TokenStats(student_entropy=torch.tensor([[1.0, 2, 3, 4], [1 / 3, 0, X, X]]))
    one, two = metrics.samples(made, stats, WEIGHTS_BT, str, count=5)
    assert one["prompt"] == "[7]"
    assert one["weights"] == [0, 1, 0, 0.5]
    assert two == {
        "prompt": "[8, 9]",
        "response": "[5, 6]",
        "tokens": [5, 6],
        "pieces": ["[5]", "[6]"],
        "valid": [True, True],
        "stop": "eos",
        "weights": [1, 0],
        "stats": {"student_entropy": [0.333333, 0]},
    }
    assert metrics.samples(made, stats, WEIGHTS_BT, str, count=1) == [one]
    assert metrics.samples(made, stats, WEIGHTS_BT, str, count=0) == []


def test_samples_hold_what_a_tool_said_between_the_students_tokens() -> None:
    made = from_lists([[7]], [[1, 2, 3, 4]], ["length"], torch.device("cpu"))
    made = replace(made, valid_BT=torch.tensor([[True, False, True, False]]))
    (row,) = metrics.samples(made, TokenStats(), WEIGHTS_BT[:1], str, count=1)
    assert row["tokens"] == [1, 2, 3]  # what follows the student's last token was never read
    assert row["valid"] == [True, False, True]


def test_a_piece_is_what_a_token_adds_to_the_one_before() -> None:
    def words(ids: list[int]) -> str:
        return " ".join("abcdef"[i] for i in ids)

    def half_bytes(ids: list[int]) -> str:
        data = bytes([[0x41, 0x42, 0xC3, 0xA9][i] for i in ids])
        return data.decode(errors="replace")

    assert metrics.in_context(words, 0, [1, 2, 1]) == [" b", " c", " b"]
    assert metrics.in_context(half_bytes, 0, [1, 2, 3, 0]) == ["B", "\ufffd", "\ufffd", "A"]
    assert metrics.in_context(words, 0, []) == []


def test_the_meter_has_time_and_memory_of_each_phase_once() -> None:
    one = Meter(torch.device("cpu"))
    with one.phase("score"):
        pass
    with one.phase("train"):
        pass
    values = one.read()
    assert values.keys() == {"time/score_s", "memory/score_mib", "time/train_s", "memory/train_mib"}
    assert min(values.values()) > 0
    assert one.read() == {}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak")
def test_the_peak_is_the_phase_s_own() -> None:
    one = Meter(torch.device("cpu"))
    with one.phase("before"):
        pass
    with one.phase("large"):
        torch.ones(64 * meter.MIB)  # 256 MiB of float32
    with one.phase("after"):
        pass
    values = one.read()
    for phase in ("before", "after"):
        assert 200 < values["memory/large_mib"] - values[f"memory/{phase}_mib"] < 300


def test_a_machine_that_tells_no_peak_falls_back_to_the_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: "Name: python\n")

    def refused(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refused)
    one = Meter(torch.device("cpu"))
    with one.phase("train"):
        pass
    # This process has torch loaded: between 50 MiB and 50 GiB.
    assert 50 < one.read()["memory/train_mib"] < 50 * 1024
