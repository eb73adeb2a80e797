"""Micro-batches: prompts and responses packed for one forward pass, and hidden states taken where they predict.

The hidden state that predicts response token t stands one place before it; for t = 0 that is the prompt's last token.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tipx.types import Rollout


@dataclass(frozen=True)
class MicroBatch:
    """Rows [start, stop) of a rollout, right-padded; the N valid response tokens are in row-major order."""

    rows: slice
    ids_BL: Int[Tensor, "B L"]
    attention_BL: Int[Tensor, "B L"]
    predicts_BL: Bool[Tensor, "B L"]
    tokens_N: Int[Tensor, " N"]

    def hidden(self, body: nn.Module) -> Float[Tensor, "N D"]:
        """Last hidden states at the positions that predict the response tokens."""
        out = body(input_ids=self.ids_BL, attention_mask=self.attention_BL, use_cache=False)
        states_ND: Tensor = out.last_hidden_state[self.predicts_BL]
        return states_ND


def micro_batches(rollout: Rollout, size: int) -> Iterator[MicroBatch]:
    """The rollout in order, `size` sequences at a time."""
    for start in range(0, len(rollout), size):
        yield pack(rollout, slice(start, min(start + size, len(rollout))))


def pack(rollout: Rollout, rows: slice) -> MicroBatch:
    """One micro-batch, no wider than its longest sequence."""
    valid_BT, response_BT = rollout.valid_BT[rows], rollout.response_BT[rows]
    prompts, lengths = rollout.prompt_ids[rows], valid_BT.sum(-1).tolist()
    width = max(len(p) + n for p, n in zip(prompts, lengths, strict=True))
    ids_BL = torch.zeros(len(prompts), width, dtype=torch.long)
    attention_BL, predicts_BL = torch.zeros_like(ids_BL), torch.zeros(ids_BL.shape, dtype=torch.bool)
    for b, (prompt, n) in enumerate(zip(prompts, lengths, strict=True)):
        p = len(prompt)
        ids_BL[b, :p] = torch.tensor(prompt)
        ids_BL[b, p : p + n] = response_BT[b, :n].cpu()
        attention_BL[b, : p + n] = 1
        predicts_BL[b, p - 1 : p + n - 1] = True
    device = response_BT.device
    return MicroBatch(rows, ids_BL.to(device), attention_BL.to(device), predicts_BL.to(device), response_BT[valid_BT])
