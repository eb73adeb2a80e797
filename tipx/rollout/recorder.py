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

    With a KV cache its t-th call ends with the states that predict response token t, at the last place of each row.
    """

    def __init__(self, model: PreTrainedModel, rows: int) -> None:
        self.model = model
        self.states_of: list[tuple[Float[Tensor, "R T D"], int]] = [(torch.empty(0, 0, 0), 0)] * rows

    @contextmanager
    def of(self, rows: Sequence[int]) -> Iterator[None]:
        """Records what is generated inside for these rows, in the order of the batch."""
        steps: list[Tensor] = []

        def note(_module: object, _args: object, output: Any) -> None:
            steps.append(output.last_hidden_state[:, -1])

        hook = self.model.base_model.register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()
        states_RTD = torch.stack(steps, 1)
        for place, row in enumerate(rows):
            self.states_of[row] = states_RTD, place

    def states(self, lengths: Sequence[int]) -> Float[Tensor, "N D"]:
        """Of every row's first tokens, as many as its response has, one row after another."""
        return torch.cat([states_RTD[r, :n] for (states_RTD, r), n in zip(self.states_of, lengths, strict=True)])
