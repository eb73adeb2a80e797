"""The optimizer, and the learning rate it is driven with."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.nn import Parameter

from tipx.config import build, load
from tipx.errors import ConfigError
from tipx.train.optim import AdamW

PEAK = 2e-3


@pytest.fixture
def adamw() -> Callable[..., AdamW]:
    plain = {
        "lr": PEAK,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.1,
        "clip": 1.0,
        "schedule": "cosine",
        "warmup_steps": 10,
        "min_lr_ratio": 0.1,
    }
    return lambda **changed: AdamW(**(plain | changed))


def rates(optim: AdamW, steps: int) -> list[float]:
    """The learning rate of each step from the first, and after the last."""
    optimizer = optim.build([Parameter(torch.ones(2))])
    schedule = optim.build_schedule(optimizer, steps)
    out = []
    for _ in range(steps):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return [*out, schedule.get_last_lr()[0]]


def test_warm_up_and_cosine_to_the_floor(adamw: Callable[..., AdamW]) -> None:
    lr = rates(adamw(), 110)
    # Linear: step i of the first 10 has i/10 of the peak. Then a cosine over 100 steps down to a tenth:
    # peak * (0.1 + 0.9 * (1 + cos(pi * x)) / 2), half-way 0.55 of the peak, after a quarter 0.1 + 0.9 * 0.8536.
    assert lr[:11] == pytest.approx([PEAK * i / 10 for i in range(11)])
    assert lr[35] == pytest.approx(PEAK * (0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2))
    assert lr[60] == pytest.approx(PEAK * 0.55)
    assert lr[110] == pytest.approx(PEAK * 0.1)
    assert all(a > b for a, b in pairwise(lr[10:]))


def test_without_warm_up_and_floor(adamw: Callable[..., AdamW]) -> None:
    lr = rates(adamw(warmup_steps=0, min_lr_ratio=0.0), 100)
    assert (lr[0], lr[50], lr[100]) == (pytest.approx(PEAK), pytest.approx(PEAK / 2), pytest.approx(0, abs=1e-12))


def test_constant(adamw: Callable[..., AdamW]) -> None:
    lr = rates(adamw(schedule="constant"), 100)
    assert lr[:11] == pytest.approx([PEAK * i / 10 for i in range(11)])
    assert lr[10:] == pytest.approx([PEAK] * 91)


def test_optimizer_has_the_settings(adamw: Callable[..., AdamW]) -> None:
    settings = adamw().build([Parameter(torch.ones(2))]).defaults
    assert {key: settings[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
        "lr": PEAK,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.1,
    }


def test_the_papers_recipe() -> None:
    # Cosine, no warm-up known, gradient clip 1, learning rate 1e-6 (Qwen) and 3e-7 (Llama).
    for model, lr in (("qwen3", 1e-6), ("qwen2_5", 1e-6), ("llama", 3e-7)):
        optim = build(load([f"model={model}"])).optim
        assert (optim.lr, optim.clip, optim.schedule, optim.min_lr_ratio) == (lr, 1.0, "cosine", 0.0)


@pytest.mark.parametrize(
    "override",
    [
        "lr=0",
        "lr=-1e-3",
        "lr=fast",
        "betas=[0.9,1.0]",
        "betas=[-0.1,0.99]",
        "betas=[0.9]",
        "eps=0",
        "weight_decay=-1",
        "clip=0",
        "schedule=step",
        "warmup_steps=-1",
        "min_lr_ratio=1.1",
    ],
)
def test_bad_values_are_refused(override: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^optim\.{key}"):
        build(load([f"optim.{override}"]))
