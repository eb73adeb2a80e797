"""The LM-head engine: statistics and losses from hidden states, in tiles of (tokens x vocabulary).

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share, C columns of one tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tipx.divergences import GeneralisedJSD, TokenDivergence
from tipx.spec import Auto, Count, spec
from tipx.vocab.buffers import Buffers
from tipx.vocab.heads import Head, Hidden
from tipx.vocab.loss import Job, Known, TiledLoss, learn
from tipx.vocab.support import Leaders
from tipx.vocab.sweep import Side, sweep_one

__all__ = ["Head", "Hidden", "Known", "Scores", "Vocab"]

LIVE = 6  # tensors of one tile's size alive at the worst moment, fp32
BUDGET_MIB = {"cpu": 8}  # a tile that stays in the cache; elsewhere launches cost more than memory does
BUDGET_MIB_ELSEWHERE = 512
ROWS = {"cpu": 128}
ROWS_ELSEWHERE = 1024

TEACHER_ONLY = frozenset({"teacher_entropy", "teacher_logprob"})
STUDENT_ONLY = frozenset({"student_entropy", "student_logprob"})


@dataclass(frozen=True)
class Scores:
    """Statistics by name, shape (N,), nats; and what the loss can reuse, if both models were swept."""

    values: dict[str, Float[Tensor, " N"]]
    known: Known | None

    def __getitem__(self, index: Tensor | slice) -> "Scores":
        values = {name: value_N[index] for name, value_N in self.values.items()}
        return Scores(values, None if self.known is None else self.known[index])

    @classmethod
    def joined(cls, parts: Sequence["Scores"]) -> "Scores":
        """Parts of the same statistics put together."""
        values = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
        known = [part.known for part in parts if part.known is not None]
        return cls(values, Known.joined(known) if known else None)


@spec
class Vocab:
    """Tile sizes. `chunk` is rows of a tile; its columns are as many as fit `budget_mib`. `auto` suits the device."""

    chunk: Count | Auto
    budget_mib: Count | Auto

    def tiles(self, rows: int, size: int, device: torch.device) -> tuple[list[slice], list[slice]]:
        """Row and column slices of the tiles of (rows x size)."""
        high = min(max(rows, 1), ROWS.get(device.type, ROWS_ELSEWHERE) if self.chunk == "auto" else self.chunk)
        mib = BUDGET_MIB.get(device.type, BUDGET_MIB_ELSEWHERE) if self.budget_mib == "auto" else self.budget_mib
        wide = max(1, mib * 2**20 // (4 * LIVE * high))
        return cut(rows, high), cut(size, wide)

    @torch.no_grad()
    def stats(
        self,
        student: Hidden | None,
        teacher: Hidden,
        tokens_N: Int[Tensor, " N"],
        needs: frozenset[str],
        divergence: TokenDivergence,
    ) -> Scores:
        """The statistics named in `needs`, and no other head product than they take.

        `student` may be None when no need concerns it; `tokens_N` are the sampled tokens; `divergence` is what "loss"
        means. Raises KeyError for an unknown name and ValueError for a student that is missing.
        """
        if not needs:
            return Scores({}, None)
        if student is None and needs - TEACHER_ONLY:
            raise ValueError(f"statistics {sorted(needs)} need the student's hidden states")
        rows, columns = self.tiles(len(tokens_N), teacher.head.size, tokens_N.device)
        sweep = Sweep(needs, divergence, columns, Buffers())
        parts = [sweep(student and student[part], teacher[part], tokens_N[part]) for part in rows]
        if not parts:
            return Scores({name: torch.zeros(0, device=tokens_N.device) for name in needs}, None)
        return Scores.joined(parts)

    @torch.no_grad()
    def top(self, hidden: Hidden, k: int) -> tuple[Int[Tensor, "N k"], Float[Tensor, "N k"]]:
        """Ids and probabilities (over V) of the k likeliest tokens, the likeliest first."""
        rows, columns = self.tiles(len(hidden), hidden.head.size, hidden.states_ND.device)
        buffers, k = Buffers(), min(k, hidden.head.size)
        ids = [torch.zeros(0, k, dtype=torch.long, device=hidden.states_ND.device)]
        probs = [torch.zeros(0, k, device=hidden.states_ND.device)]
        for part in rows:
            leaders = Leaders(k, "student")
            lse_N = sweep_one(hidden[part], columns, buffers, leaders).lse_N
            if leaders.ids_Nk is not None and leaders.own_Nk is not None:
                ids.append(leaders.ids_Nk)
                probs.append((leaders.own_Nk - lse_N[:, None]).exp().float())
        return torch.cat(ids), torch.cat(probs)

    def loss(
        self,
        student: Hidden,
        teacher: Hidden,
        weights_K: Float[Tensor, " K"],
        divergence: TokenDivergence,
        known: Known | None = None,
    ) -> Float[Tensor, ""]:
        """Sum over kept tokens of weight * divergence, nats. Gradient to the student's hidden states and head.

        `known`: what scoring left of the same tokens under the same weights; without it two more head products.
        """
        if len(weights_K) == 0:
            # A micro-batch that keeps no token: other processes wait for every weight's gradient all the same.
            inputs = [student.states_ND, student.head.weight_VD, student.head.bias_V]
            return torch.stack([x[:0].sum() for x in inputs if x is not None]).sum()
        rows, columns = self.tiles(len(weights_K), student.head.size, weights_K.device)
        if known is None:
            with torch.no_grad():
                buffers = Buffers()
                known = Known.joined([learn(student[r], teacher[r], divergence, columns, buffers)[0] for r in rows])
        job = Job(student.head, teacher, weights_K, known, divergence, rows, columns)
        total: Tensor = TiledLoss.apply(student.states_ND, student.head.weight_VD, student.head.bias_V, job)
        return total


def cut(total: int, size: int) -> list[slice]:
    """Slices of `size` that cover `total`."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


