"""The LM-head engine: statistics and losses from hidden states, in row tiles, so that (N x V) never exists.

Axes: N tokens scored, K tokens kept, D hidden size, V vocabulary rows that both models share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, entropy
from tipx.spec import Auto, Count, spec

BYTES_PER_LOGIT = 4 * 8  # fp32, and about eight tile-sized tensors alive at the worst moment of a backward pass
TEACHER_ONLY = frozenset({"teacher_entropy", "teacher_logprob"})
STUDENT_ONLY = frozenset({"student_entropy", "student_logprob"})


@dataclass(frozen=True)
class Head:
    """An LM head: hidden states to logits of the first V rows."""

    weight_VD: Float[Tensor, "V D"]
    bias_V: Float[Tensor, " V"] | None = None

    def log_probs(self, hidden_ND: Float[Tensor, "N D"]) -> Float[Tensor, "N V"]:
        """Log P over the vocabulary, fp32 (or float64 when the head is)."""
        logits_NV = torch.nn.functional.linear(hidden_ND, self.weight_VD, self.bias_V)
        wide = torch.promote_types(logits_NV.dtype, torch.float32)
        return logits_NV.to(wide).log_softmax(-1)


@dataclass(frozen=True)
class Hidden:
    """Last hidden states of the N response positions of one micro-batch, with the head that reads them."""

    states_ND: Float[Tensor, "N D"]
    head: Head

    def __getitem__(self, index: Tensor | slice) -> "Hidden":
        return Hidden(self.states_ND[index], self.head)

    def __len__(self) -> int:
        return len(self.states_ND)

    def log_probs(self) -> Float[Tensor, "N V"]:
        return self.head.log_probs(self.states_ND)


@spec
class Vocab:
    """Tile size: `chunk` rows, or as many as fit `budget_mib` (`chunk: auto`)."""

    chunk: Count | Auto
    budget_mib: Count

    def tiles(self, rows: int, vocab: int) -> Iterator[slice]:
        """Row slices of one tile each."""
        size = self.chunk if self.chunk != "auto" else max(1, self.budget_mib * 2**20 // (vocab * BYTES_PER_LOGIT))
        return (slice(start, min(start + size, rows)) for start in range(0, rows, size))

    @torch.no_grad()
    def stats(
        self,
        student: Hidden | None,
        teacher: Hidden,
        tokens_N: Int[Tensor, " N"],
        needs: frozenset[str],
        divergence: TokenDivergence,
    ) -> dict[str, Float[Tensor, " N"]]:
        """The statistics named in `needs`, and no other head product than they take.

        `student` may be None when no need concerns it; `tokens_N` are the sampled tokens; `divergence` is what "loss"
        means. Detached, nats.
        """
        if not needs:
            return {}
        wants_student, wants_teacher = bool(needs - TEACHER_ONLY), bool(needs - STUDENT_ONLY)
        parts: dict[str, list[Tensor]] = {name: [] for name in sorted(needs)}
        for tile in self.tiles(len(tokens_N), teacher.head.weight_VD.shape[0]):
            if wants_student and student is None:
                raise ValueError(f"statistics {sorted(needs)} need the student's hidden states")
            student_NV = student[tile].log_probs() if wants_student and student is not None else None
            teacher_NV = teacher[tile].log_probs() if wants_teacher else None
            for name, values in parts.items():
                values.append(statistic(name, student_NV, teacher_NV, tokens_N[tile], divergence))
        return {name: torch.cat(values) if values else torch.zeros(0) for name, values in parts.items()}

    def loss(
        self, student: Hidden, teacher: Hidden, weights_K: Float[Tensor, " K"], divergence: TokenDivergence
    ) -> Float[Tensor, ""]:
        """Sum over kept tokens of weight * divergence, nats. Gradient to the student's hidden states and head."""

        # Each tile is recomputed in the backward pass: a plain loop would keep every tile's log-probabilities alive.
        def one(states_KD: Tensor, weight_VD: Tensor, tile: slice) -> Tensor:
            head = Head(weight_VD, student.head.bias_V)
            rows_K = divergence(head.log_probs(states_KD), teacher[tile].log_probs())
            return (rows_K * weights_K[tile]).sum()

        total = student.states_ND.sum() * 0.0
        # A micro-batch that keeps no token takes one empty tile: other processes wait for every weight's gradient.
        for tile in list(self.tiles(len(weights_K), student.head.weight_VD.shape[0])) or [slice(0, 0)]:
            total = total + checkpoint(one, student.states_ND[tile], student.head.weight_VD, tile, use_reentrant=False)
        return total


def statistic(
    name: str,
    student_NV: Float[Tensor, "N V"] | None,
    teacher_NV: Float[Tensor, "N V"] | None,
    tokens_N: Int[Tensor, " N"],
    divergence: TokenDivergence,
) -> Float[Tensor, " N"]:
    """One named statistic of `TokenStats` from log-probabilities."""
    own = {"student": student_NV, "teacher": teacher_NV}.get(name.split("_", maxsplit=1)[0])
    if own is not None:
        return entropy(own) if name.endswith("entropy") else own.gather(-1, tokens_N[:, None])[:, 0]
    between: dict[str, TokenDivergence] = {
        "reverse_kl": ReverseKL(),
        "forward_kl": ForwardKL(),
        "jsd": GeneralisedJSD(beta=0.5),
        "loss": divergence,
    }
    if student_NV is None or teacher_NV is None or name not in between:
        raise ValueError(f"unknown statistic {name!r}")
    return between[name](student_NV, teacher_NV)
