"""The engines of a process that sample by vLLM, and the proof that one has the student's weights.

An engine has a copy of the weights. After each push it says how likely a few fixed tokens are, and so does the trainer.
A weight that did not arrive, a layer too many or another precision shows there, in nats, and stops the run. Else
training goes on with samples of a model that is not the student, and nothing but worse results says so.
"""

import atexit
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from tipx.errors import RunFailed
from tipx.sharding import compute_device, free_copies

Dtype = Literal["float32", "bfloat16", "float16"]
Answer = tuple[list[int], list[float]]
"""Sampled token ids, and the engine's log-probability of each, nats."""
FIXED = 32
"""Tokens that are compared."""
TOLERANCES = {"float32": 2e-3, "bfloat16": 0.15, "float16": 0.05}
"""Largest mean gap between engine and trainer over the fixed tokens, nats, by the coarser of their dtypes. Rounding
leaves about 1e-6 in float32, and some hundredths where logits are rounded to bfloat16."""
SAME = 1e-4
"""The gap between two answers of one engine with the same weights, nats, unless it shows to be larger."""


@dataclass
class Surroundings:
    """Where the engines of a process run: the file for their log, and the type in which the trainer computes.

    `dtype` is that of its matrix products, where that is not the weights' own.
    """

    log_file: Path | None = None
    dtype: Dtype | None = None


HERE = Surroundings()
ENGINES: dict[str, "Engine"] = {}


@contextmanager
def open_engines(log_file: Path | None, dtype: Dtype | None = None) -> Iterator[None]:
    """Engines that are made inside write their log to this file, and are closed at the end of the block."""
    HERE.log_file, HERE.dtype = log_file, dtype
    try:
        yield
    finally:
        close_engines()
        HERE.log_file, HERE.dtype = None, None


def close_engines() -> None:
    """Stop every engine of this process, and let go of every server."""
    while ENGINES:
        ENGINES.popitem()[1].close()


def find_engine(key: str, start: Callable[[], "Engine"]) -> "Engine":
    """The process's one engine of this key: it holds a device's memory, and takes a minute to start."""
    if key not in ENGINES:
        ENGINES[key] = start()
        atexit.register(close_engines)  # where nobody opened a block for it, as in a notebook
    return ENGINES[key]


def last_gap() -> float:
    """The largest `Engine.gap`, nats; 0 without an engine."""
    return max((engine.gap for engine in ENGINES.values()), default=0.0)


def last_tolerance() -> float:
    """The largest gap that rounding may leave to an engine of this process, nats."""
    return max((engine.tolerance for engine in ENGINES.values()), default=math.inf)


def computing_dtype(model: PreTrainedModel) -> Dtype:
    """The type in which the trainer multiplies the model's weights."""
    own: Any = str(model.dtype).removeprefix("torch.")
    return HERE.dtype or own


def weights_version(model: PreTrainedModel) -> tuple[int, int]:
    """Changes whenever a weight is written, and only then.

    What is counted are writes to the weights that rest in this process. Copies that a forward pass gathered and left
    are other tensors, whose writes nobody counted.
    """
    free_copies(model)
    return id(model), sum(p._version for p in model.parameters())  # noqa: SLF001 - torch's own counter of writes


class Engine(ABC):
    """Samples with a copy of a student's weights.

    `held`: it is awake with the weights that it is to have. `ids` are the fixed tokens, `answered` what it said of them
    after the last push, and `gap` how far that was from the trainer's, nats.
    """

    keeps_weights = True
    """Whether it has them still after `rest`."""

    def __init__(self, dtype: Dtype, tolerance: float) -> None:
        self.dtype, self.tolerance = dtype, tolerance
        self.held, self.gap, self.version = False, 0.0, (0, -1)
        self.ids: list[int] = []
        self.answered: list[list[float]] = []

    @abstractmethod
    def push(self, model: PreTrainedModel) -> None:
        """Take over the model's weights, and forget what was cached under others."""

    @abstractmethod
    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        """A response to each prompt."""

    @abstractmethod
    def score(self, ids: Sequence[int]) -> list[list[float]]:
        """Log-probability of each of these tokens but the first, given those before it, nats; by each of its parts."""

    @abstractmethod
    def rest(self) -> None:
        """Give the device's memory back until the next `sync`, where that is wanted."""

    @abstractmethod
    def close(self) -> None:
        """Stop; it is not used again."""

    def sync(self, model: PreTrainedModel) -> None:
        """The weights of the model, pushed if they are others and proven. Raises RunFailed where they are not."""
        now = weights_version(model)
        if now != self.version or not self.keeps_weights:
            self.push(model)
            self.ids = fixed_tokens(model)
            self.prove(score_tokens(model, self.ids))
            self.version = now

    def prove(self, own: Sequence[float]) -> None:
        """Raises RunFailed unless the engine gives the fixed tokens the probabilities that the trainer gives, `own`."""
        self.answered = self.score(self.ids)
        self.gap = max(mean_gap(own, answered) for answered in self.answered)
        if not self.gap <= self.tolerance:  # also nan
            raise RunFailed(
                f"rollout: after a push the engine's log-probabilities of {FIXED} fixed tokens are {self.gap:.2g} nats "
                f"from the trainer's, more than rollout.tolerance={self.tolerance:g}: it would sample from another "
                "model; see its log; type rollout=hf, or raise rollout.tolerance if it only rounds more coarsely; no "
                "step was trained on it, and the same command continues"
            )


def fixed_tokens(model: PreTrainedModel) -> list[int]:
    """Ids from all over the vocabulary, always the same."""
    embedding: Any = model.get_input_embeddings()
    rows: int = embedding.weight.shape[0]
    return torch.randint(rows, (FIXED,), generator=torch.Generator().manual_seed(0)).tolist()


@torch.no_grad()
def score_tokens(model: PreTrainedModel, ids: Sequence[int]) -> list[float]:
    """The model's own log-probability of each of these tokens but the first, given those before it, nats."""
    ids_1L = torch.tensor([list(ids)], device=compute_device(model))
    log_p_LV = model(input_ids=ids_1L, use_cache=False).logits[0, :-1].float().log_softmax(-1)
    return log_p_LV.gather(-1, ids_1L[0, 1:, None])[:, 0].tolist()


def mean_gap(one: Sequence[float], other: Sequence[float]) -> float:
    """Mean distance between two lists of log-probabilities, nats."""
    pairs = zip(one, other, strict=True)
    return sum(abs(a - b) for a, b in pairs) / len(one)
