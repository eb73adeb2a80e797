"""Who has which rows of a step: by arithmetic, and two processes of whole runs."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.ranks import free_port
from tests.rows import undeclared
from tests.train.test_processes import WITHIN_S, environment, same, the_run
from tests.warm import Server
from tipx.errors import ConfigError
from tipx.rollout.collect import from_lists
from tipx.runs.snapshot import Snapshot
from tipx.train.ahead import to_rollout, to_rows
from tipx.train.dealing import Dealing, deal_by_tokens, deal_in_turn, imbalance, share_work
from tipx.train.start import train_run
from tipx.types import Rollout

Overrides = Callable[..., list[str]]
CPU = torch.device("cpu")


def test_in_turn_the_responses_of_a_prompt_are_spread() -> None:
    assert deal_in_turn(8, 2).rows == ((0, 2, 4, 6), (1, 3, 5, 7))
    assert deal_in_turn(6, 3).rows == ((0, 3), (1, 4), (2, 5))
    assert deal_in_turn(3, 1).rows == ((0, 1, 2),)
    with pytest.raises(ConfigError, match=r"= 7 sequences a step do not divide over 2 processes; choose loop\.prompts"):
        deal_in_turn(7, 2)


def test_the_longest_go_first_to_who_has_least() -> None:
    # 9: first; 8: second; 7: second, of 8 tokens; 3 and 2: first, of 9 and 12; 1: second, the first is full.
    assert deal_by_tokens([7, 2, 9, 1, 8, 3], 2).rows == ((1, 2, 5), (0, 3, 4))
    assert deal_by_tokens([5, 5, 5, 5], 2).rows == ((0, 2), (1, 3))
    assert deal_by_tokens([3, 1], 1).rows == ((0, 1),)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_whatever_the_lengths_every_row_is_dealt_once_and_none_has_more(size: int) -> None:
    generator = np.random.default_rng(size)
    for _ in range(50):
        tokens = [int(n) for n in generator.lognormal(5, 1, 16)]
        even, turn = deal_by_tokens(tokens, size), deal_in_turn(16, size)
        for dealing in (even, turn):
            assert sorted(row for rows in dealing.rows for row in rows) == list(range(16))
            assert {len(rows) for rows in dealing.rows} == {16 // size}
            assert all(list(rows) == sorted(rows) for rows in dealing.rows)
            gathered = [f"row {row}" for rows in dealing.rows for row in rows]
            assert dealing.in_order(gathered) == [f"row {row}" for row in range(16)]


def test_imbalance_is_the_excess_of_the_largest_over_the_mean() -> None:
    assert imbalance([10, 10, 20, 20], Dealing(((0, 1), (2, 3)))) == pytest.approx(1 / 3)  # 40 of a mean of 30
    assert imbalance([10, 10, 20, 20], Dealing(((0, 2), (1, 3)))) == 0
    assert imbalance([1, 2, 3], Dealing(((0, 1, 2),))) == 0


@dataclass
class Process:
    """A process among others, each of them a thread, as far as `gather_list` goes."""

    rank: int
    size: int
    given: list[Any]
    barrier: threading.Barrier

    def gather_list(self, local: Sequence[Any]) -> list[Any]:
        self.given[self.rank] = list(local)
        self.barrier.wait(10)
        gathered = [item for items in self.given for item in items]
        self.barrier.wait(10)
        return gathered


def together(work: Callable[[Any], Any], size: int = 2) -> list[Any]:
    """What each of so many processes returns."""
    given, barrier = [[] for _ in range(size)], threading.Barrier(size)
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(work, [Process(rank, size, given, barrier) for rank in range(size)]))


PROMPTS = [(1,), (1, 2), (1, 2, 3), (4,)]
TOKENS = [[5, 6, 7, 8, 9], [5], [6, 7, 8, 9], [8, 7]]
VALID = [[True] * 5, [True], [True, False, False, True], [True, True]]
LOGPROBS = [[-0.5, -0.25, -1, -2, -3], [-4], [-5, -6], [-7, -8]]


def hold(rows: Sequence[int]) -> Rollout:
    """These rows, as a process has them: an agent's trajectory among them, with the engine's numbers."""
    made = from_lists(
        *([PROMPTS[r] for r in rows], [TOKENS[r] for r in rows]), ["eos"] * len(rows), CPU, [VALID[r] for r in rows]
    )
    logprobs = torch.tensor([float(value) for r in rows for value in LOGPROBS[r]])
    numbers = tuple({"score": float(r)} for r in rows)
    return Rollout(made.prompt_ids, made.response_BT, made.valid_BT, made.stop_reasons, None, logprobs, numbers)


def equal(one: Rollout, other: Rollout) -> bool:
    whole = (one.prompt_ids, one.stop_reasons, one.numbers) == (other.prompt_ids, other.stop_reasons, other.numbers)
    tensors = ("response_BT", "valid_BT", "logprobs_N")
    return whole and all(torch.equal(getattr(one, name), getattr(other, name)) for name in tensors)


def test_rows_move_with_all_that_belongs_to_them_until_tokens_are_even() -> None:
    sampled = deal_in_turn(4, 2)  # tokens of prompt and response, up to the last sampled one: 6 + 7 and 3 + 3
    done = together(lambda world: share_work(world, hold(sampled.rows[world.rank]), sampled))
    for rank, (rollout, dealing, row) in enumerate(done):
        assert dealing.rows == ((2, 3), (0, 1))  # 7 + 3 and 6 + 3
        assert equal(rollout, hold(dealing.rows[rank]))
        assert row == pytest.approx({"perf/imbalance_sampled": 13 / 9.5 - 1, "perf/imbalance_trained": 10 / 9.5 - 1})


def test_a_process_without_a_sampled_token_has_log_probabilities_like_the_others() -> None:
    empty = from_lists([(1,)], [[]], ["turns"], CPU)
    empty = replace(empty, logprobs_N=torch.zeros(0))
    again = to_rollout(to_rows(empty), empty.prompt_ids, CPU)
    assert again.logprobs_N is not None  # else it would not take part when they are gathered
    assert to_rollout(to_rows(replace(empty, logprobs_N=None)), empty.prompt_ids, CPU).logprobs_N is None


def test_nothing_moves_where_it_would_not_help() -> None:
    sampled = Dealing(((2, 3), (0, 1)))
    own = [hold(rows) for rows in sampled.rows]
    done = together(lambda world: share_work(world, own[world.rank], sampled))
    for rank, (rollout, dealing, row) in enumerate(done):
        assert rollout is own[rank]
        assert dealing is sampled
        assert row["perf/imbalance_trained"] == row["perf/imbalance_sampled"] > 0


def test_nothing_moves_where_states_came_along() -> None:
    sampled = deal_in_turn(4, 2)
    own = [hold(rows) for rows in sampled.rows]
    own = [replace(rollout, states_ND=torch.zeros(sum(rollout.lengths), 2)) for rollout in own]
    done = together(lambda world: share_work(world, own[world.rank], sampled))
    for rank, (rollout, dealing, row) in enumerate(done):
        assert rollout is own[rank]
        assert dealing is sampled
        assert row["perf/imbalance_trained"] == row["perf/imbalance_sampled"] > 0.3


def test_one_process_does_nothing() -> None:
    own, sampled = hold((0, 1, 2, 3)), deal_in_turn(4, 1)
    assert share_work(SimpleNamespace(size=1), own, sampled) == (own, sampled, {})  # type: ignore[arg-type]


def test_two_processes_keep_the_samples_of_one(overrides: Overrides, server: Server, tmp_path: Path) -> None:
    args = overrides(
        *("selector=soft_or", "ratio=0.3", "loop.prompts=4", "loop.rollouts=4", "loop.sample_every=1"),
        *("loop.sample_count=6", "loop.monitor_every=1", "rollout.max_new_tokens=24", "loop.save_every=2"),
    )
    port, started = free_port(), []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(server.start(["train", *args], tmp_path, environment(tmp_path / "home", **own)))
    said = [one.communicate(timeout=WITHIN_S) for one in started]
    assert [one.returncode for one in started] == [0, 0], said
    two, (one, _) = (
        the_run(tmp_path / "runs"),
        train_run([*args, f"runs_dir={tmp_path / 'one'}"], fresh=False, config_dir=None),
    )
    same(two, one)
    for step in (1, 2, 3, 4):
        assert len(two.samples(step)) == 6
        for line, other in zip(two.samples(step), one.samples(step), strict=True):
            assert line.pop("stats").keys() == other.pop("stats").keys()
            assert line == other
        found, wanted = (Snapshot.read(run.sample_files(step)[1]) for run in (two, one))
        for name in ("lengths_B", "tokens_N", "valid_N", "weights_N"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        for name, values_N in wanted.stats.items():
            np.testing.assert_allclose(found.stats[name], values_N, rtol=1e-3, atol=1e-5)
        for role, ids in wanted.top_ids.items():
            assert (found.top_ids[role] == ids).mean() > 0.99  # equal but for ties
            np.testing.assert_allclose(found.top_probs[role], wanted.top_probs[role], rtol=1e-3, atol=1e-5)
    shares = [(row["perf/imbalance_sampled"], row["perf/imbalance_trained"]) for row in two.rows() if row["step"]]
    assert all(trained <= sampled for sampled, trained in shares)
    assert any(trained < sampled for sampled, trained in shares)
    assert not [name for name in one.rows().names if "imbalance" in name]
    assert all(undeclared(row) == {} for row in two.rows())
