"""Micro-batches: some prompts with their responses for one forward pass, and the hidden states that predict tokens.

Axes: B sequences and T response tokens of the rollout, b sequences and L positions of one micro-batch, N wanted tokens.

The hidden state that predicts response token t is at the position before it. For t = 0 this is the last prompt token.

A selector wants few of the tokens. With causal attention no state depends on a later token. So a sequence is cut after
the position that predicts its last wanted token, and a sequence without wanted tokens is left out. The states are the
same as without cutting. Sequences of similar length go together, and more of them if they are short, so that there is
little padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tipx.types import Rollout, response_ends


@dataclass(frozen=True)
class MicroBatch:
    """Some sequences, right-padded, and the N wanted tokens among them.

    `index_N` are the numbers of the wanted tokens among all valid tokens of the rollout, counted in row-major order.
    `positions_N` are the positions, in the flattened (b L), of the states that predict them.
    """

    ids_bL: Int[Tensor, "b L"]
    attention_bL: Int[Tensor, "b L"]
    positions_N: Int[Tensor, " N"]
    index_N: Int[Tensor, " N"]

    def hidden_states(self, backbone: nn.Module) -> Float[Tensor, "N D"]:
        """The backbone's last hidden states at the positions that predict the wanted tokens."""
        out = backbone(input_ids=self.ids_bL, attention_mask=self.attention_bL, use_cache=False)
        states_ND: Tensor = out.last_hidden_state.flatten(0, 1)[self.positions_N]
        return states_ND


def micro_batches(rollout: Rollout, wanted_BT: Bool[Tensor, "B T"], size: int) -> Iterator[MicroBatch]:
    """The sequences with wanted tokens, the longest first.

    Each micro-batch has at most as many positions, padding included, as `size` sequences of the longest length. The
    longest is taken over the whole rollout, before cutting, so that cutting never makes a forward pass larger.
    """
    prompts = [len(prompt) for prompt in rollout.prompt_ids]
    # The last input predicts the last wanted token, so the length is one less than up to that token.
    lengths = [p + end - 1 if end else 0 for p, end in zip(prompts, response_ends(wanted_BT), strict=True)]
    room = size * max(p + max(n - 1, 0) for p, n in zip(prompts, response_ends(rollout.valid_BT), strict=True))
    rows: list[int] = []
    for row in sorted((b for b in range(len(rollout)) if lengths[b]), key=lambda b: -lengths[b]):
        if rows and (len(rows) + 1) * lengths[rows[0]] > room:
            yield pack_rows(rollout, wanted_BT, rows, lengths)
            rows = []
        rows.append(row)
    if rows:
        yield pack_rows(rollout, wanted_BT, rows, lengths)


def idle_batch(rollout: Rollout) -> MicroBatch:
    """One token that nobody wants. A process without wanted tokens runs it, because others wait for its gradients."""
    device = rollout.response_BT.device
    ids_bL = torch.tensor([list(rollout.prompt_ids[0][:1])], device=device)
    nothing_N = torch.zeros(0, dtype=torch.long, device=device)
    return MicroBatch(ids_bL, torch.ones_like(ids_bL), nothing_N, nothing_N)


def pack_rows(
    rollout: Rollout, wanted_BT: Bool[Tensor, "B T"], rows: Sequence[int], lengths: Sequence[int]
) -> MicroBatch:
    """One micro-batch of the rows `rows`, each cut to its length in `lengths`. The first must be the longest."""
    device = rollout.response_BT.device
    rows_b = torch.tensor(rows, device=device)
    width = lengths[rows[0]]
    ids_bL = torch.zeros(len(rows), width, dtype=torch.long)
    attention_bL = torch.zeros_like(ids_bL)
    for i, b in enumerate(rows):
        prompt, n = rollout.prompt_ids[b], lengths[b]
        ids_bL[i, :n] = torch.tensor([*prompt, *rollout.response_BT[b, : max(n - len(prompt), 0)].tolist()][:n])
        attention_bL[i, :n] = 1
    number_BT = rollout.valid_BT.flatten().cumsum(0).reshape(rollout.valid_BT.shape) - 1
    row_N, step_N = wanted_BT[rows_b].nonzero(as_tuple=True)
    # Response token t is input len(prompt) + t. The state one position earlier predicts it.
    before_b = torch.tensor([len(rollout.prompt_ids[b]) for b in rows], device=device) - 1
    positions_N = row_N * width + before_b[row_N] + step_N
    index_N = number_BT[rows_b][row_N, step_N]
    return MicroBatch(ids_bL.to(device), attention_bL.to(device), positions_N, index_N)
