"""LM heads, and hidden states together with the head that reads them.

Axes: N tokens, D hidden size, V vocabulary rows that both models share, C columns (vocabulary entries) of one tile.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from tipx.vocab.buffers import TileBuffers
from tipx.vocab.products import multiply, widen, widen_factor

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
        """The same as `logits`, without gradient, from states in the head's type, written to the buffer `name`.

        Where `columns` go beyond the vocabulary, the logits are -inf.
        """
        weight_CD = self.weight_VD.detach()[columns]
        states_ND, count = states_ND.detach(), len(weight_CD)
        wide, device = widen(weight_CD.dtype), weight_CD.device
        out_NC = buffers.get(name, len(states_ND), columns.stop - columns.start, wide, device)
        logits_NC = out_NC[:, :count]
        multiply(widen_factor(states_ND, buffers, "states"), widen_factor(weight_CD, buffers, "weights").T, logits_NC)
        if self.bias_V is not None:
            logits_NC.add_(self.bias_V.detach()[columns])
        if self.scale != 1.0:
            logits_NC.mul_(self.scale)
        if self.softcap is not None:
            logits_NC.div_(self.softcap).tanh_().mul_(self.softcap)
        out_NC[:, count:] = -math.inf
        return out_NC

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

    def in_type_of_products(self) -> "Hidden":
        """The same without gradient, in the type in which products are made: that of autocast, or the head's own.

        A head that must be cast is cast here as a whole, once, and not tile by tile.
        """
        weight_VD = self.head.weight_VD.detach()
        kind = weight_VD.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight_VD.dtype
        # Mamba keeps its states in fp32, whatever its weights are in.
        return Hidden(self.states_ND.detach().to(dtype), replace(self.head, weight_VD=weight_VD.to(dtype)))

    def logits(self, columns: slice = ALL) -> Float[Tensor, "N C"]:
        return self.head.logits(self.states_ND, columns)

    def logits_tile(self, columns: slice, buffers: TileBuffers, name: str) -> Float[Tensor, "N C"]:
        return self.head.logits_tile(self.states_ND, columns, buffers, name)

    def log_probs(self) -> Float[Tensor, "N V"]:
        return self.head.log_probs(self.states_ND)
