"""LM heads, and hidden states together with the head that reads them.

Axes: N tokens, D hidden size, V vocabulary rows that both models share, C columns (vocabulary entries) of one tile.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import TileBuffers

ALL = slice(None)


@dataclass(frozen=True)
class Head:
    """Turns hidden states into logits of the first V rows: logits = cap * tanh(scale * (hidden W^T + bias) / cap).

    Some architectures scale their logits (Granite, Cohere) or cap them (Gemma 2, `softcap`). Without a cap the logits
    are scale * (hidden W^T + bias).
    """

    weight_VD: Float[Tensor, "V D"]
    bias_V: Float[Tensor, " V"] | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def vocab_size(self) -> int:
        """V, the number of rows."""
        return self.weight_VD.shape[0]

    def logits(self, hidden_ND: Float[Tensor, "N D"], columns: slice = ALL) -> Float[Tensor, "N C"]:
        """Logits of some columns in fp32 (in float64 if the head is)."""
        bias_C = None if self.bias_V is None else self.bias_V[columns]
        # Mamba keeps its states in fp32, whatever its weights are in.
        hidden_ND = hidden_ND.to(self.weight_VD.dtype)
        logits_NC = torch.nn.functional.linear(hidden_ND, self.weight_VD[columns], bias_C)
        logits_NC = logits_NC.to(torch.promote_types(logits_NC.dtype, torch.float32))
        if self.scale != 1.0:
            logits_NC = logits_NC * self.scale
        if self.softcap is not None:
            logits_NC = (logits_NC / self.softcap).tanh() * self.softcap
        return logits_NC

    def logits_tile(
        self, states_ND: Float[Tensor, "N D"], columns: slice, buffers: TileBuffers, name: str
    ) -> Float[Tensor, "N C"]:
        """The same as `logits`, without gradient, written to the buffer `name`.

        Under autocast the product is made in the type of autocast, as in `logits`.
        """
        weight_CD = self.weight_VD.detach()[columns]
        kind = weight_CD.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight_CD.dtype
        out_NC = buffers.get(name, len(states_ND), len(weight_CD), dtype, weight_CD.device)
        torch.mm(states_ND.detach().to(dtype), weight_CD.to(dtype).T, out=out_NC)
        wide = torch.promote_types(dtype, torch.float32)
        if wide != dtype:
            out_NC = buffers.like(name, out_NC, wide).copy_(out_NC)
        if self.bias_V is not None:
            out_NC.add_(self.bias_V.detach()[columns])
        if self.scale != 1.0:
            out_NC.mul_(self.scale)
        return out_NC if self.softcap is None else out_NC.div_(self.softcap).tanh_().mul_(self.softcap)

    def backward_scaling(self, grad_NC: Float[Tensor, "N C"], logits_NC: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """Chain rule through scale and softcap: from the gradient at the logits to that at hidden W^T + bias.

        `grad_NC` is overwritten. `logits_NC` are the logits themselves.
        """
        if self.softcap is not None:
            # d/dx cap tanh(x / cap) = 1 - tanh^2 = 1 - (logit / cap)^2.
            grad_NC = grad_NC.mul_(1 - (logits_NC / self.softcap) ** 2)
        return grad_NC.mul_(self.scale) if self.scale != 1.0 else grad_NC

    def log_probs(self, hidden_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """log P over the whole vocabulary, of shape (N, V). Use it for references and small heads only."""
        return self.logits(hidden_ND).log_softmax(-1)


@dataclass(frozen=True)
class Hidden:
    """Last hidden states of N response tokens, and the head that reads them."""

    states_ND: Float[Tensor, "N D"]
    head: Head

    def __getitem__(self, index: Tensor | slice) -> "Hidden":
        return Hidden(self.states_ND[index], self.head)

    def __len__(self) -> int:
        return len(self.states_ND)

    def logits(self, columns: slice = ALL) -> Float[Tensor, "N C"]:
        return self.head.logits(self.states_ND, columns)

    def logits_tile(self, columns: slice, buffers: TileBuffers, name: str) -> Float[Tensor, "N C"]:
        return self.head.logits_tile(self.states_ND, columns, buffers, name)

    def log_probs(self) -> Float[Tensor, "N V"]:
        return self.head.log_probs(self.states_ND)
