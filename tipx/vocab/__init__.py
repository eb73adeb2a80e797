"""The LM-head engine: statistics and losses from hidden states. No tensor of size (tokens x vocabulary) is made.

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share, C columns of one tile.

Full logits take V / D times the memory of the hidden states (59 times for Qwen3-4B). So both axes are cut into tiles,
and the peak is a few tiles plus one (V x D) gradient, whatever N and the ratio are. `vocab_pass` computes statistics in
one pass over the tiles, `loss` computes the loss and its gradient, `support` handles divergences over the top k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tipx.divergences import GeneralisedJSD, TokenDivergence
from tipx.spec import Auto, Count, spec
from tipx.vocab.buffers import TileBuffers
from tipx.vocab.heads import Head, Hidden
from tipx.vocab.loss import ForwardSums, LossInputs, TiledLoss, compute_forward_sums
from tipx.vocab.support import RunningTopK
from tipx.vocab.vocab_pass import OnlineSums, sum_one_model

__all__ = ["ForwardSums", "Head", "Hidden", "Scores", "Vocab"]

LIVE_TILES = 6  # tensors of one tile's size that are alive at the worst moment, fp32
BUDGET_MIB = {"cpu": 8}  # such a tile stays in the cache; on other devices a launch costs more than memory does
BUDGET_MIB_ELSEWHERE = 512
TILE_ROWS = {"cpu": 128}
TILE_ROWS_ELSEWHERE = 1024

TEACHER_ONLY = frozenset({"teacher_entropy", "teacher_logprob"})
STUDENT_ONLY = frozenset({"student_entropy", "student_logprob"})


@dataclass(frozen=True)
class Scores:
    """Statistics by name, shape (N,), nats. `forward_sums` is for the loss; it is None unless both models were read."""

    values: dict[str, Float[Tensor, " N"]]
    forward_sums: ForwardSums | None

    def __getitem__(self, index: Tensor | slice) -> "Scores":
        values = {name: value_N[index] for name, value_N in self.values.items()}
        return Scores(values, None if self.forward_sums is None else self.forward_sums[index])

    @classmethod
    def concatenate(cls, parts: Sequence["Scores"]) -> "Scores":
        """The same statistics of several groups of tokens as one."""
        values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
        sums = [part.forward_sums for part in parts if part.forward_sums is not None]
        return cls(values, ForwardSums.concatenate(sums) if sums else None)


@spec
class Vocab:
    """The LM-head engine and its tiles. They change speed and memory, never the result beyond rounding."""

    chunk: Count | Auto
    """Rows (tokens) of a tile. auto: 128 on the CPU, 1,024 elsewhere."""
    budget_mib: Count | Auto
    """MiB of the tensors of one tile, which set its columns. auto: 8 on the CPU, 512 elsewhere."""

    def split_tiles(self, rows: int, size: int, device: torch.device) -> tuple[list[slice], list[slice]]:
        """Row slices and column slices of the tiles of a (rows x size) tensor."""
        auto_rows = TILE_ROWS.get(device.type, TILE_ROWS_ELSEWHERE)
        height = min(max(rows, 1), auto_rows if self.chunk == "auto" else self.chunk)
        mib = BUDGET_MIB.get(device.type, BUDGET_MIB_ELSEWHERE) if self.budget_mib == "auto" else self.budget_mib
        width = max(1, mib * 2**20 // (4 * LIVE_TILES * height))
        return split_slices(rows, height), split_slices(size, width)

    @torch.no_grad()
    def compute_statistics(
        self,
        student: Hidden | None,
        teacher: Hidden,
        tokens_N: Int[Tensor, " N"],
        needs: frozenset[str],
        divergence: TokenDivergence,
    ) -> Scores:
        """The statistics named in `needs`, with no more head products than these take.

        `student` may be None if no need concerns it. `tokens_N` are the sampled tokens. The statistic "loss" is
        `divergence`. Raises KeyError for an unknown name and ValueError for a missing student.
        """
        if not needs:
            return Scores({}, None)
        if student is None and needs - TEACHER_ONLY:
            raise ValueError(f"statistics {sorted(needs)} need the student's hidden states")
        rows, columns = self.split_tiles(len(tokens_N), teacher.head.vocab_size, tokens_N.device)
        scorer = TileScorer(needs, divergence, columns, TileBuffers())
        parts = [scorer.score_rows(student and student[part], teacher[part], tokens_N[part]) for part in rows]
        if not parts:
            return Scores({name: torch.zeros(0, device=tokens_N.device) for name in needs}, None)
        return Scores.concatenate(parts)

    @torch.no_grad()
    def find_top_tokens(self, hidden: Hidden, k: int) -> tuple[Int[Tensor, "N k"], Float[Tensor, "N k"]]:
        """Ids and probabilities (over V) of the k likeliest tokens. The likeliest comes first."""
        rows, columns = self.split_tiles(len(hidden), hidden.head.vocab_size, hidden.states_ND.device)
        buffers, k = TileBuffers(), min(k, hidden.head.vocab_size)
        ids = [torch.zeros(0, k, dtype=torch.long, device=hidden.states_ND.device)]
        probs = [torch.zeros(0, k, device=hidden.states_ND.device)]
        for part in rows:
            top = RunningTopK(k, "student")
            lse_N = sum_one_model(hidden[part], columns, buffers, top).lse_N
            if top.ids_Nk is not None and top.own_logits_Nk is not None:
                ids.append(top.ids_Nk)
                probs.append((top.own_logits_Nk - lse_N[:, None]).exp().float())
        return torch.cat(ids), torch.cat(probs)

    def compute_loss(
        self,
        student: Hidden,
        teacher: Hidden,
        weights_K: Float[Tensor, " K"],
        divergence: TokenDivergence,
        forward_sums: ForwardSums | None = None,
    ) -> Float[Tensor, ""]:
        """Sum over the kept tokens of weight * divergence, nats. The gradient goes to the student's states and head.

        `forward_sums` are those of scoring, for the same tokens and the same student weights. Without them the loss
        makes two more head products.
        """
        if len(weights_K) == 0:
            # A micro-batch that keeps no token still gives every weight a gradient: other processes wait for it.
            inputs = [student.states_ND, student.head.weight_VD, student.head.bias_V]
            return torch.stack([x[:0].sum() for x in inputs if x is not None]).sum()
        rows, columns = self.split_tiles(len(weights_K), student.head.vocab_size, weights_K.device)
        if forward_sums is None:
            with torch.no_grad():
                buffers = TileBuffers()
                parts = [compute_forward_sums(student[r], teacher[r], divergence, columns, buffers)[0] for r in rows]
                forward_sums = ForwardSums.concatenate(parts)
        loss_inputs = LossInputs(student.head, teacher, weights_K, forward_sums, divergence, rows, columns)
        total: Tensor = TiledLoss.apply(student.states_ND, student.head.weight_VD, student.head.bias_V, loss_inputs)
        return total


def split_slices(total: int, size: int) -> list[slice]:
    """Slices of length `size` that cover 0 to `total`. The last one may be shorter."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


