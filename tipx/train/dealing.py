"""Which rows of a step each process has.

Rows are sampled in turn: row i by process i mod P. So the responses to one prompt, which tend to be of similar length,
are spread over the processes. Scoring and the update then cost what their forward passes cost: the tokens of prompts
and responses. So between the two, rows move until every process has about as many tokens as any other.

The selector, the log and all files see the step in its own order, whatever the dealing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from tipx.errors import ConfigError
from tipx.processes import World
from tipx.runs import metric_keys as keys
from tipx.train.ahead import to_rollout, to_rows
from tipx.types import Rollout, response_ends

T = TypeVar("T")


@dataclass(frozen=True)
class Dealing:
    """`rows[rank]` are the places in the step of that process's rows, ascending; all have equally many."""

    rows: tuple[tuple[int, ...], ...]

    @property
    def order(self) -> list[int]:
        """Where each row of the step stands among the rows of all processes, gathered in order of rank."""
        dealt = [row for rows in self.rows for row in rows]
        return sorted(range(len(dealt)), key=dealt.__getitem__)

    def in_order(self, gathered: Sequence[T]) -> list[T]:
        """The items of all processes in the order of the step, from the order of rank."""
        return [gathered[place] for place in self.order]

    def gather_BT(self, world: World, local_BT: Tensor) -> Tensor:
        """The rows of all processes in the order of the step, right-padded with 0 to one width, on the CPU."""
        return world.gather_BT(local_BT)[self.order]

    def gather_list(self, world: World, local: Sequence[T]) -> list[T]:
        """The items of all processes, one for each row, in the order of the step."""
        return self.in_order(world.gather_list(local))


def deal_in_turn(total: int, size: int) -> Dealing:
    """Row i to process i mod size. Raises ConfigError if `total` rows do not divide evenly."""
    if total % size:
        raise ConfigError(
            f"loop.prompts * loop.rollouts = {total} sequences a step do not divide over {size} processes; "
            f"choose loop.prompts so that they do"
        )
    return Dealing(tuple(tuple(range(rank, total, size)) for rank in range(size)))


def deal_by_tokens(tokens: Sequence[int], size: int) -> Dealing:
    """About equally many tokens and exactly equally many rows for each process.

    The longest row goes first, each to the process that has the fewest tokens so far, of those with room for a row.
    """
    room = len(tokens) // size
    hands, sums = [list[int]() for _ in range(size)], [0] * size
    for row in sorted(range(len(tokens)), key=lambda row: -tokens[row]):
        rank = min((rank for rank in range(size) if len(hands[rank]) < room), key=sums.__getitem__)
        hands[rank].append(row)
        sums[rank] += tokens[row]
    return Dealing(tuple(tuple(sorted(hand)) for hand in hands))


def imbalance(tokens: Sequence[int], dealing: Dealing) -> float:
    """How much more than the mean the process with the most tokens has: largest / mean - 1, 0 where all are even."""
    sums = [sum(tokens[row] for row in rows) for rows in dealing.rows]
    return max(sums) * len(sums) / sum(sums) - 1


def share_work(world: World, rollout: Rollout, sampled: Dealing) -> tuple[Rollout, Dealing, dict[str, float]]:
    """This process's rows of the step for scoring and update, who has which, and what is logged of it.

    `rollout` are its rows as they were `sampled`. Nothing moves where that makes no process's share smaller, or where
    hidden states came with the rows: they are far larger than what they save. Every process must call it.
    """
    if world.size == 1:
        return rollout, sampled, {}
    costs = [len(ids) + end for ids, end in zip(rollout.prompt_ids, response_ends(rollout.valid_BT), strict=True)]
    tokens = sampled.gather_list(world, costs)
    even, before = deal_by_tokens(tokens, world.size), imbalance(tokens, sampled)
    if rollout.states_ND is not None or imbalance(tokens, even) >= before:
        even = sampled
    else:
        rollout = move_rows(world, rollout, sampled, even)
    return rollout, even, {keys.IMBALANCE.of("sampled"): before, keys.IMBALANCE.of("trained"): imbalance(tokens, even)}


def move_rows(world: World, rollout: Rollout, before: Dealing, after: Dealing) -> Rollout:
    """The rows that this process has `after`, from those that each has `before`."""
    step = before.gather_list(world, list(zip(rollout.prompt_ids, to_rows(rollout), strict=True)))
    prompts, rows = zip(*(step[row] for row in after.rows[world.rank]), strict=True)
    return to_rollout(rows, prompts, rollout.response_BT.device)
