"""What a step does to weights, counted by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tipx.errors import RunFailed
from tipx.runs.directory import Run
from tipx.train import weights
from tipx.train.start import train_run
from tipx.train.trainer import Trainer

Overrides = Callable[..., list[str]]


def test_what_a_step_can_move() -> None:
    # bfloat16 has 8 bits: from 2^-10 to 2^-9 numbers lie 2^-17 = 7.6e-6 apart, from 2^-14 to 2^-13 2^-21 = 4.8e-7.
    weights_W = torch.tensor([1.0, 0.0015, 1e-4, 0.0], dtype=torch.bfloat16)
    assert weights.movable_share(weights_W, 1e-6) == 0.5
    assert weights.movable_share(weights_W, 4e-6) == 0.75  # more than half of 7.6e-6
    assert weights.movable_share(weights_W, 1e-2) == 1.0
    # float32 has 24: 1 moves by more than 2^-25 = 3e-8.
    assert weights.movable_share(weights_W.float(), 1e-6) == 1.0
    assert weights.movable_share(weights_W.float(), 1e-9) == 0.75


def test_the_share_that_changed() -> None:
    before_W = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert weights.changed_share(before_W, before_W.clone()) == 0.0
    assert weights.changed_share(before_W, torch.tensor([1.0, 2.5, 3.0, 4.0])) == 0.25


def test_a_sample_is_spread_over_all_and_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    some = [torch.arange(6.0).reshape(2, 3), torch.arange(10.0, 14.0)]
    taken_W = weights.sample_weights(some)
    assert taken_W.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13]
    some[0].zero_()
    assert taken_W[1] == 1
    monkeypatch.setattr(weights, "SAMPLED", 3)  # of 10: every third
    assert weights.sample_weights([torch.arange(6.0), torch.arange(10.0, 14.0)]).tolist() == [0, 3, 10, 13]


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_none_is_found(broken: float) -> None:
    whole = [torch.ones(3, 2), torch.ones(4, dtype=torch.bfloat16)]
    assert weights.are_finite(whole)
    whole[1][2] = broken
    assert not weights.are_finite(whole)


def test_no_run_finishes_with_weights_that_are_not_finite(
    overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loss and gradient are finite, and the step is what breaks.
    step, seen = Trainer._apply_gradients, []

    def breaking(self: Trainer, loss: float) -> object:
        seen.append(loss)
        if len(seen) == 3:
            value = next(iter(self.pair.student.parameters()))
            apply = self.optimizer.step
            monkeypatch.setattr(self.optimizer, "step", lambda: (apply(), value.data.view(-1)[5].fill_(torch.inf)))
        return step(self, loss)

    monkeypatch.setattr(Trainer, "_apply_gradients", breaking)
    with pytest.raises(RunFailed, match=r"weights are not finite after a step with optim\.lr=0\.\d+; the last"):
        train_run(overrides(), fresh=False, config_dir=None)
    (path,) = (tmp_path / "runs" / "solo").iterdir()
    run = Run(path)
    assert not run.finished
    assert [number for number, _ in run.checkpoints.saved()] == [2]
    assert run.rows()[-1]["step"] == 2
