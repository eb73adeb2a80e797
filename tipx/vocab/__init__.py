"""The LM-head engine: statistics and losses from hidden states, with the logits of few tokens at a time.

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share, C columns of one tile.

Full logits take V / D times the memory of the hidden states (59 times for Qwen3-4B). So both axes are cut into tiles,
and the peak is a few tiles plus one (V x D) gradient, whatever N and the ratio are. Where memory allows, the loss keeps
the tiles of some hundred rows over all columns, and so makes each logit once. `vocab_pass` computes statistics in
one pass over the tiles, `loss` computes the loss and its gradient, `support` handles divergences over the top k.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import psutil
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tipx.divergences import GeneralisedJSD, TokenDivergence
from tipx.spec import Auto, Count, spec
from tipx.vocab.buffers import TileBuffers
from tipx.vocab.compiled import run_compiled, run_plain
from tipx.vocab.fold import BLOCK, OnlineSums
from tipx.vocab.heads import Head, Hidden
from tipx.vocab.loss import ForwardSums, Gradients, LossInputs, TiledLoss, compute_forward_sums
from tipx.vocab.products import widen
from tipx.vocab.support import RunningTopK
from tipx.vocab.vocab_pass import RowTile, Tiles, sum_one_model

__all__ = ["ForwardSums", "Head", "Hidden", "Scores", "Vocab"]

LIVE_TILES = {True: 2, False: 6}
"""Tensors of one tile's size that are alive at the worst moment, fp32, with compiled kernels and without."""
TILE_MIB = {"cpu": 4}
"""MiB of the tensors of one tile. They stay in the nearest large cache, which on a GPU has some 50 MB."""
TILE_MIB_ELSEWHERE = 32
TILE_ROWS = {"cpu": 256}
TILE_ROWS_ELSEWHERE = 2048
FEWEST_KEPT_ROWS = 64
"""Products of fewer rows read the head so often that making the logits twice costs less."""
AUTO_SHARE = 32
"""auto takes so small a part of the device's memory: of all of it, not of what is free now, so that a run that resumes
makes the same tiles."""
AUTO_MIB = {"cpu": 320}
"""At most. It holds the logits of both models for one tile's rows and 150,000 vocabulary entries."""
AUTO_MIB_ELSEWHERE = 2560
SMALLEST_COMPILED = 16384
"""Vocabulary entries from which `compile: auto` compiles."""

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
    """Rows (tokens) of a tile. auto: 256 on the CPU, 2,048 elsewhere."""
    budget_mib: Count | Auto
    """MiB for logits. Where they hold a tile's rows over the whole vocabulary, the loss makes logits once, not twice.
    auto: 1/32 of the device's memory, at most 320 on the CPU and 2,560 elsewhere. 8 is the lean way."""
    compile: Literal[True, False, "auto"]
    """true: one compiled kernel does all that is done with a tile. false: plain torch. auto: compiled from 16,384
    vocabulary entries on, if a compiler works here."""

    def split_tiles(self, rows: int, size: int, device: torch.device, *, keep: bool) -> Tiles:
        """The tiles of a (rows x size) tensor. With `keep`, logits are kept where the budget allows."""
        fused = size >= SMALLEST_COMPILED if self.compile == "auto" else self.compile
        height = TILE_ROWS.get(device.type, TILE_ROWS_ELSEWHERE) if self.chunk == "auto" else self.chunk
        height, budget = min(max(rows, 1), height), self.find_budget(device)
        kept_rows = budget * 2**20 // (2 * 4 * size)
        keeps = keep and kept_rows >= min(height, FEWEST_KEPT_ROWS)
        if keeps:
            height = min(height, kept_rows)
        mib = min(budget, TILE_MIB.get(device.type, TILE_MIB_ELSEWHERE))
        width = max(1, mib * 2**20 // (4 * LIVE_TILES[fused] * height))
        if fused:
            # Whole blocks; the last tile goes beyond the vocabulary, so that all have one shape.
            width = min(max(width // BLOCK, 1), -(-size // BLOCK)) * BLOCK
            columns = [slice(start, start + width) for start in range(0, size, width)]
        else:
            columns = split_slices(size, width)
        return Tiles(split_slices(rows, height), columns, keeps, run_compiled if fused else run_plain)

    def find_budget(self, device: torch.device) -> int:
        """MiB for logits on the device."""
        if self.budget_mib != "auto":
            return self.budget_mib
        least, most = TILE_MIB.get(device.type, TILE_MIB_ELSEWHERE), AUTO_MIB.get(device.type, AUTO_MIB_ELSEWHERE)
        return max(least, min(most, find_memory(device) // AUTO_SHARE // 2**20))

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
        student, teacher = student and student.in_type_of_products(), teacher.in_type_of_products()
        tiles = self.split_tiles(len(tokens_N), teacher.head.vocab_size, tokens_N.device, keep=False)
        scorer = TileScorer(needs, divergence, tiles, TileBuffers())
        # A process without tokens gives the same names as others do: they gather each of them together.
        rows = tiles.rows or [slice(0, 0)]
        with without_autocast(tokens_N.device):
            return Scores.concatenate(
                [scorer.score_rows(student and student[r], teacher[r], tokens_N[r]) for r in rows]
            )

    @torch.no_grad()
    def find_top_tokens(self, hidden: Hidden, k: int) -> tuple[Int[Tensor, "N k"], Float[Tensor, "N k"]]:
        """Ids and probabilities (over V) of the k likeliest tokens. The likeliest comes first."""
        device, hidden = hidden.states_ND.device, hidden.in_type_of_products()
        tiles = self.split_tiles(len(hidden), hidden.head.vocab_size, device, keep=False)
        buffers, k = TileBuffers(), min(k, hidden.head.vocab_size)
        ids = [torch.zeros(0, k, dtype=torch.long, device=device)]
        probs = [torch.zeros(0, k, device=device)]
        for part in tiles.rows:
            top = RunningTopK(k, "student")
            with without_autocast(device):
                lse_N = sum_one_model(hidden[part], tiles, buffers, top).lse_N
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
        return self.compute_loss_and_statistics(student, teacher, weights_K, divergence, forward_sums)[0]

    def compute_loss_and_statistics(
        self,
        student: Hidden,
        teacher: Hidden,
        weights_K: Float[Tensor, " K"],
        divergence: TokenDivergence,
        forward_sums: ForwardSums | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, " K"]]]:
        """The loss, as `compute_loss` gives it, and the statistics of the kept tokens that it knows by the way.

        These are the loss of each token and, without `forward_sums`, its entropies and both KLs.
        """
        leaves = [student.states_ND, student.head.weight_VD, student.head.bias_V]
        if len(weights_K) == 0:
            # A micro-batch that keeps no token still gives every weight a gradient: other processes wait for it.
            return torch.stack([leaf[:0].sum() for leaf in leaves if leaf is not None]).sum(), {}
        device, wanted = weights_K.device, [leaf is not None and leaf.requires_grad for leaf in leaves]
        tiles = self.split_tiles(len(weights_K), student.head.vocab_size, device, keep=forward_sums is None)
        inputs = LossInputs(student.in_type_of_products(), teacher.in_type_of_products(), weights_K, divergence, tiles)
        gradients, statistics = None, dict[str, Tensor]()
        if forward_sums is None:
            if tiles.keeps and torch.is_grad_enabled():
                gradients = Gradients.start(inputs.student, wanted)
            with without_autocast(device):
                forward_sums, student_sums, teacher_sums = inputs.compute_forward(gradients)
            statistics = collect_statistics(student_sums, teacher_sums)
        total: Tensor = TiledLoss.apply(*leaves, inputs, forward_sums, gradients)
        return total, statistics | {"loss": forward_sums.value_N}


def find_memory(device: torch.device) -> int:
    """Bytes of memory that the device has in all."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().total)
    return int(torch.accelerator.get_memory_info(device)[1])


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Inside, factors are multiplied in the type that they have: `in_type_of_products` has cast them."""
    return torch.autocast(device.type, enabled=False)


def collect_statistics(student: OnlineSums, teacher: OnlineSums) -> dict[str, Float[Tensor, " N"]]:
    """The statistics that both models' sums give."""
    return {
        "student_entropy": student.entropy_N,
        "teacher_entropy": teacher.entropy_N,
        "reverse_kl": student.kl_to(teacher),
        "forward_kl": teacher.kl_to(student),
    }


def split_slices(total: int, size: int) -> list[slice]:
    """Slices of length `size` that cover 0 to `total`. The last one may be shorter."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


@dataclass(frozen=True)
class TileScorer:
    """Computes the statistics named in `needs`, one row tile after another, and those that come with them for free."""

    needs: frozenset[str]
    divergence: TokenDivergence
    tiles: Tiles
    buffers: TileBuffers

    def score_rows(self, student: Hidden | None, teacher: Hidden, tokens_N: Int[Tensor, " N"]) -> Scores:
        """The statistics of the rows of one tile."""
        forward_sums: ForwardSums | None = None
        sums: dict[str, OnlineSums] = {}
        values: dict[str, Tensor] = {}
        if student is not None and self.needs - TEACHER_ONLY - STUDENT_ONLY:
            tile = RowTile(student, teacher, self.tiles, self.buffers)
            forward_sums, sums["student"], sums["teacher"] = compute_forward_sums(tile, self.divergence)
            values = collect_statistics(sums["student"], sums["teacher"]) | {"loss": forward_sums.value_N}
            if "jsd" in self.needs:
                values["jsd"] = compute_forward_sums(tile, GeneralisedJSD(beta=0.5))[0].value_N
        elif student is not None and self.needs & STUDENT_ONLY:
            sums["student"] = sum_one_model(student, self.tiles, self.buffers)
        if "teacher" not in sums and self.needs & TEACHER_ONLY:
            sums["teacher"] = sum_one_model(teacher, self.tiles, self.buffers)
        for role, hidden in (("student", student), ("teacher", teacher)):
            if hidden is not None and role in sums:
                values[f"{role}_entropy"] = sums[role].entropy_N
                if f"{role}_logprob" in self.needs:
                    values[f"{role}_logprob"] = gather_token_logits(hidden, tokens_N) - sums[role].lse_N
        if unknown := self.needs - values.keys():
            raise KeyError(f"no statistics of these names: {sorted(unknown)}")
        return Scores(values, forward_sums)


def gather_token_logits(hidden: Hidden, tokens_N: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The logit of each row's own sampled token, from one row of the head for each."""
    head = hidden.head
    wide = widen(head.weight_VD.dtype)
    product_N = (hidden.states_ND.to(wide) * head.weight_VD[tokens_N].to(wide)).sum(-1)
    if head.bias_V is not None:
        product_N = product_N + head.bias_V[tokens_N]
    product_N = product_N * head.scale
    return product_N if head.softcap is None else (product_N / head.softcap).tanh() * head.softcap
