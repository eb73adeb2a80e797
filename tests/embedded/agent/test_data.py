"""The errands as a training set and as a benchmark."""

from dataclasses import replace

import pytest

from tipx.config import build, load
from tipx.embedded.agent.build import AGENT, TURN
from tipx.embedded.agent.data import Errands, HeldOutErrands
from tipx.errors import DataError


def test_no_training_errand_is_held_out() -> None:
    ours, held = Errands(size=500, seed=1).load(), HeldOutErrands(name="tiny_agent", size=256).load(None)
    assert (len(ours), len(held)) == (500, 256)
    assert not {p.text for p in ours} & {p.text for p in held}
    assert {p.task.slice for p in held} == {"of_2", "of_3"}
    assert held == HeldOutErrands(name="tiny_agent", size=300).load(None)[:256]


@pytest.mark.parametrize(("size", "path", "message"), [(4, "a.jsonl", "reads no file"), (5000, None, r"size: .*5000")])
def test_what_there_is_not(size: int, path: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        HeldOutErrands(name="tiny_agent", size=size).load(path)


def test_the_experiment_trains_and_evaluates_by_the_same_limits() -> None:
    exp = build(load(["experiment=tiny_agent"]))
    ours, theirs = exp.rollout, exp.eval.sampling
    for name in ("max_turns", "max_new_tokens", "context", "max_parallel_calls", "malformed", "calls"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.backend.max_new_tokens == theirs.backend.max_new_tokens
    assert ours.backend.temperature == theirs.backend.temperature == 1.0
    # What the card's numbers were measured by.
    assert replace(theirs, backend=TURN) == AGENT
    assert theirs.backend == TURN
