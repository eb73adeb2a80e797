"""The hidden states that generation computes anyway, kept for scoring."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel


class Recorder:
    """Listens to a model's body while it generates.

    A forward pass ends with the states that predict the next token, at the last place of each row: `newest_RD`. Those
    that are kept are numbered in the order in which they came.
    """

    newest_RD: Float[Tensor, "R D"]

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.kept: list[Float[Tensor, "R D"]] = []
        self.count = 0

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Inside, forward passes are heard."""

        def note(_module: object, _args: object, output: Any) -> None:
            self.newest_RD = output.last_hidden_state[:, -1].clone()  # a view would keep those of the whole prompt

        hook = self.model.base_model.register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()

    def keep(self, states_RD: Float[Tensor, "R D"]) -> int:
        """Keeps the states of R rows; returns the number of the first."""
        first = self.count
        self.kept.append(states_RD)
        self.count += len(states_RD)
        return first

    def states(self, places: Sequence[int]) -> Float[Tensor, "N D"]:
        """Those of these numbers."""
        return torch.cat(self.kept)[torch.tensor(places, device=self.newest_RD.device)]
