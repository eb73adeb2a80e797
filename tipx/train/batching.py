"""Micro-batches: prompts and responses for one forward pass, and hidden states taken where they predict.

The hidden state that predicts response token t stands one place before it; for t = 0 that is the prompt's last token.

Only what is wanted is computed. With causal attention no state depends on a later token, so a sequence ends at the
place that predicts its last wanted token, and a sequence without one is left out: trimming is exact. Alike lengths go
together, and short ones go together in greater numbers, so that padding costs little.

Axes: B sequences and T response tokens of the rollout, b sequences and L places of one micro-batch, N wanted tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tipx.types import Rollout, response_ends


@dataclass(frozen=True)
class MicroBatch:
    """Some sequences, right-padded.

    `index_N` says which of the rollout's valid tokens, counted in row-major order, are wanted here; `positions_N` where
    in the flattened (b L) stands the state that predicts each.
    """

    ids_bL: Int[Tensor, "b L"]
    attention_bL: Int[Tensor, "b L"]
    positions_N: Int[Tensor, " N"]
    index_N: Int[Tensor, " N"]

    def hidden_states(self, body: nn.Module) -> Float[Tensor, "N D"]:
        """Last hidden states at the positions that predict the wanted tokens."""
        out = body(input_ids=self.ids_bL, attention_mask=self.attention_bL, use_cache=False)
        states_ND: Tensor = out.last_hidden_state.flatten(0, 1)[self.positions_N]
        return states_ND


def micro_batches(rollout: Rollout, wanted_BT: Bool[Tensor, "B T"], size: int) -> Iterator[MicroBatch]:
    """The sequences with wanted tokens, longest first; as much padded text at once as `size` of the longest would be.

    The longest is that of the whole rollout, wanted or not, so that trimming never makes a forward pass larger.
    """
    prompts = [len(prompt) for prompt in rollout.prompt_ids]
    # Through the place that predicts the last wanted token, which is not an input itself.
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
    """One token and nothing wanted: what a process without wanted tokens runs, since others wait for its gradients."""
    device = rollout.response_BT.device
    ids_bL = torch.tensor([list(rollout.prompt_ids[0][:1])], device=device)
    nothing_N = torch.zeros(0, dtype=torch.long, device=device)
    return MicroBatch(ids_bL, torch.ones_like(ids_bL), nothing_N, nothing_N)


def pack_rows(
    rollout: Rollout, wanted_BT: Bool[Tensor, "B T"], rows: Sequence[int], lengths: Sequence[int]
) -> MicroBatch:
    """One micro-batch of `rows`, each cut to its length in `lengths`; the first is the longest."""
    device = rollout.response_BT.device
    take_b = torch.tensor(rows, device=device)
    width = lengths[rows[0]]
    ids_bL = torch.zeros(len(rows), width, dtype=torch.long)
    attention_bL = torch.zeros_like(ids_bL)
    for i, b in enumerate(rows):
        prompt, n = rollout.prompt_ids[b], lengths[b]
        ids_bL[i, :n] = torch.tensor([*prompt, *rollout.response_BT[b, : max(n - len(prompt), 0)].tolist()][:n])
        attention_bL[i, :n] = 1
    number_BT = rollout.valid_BT.flatten().cumsum(0).reshape(rollout.valid_BT.shape) - 1
    row_N, step_N = wanted_BT[take_b].nonzero(as_tuple=True)
    before_b = torch.tensor([len(rollout.prompt_ids[b]) for b in rows], device=device) - 1
    positions_N = row_N * width + before_b[row_N] + step_N
    index_N = number_BT[take_b][row_N, step_N]
    return MicroBatch(ids_bL.to(device), attention_bL.to(device), positions_N, index_N)
