"""Selectors as a user would get them (composed and built from `conf/`), and small steps to apply them to."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir
from torch import Tensor

from tipx.config import build, load
from tipx.noise import Noise
from tipx.selectors import Selector
from tipx.types import TokenStats

GARBAGE = 7.5  # what the statistics of padding hold: it must not matter


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis draws the same examples each time, and leaves no cache behind."""
    settings.register_profile("laws", max_examples=25, derandomize=True, database=None, deadline=None)
    settings.load_profile("laws")
    home = tempfile.mkdtemp(prefix="hypothesis-")
    set_hypothesis_home_dir(home)
    config.add_cleanup(lambda: shutil.rmtree(home))


@cache
def built(overrides: tuple[str, ...]) -> Selector:
    selector: Selector = build(load(overrides)).selector
    return selector


@pytest.fixture(scope="session")
def make() -> Callable[..., Selector]:
    """The selector of a run with the given overrides."""
    return lambda *overrides: built(overrides)


@pytest.fixture(scope="session")
def step() -> Callable[..., tuple[TokenStats, Tensor]]:
    """Statistics (B, T) and validity from ragged rows: `step(student_entropy=[[1, 2], [3]])`."""

    def of(**named: Sequence[Sequence[float]]) -> tuple[TokenStats, Tensor]:
        rows = next(iter(named.values()))
        width = max(len(row) for row in rows) + 1
        valid_BT = torch.tensor([[t < len(row) for t in range(width)] for row in rows])
        padded = {
            name: torch.tensor([[*row, *[GARBAGE] * (width - len(row))] for row in values], dtype=torch.float32)
            for name, values in named.items()
        }
        return TokenStats(**padded), valid_BT

    return of


@pytest.fixture(scope="session")
def weights(step: Callable[..., tuple[TokenStats, Tensor]]) -> Callable[..., list[list[int]]]:
    """The weights of the valid tokens, row by row, as integers where they are whole."""

    def of(selector: Selector, seed: int = 0, **named: Sequence[Sequence[float]]) -> list[list[int]]:
        stats, valid_BT = step(**named)
        weights_BT = selector(stats, valid_BT, Noise(seed))
        assert weights_BT.shape == valid_BT.shape
        assert not weights_BT[~valid_BT].any()
        assert torch.equal(weights_BT, weights_BT.round())
        return [[int(w) for w in row[valid]] for row, valid in zip(weights_BT, valid_BT, strict=True)]

    return of
