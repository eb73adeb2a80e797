"""LM heads, and hidden states with the head that reads them.

Axes: N tokens, D hidden size, V vocabulary rows that both models share, C columns (vocabulary entries) of one tile.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ALL = slice(None)


@dataclass(frozen=True)
class Head:
    """Hidden states to logits of the first V rows: softcap(scale * (hidden W^T + bias)).

    `scale` and `softcap` are what some architectures do after the product (Granite, Cohere; Gemma 2).
    """

    weight_VD: Float[Tensor, "V D"]
    bias_V: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def size(self) -> int:
        """V."""
        return self.weight_VD.shape[0]

    def logits(self, hidden_ND: Float[Tensor, "N D"], columns: slice = ALL) -> Float[Tensor, "N C"]:
        """Logits of some columns, fp32 (or float64 when the head is); a fresh tensor that the caller may overwrite."""
        bias_C = None if self.bias_V is None else self.bias_V[columns]
        logits_NC = torch.nn.functional.linear(hidden_ND, self.weight_VD[columns], bias_C)
        logits_NC = logits_NC.to(torch.promote_types(logits_NC.dtype, torch.float32))
        if self.scale != 1.0:
            logits_NC = logits_NC * self.scale
        if self.softcap is not None:
            logits_NC = (logits_NC / self.softcap).tanh() * self.softcap
        return logits_NC

    def chain(self, grad_NC: Float[Tensor, "N C"], logits_NC: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """Gradient at the product hidden W^T + bias, from the gradient at `logits_NC`."""
        if self.softcap is not None:
            grad_NC = grad_NC * (1 - (logits_NC / self.softcap) ** 2)
        return grad_NC * self.scale if self.scale != 1.0 else grad_NC

    def log_probs(self, hidden_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """log P over the whole vocabulary: for references and small heads."""
        return self.logits(hidden_ND).log_softmax(-1)


@dataclass(frozen=True)
class Hidden:
    """Last hidden states of N response positions, with the head that reads them."""

    states_ND: Float[Tensor, "N D"]
    head: Head

    def __getitem__(self, index: Tensor | slice) -> "Hidden":
        return Hidden(self.states_ND[index], self.head)

    def __len__(self) -> int:
        return len(self.states_ND)

    def logits(self, columns: slice = ALL) -> Float[Tensor, "N C"]:
        return self.head.logits(self.states_ND, columns)

    def log_probs(self) -> Float[Tensor, "N V"]:
        return self.head.log_probs(self.states_ND)