@dataclass(frozen=True)
class Sweep:
    """The statistics of one row tile after another."""

    needs: frozenset[str]
    divergence: TokenDivergence
    columns: Sequence[slice]
    buffers: Buffers

    def __call__(self, student: Hidden | None, teacher: Hidden, tokens_N: Int[Tensor, " N"]) -> Scores:
        """Of these rows."""
        known: Known | None = None
        ours: Side | None = None
        theirs: Side | None = None
        found: dict[str, Tensor] = {}
        if student is not None and self.needs - TEACHER_ONLY - STUDENT_ONLY:
            known, ours, theirs = learn(student, teacher, self.divergence, self.columns, self.buffers)
            found = {"reverse_kl": ours.kl_to(theirs), "forward_kl": theirs.kl_to(ours), "loss": known.value_N}
            if "jsd" in self.needs:
                half = GeneralisedJSD(beta=0.5)
                found["jsd"] = learn(student, teacher, half, self.columns, self.buffers)[0].value_N
        elif student is not None and self.needs & STUDENT_ONLY:
            ours = sweep_one(student, self.columns, self.buffers)
        if theirs is None and self.needs & TEACHER_ONLY:
            theirs = sweep_one(teacher, self.columns, self.buffers)
        for role, hidden, side in (("student", student, ours), ("teacher", teacher, theirs)):
            if hidden is not None and side is not None:
                found[f"{role}_entropy"] = side.entropy_N
                if f"{role}_logprob" in self.needs:
                    found[f"{role}_logprob"] = token_logits(hidden, tokens_N) - side.lse_N
        return Scores({name: found[name] for name in self.needs}, known)


def token_logits(hidden: Hidden, tokens_N: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The logit of each row's own token."""
    head = hidden.head
    own = Head(head.weight_VD[tokens_N], None, 1.0, None)
    product_N = (hidden.states_ND * own.weight_VD).sum(
        -1, dtype=torch.promote_types(own.weight_VD.dtype, torch.float32)
    )
    if head.bias_V is not None:
        product_N = product_N + head.bias_V[tokens_N]
    product_N = product_N * head.scale
    return product_N if head.softcap is None else (product_N / head.softcap).tanh() * head.softcap