@dataclass(frozen=True)
class TileScorer:
    """Computes the statistics named in `needs`, one row tile after another."""

    needs: frozenset[str]
    divergence: TokenDivergence
    columns: Sequence[slice]
    buffers: TileBuffers

    def score_rows(self, student: Hidden | None, teacher: Hidden, tokens_N: Int[Tensor, " N"]) -> Scores:
        """The statistics of the rows of one tile."""
        forward_sums: ForwardSums | None = None
        student_sums: OnlineSums | None = None
        teacher_sums: OnlineSums | None = None
        values: dict[str, Tensor] = {}
        if student is not None and self.needs - TEACHER_ONLY - STUDENT_ONLY:
            forward_sums, student_sums, teacher_sums = compute_forward_sums(
                student, teacher, self.divergence, self.columns, self.buffers
            )
            values = {
                "reverse_kl": student_sums.kl_to(teacher_sums),
                "forward_kl": teacher_sums.kl_to(student_sums),
                "loss": forward_sums.value_N,
            }
            if "jsd" in self.needs:
                jsd = GeneralisedJSD(beta=0.5)
                values["jsd"] = compute_forward_sums(student, teacher, jsd, self.columns, self.buffers)[0].value_N
        elif student is not None and self.needs & STUDENT_ONLY:
            student_sums = sum_one_model(student, self.columns, self.buffers)
        if teacher_sums is None and self.needs & TEACHER_ONLY:
            teacher_sums = sum_one_model(teacher, self.columns, self.buffers)
        for role, hidden, sums in (("student", student, student_sums), ("teacher", teacher, teacher_sums)):
            if hidden is not None and sums is not None:
                values[f"{role}_entropy"] = sums.entropy_N
                if f"{role}_logprob" in self.needs:
                    values[f"{role}_logprob"] = gather_token_logits(hidden, tokens_N) - sums.lse_N
        return Scores({name: values[name] for name in self.needs}, forward_sums)


def gather_token_logits(hidden: Hidden, tokens_N: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The logit of each row's own sampled token, from one row of the head for each."""
    head = hidden.head
    own = Head(head.weight_VD[tokens_N], None, 1.0, None)
    product_N = (hidden.states_ND * own.weight_VD).sum(
        -1, dtype=torch.promote_types(own.weight_VD.dtype, torch.float32)
    )
    if head.bias_V is not None:
        product_N = product_N + head.bias_V[tokens_N]
    product_N = product_N * head.scale
    return product_N if head.softcap is None else (product_N / head.softcap).tanh() * head.softcap
