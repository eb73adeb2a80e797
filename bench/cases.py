"""What is compared: each case takes hidden states of both models, keeps some tokens, and does loss and backward.

Axes: N tokens, K tokens kept, D hidden size, V vocabulary. All cases minimise the mean reverse KL of the kept tokens
unless their objective says otherwise, so that loss and gradients can be held against each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from jaxtyping import Float
from torch import Tensor

from bench import peers
from tipx import config
from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, TopKDivergence
from tipx.vocab import ForwardSums, Head, Hidden, Vocab

# Student, teacher, K -> loss; the gradient is left in the student's leaves. The backward pass belongs to the case,
# because what a caller still holds meanwhile is part of its peak.
Step = Callable[[Hidden, Hidden, int], Tensor]

CPU_ROWS = 128  # rows of one of our tiles on the CPU: more tokens than that need no more memory


@dataclass(frozen=True)
class Case:
    """An implementation. `rule` is how it chooses tokens; None: it knows no selection and takes every token."""

    name: str
    step: Step
    rule: str | None = None
    every: bool = True  # whether it is measured at ratio 1 as well
    rows: int | None = None  # memory stops growing with N there; None: it never does
    package: str | None = None  # what has to be installed
    objective: str = "reverse KL"
    tolerance: float = 1e-4  # relative, of loss and gradient norms
    extra: bool = False  # left out of the short run

    def ratios(self, wanted: list[float]) -> list[float]:
        """The ratios among `wanted` at which this case is measured."""
        return [r for r in wanted if (self.every if r == 1 else self.rule is not None)]


def inputs(
    tokens: int,
    vocab: int,
    hidden: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Hidden, Hidden]:
    """Random student and teacher. Logits of different scale, so that scores differ by more than rounding.

    They are drawn on the device (None: the CPU) in fp32, and rounded to `dtype`.
    """
    made = torch.Generator(device or "cpu").manual_seed(0)
    draw = partial(torch.randn, generator=made, device=device)
    states = [draw(tokens, hidden) for _ in range(2)]
    weights = [(draw(vocab, hidden) / hidden**0.5).to(dtype) for _ in range(2)]
    order_N = torch.randperm(tokens, generator=made, device=device)
    scale_N1 = torch.linspace(0.5, 4, tokens, device=device)[order_N, None]
    student, teacher = (Hidden((s * scale_N1).to(dtype), Head(w)) for s, w in zip(states, weights, strict=True))
    student.states_ND.requires_grad_()
    student.head.weight_VD.requires_grad_()
    return student, teacher


def first(score_N: Float[Tensor, " N"], kept: int) -> Tensor:
    """Indices of the highest scores, in the tokens' order."""
    return score_N.topk(kept).indices.sort().values


@cache
def default_engine() -> Vocab:
    """The LM-head engine as a run has it by default."""
    engine: Vocab = config.build(config.load([])).vocab
    return engine


def tipx(
    rule: str,
    divergence: TokenDivergence,
    student: Hidden,
    teacher: Hidden,
    kept: int,
    engine: Vocab | None = None,
) -> Tensor:
    """This project: score in tiles what the rule asks for, keep, then the loss in tiles.

    `engine` is None for that of a run by default.
    """
    engine, sums = engine or default_engine(), None
    weights_K = torch.full((kept,), 1 / kept, device=student.states_ND.device)
    if kept < len(student):
        index, sums = choose(engine, rule, student, teacher, kept)
        student, teacher = student[index], teacher[index]
    loss = engine.compute_loss(student, teacher, weights_K, divergence, sums)
    loss.backward()
    return loss.detach()


NEEDS = {"both": frozenset({"student_entropy", "reverse_kl"}), "entropy": frozenset({"student_entropy"})}


def choose(
    engine: Vocab, rule: str, student: Hidden, teacher: Hidden, kept: int
) -> tuple[Tensor | slice, ForwardSums | None]:
    """The kept tokens, and what scoring left of them for the loss."""
    if rule == "prefix":
        return slice(kept), None
    device = student.states_ND.device
    if rule == "random":
        index_N = torch.randperm(len(student), generator=torch.Generator().manual_seed(1))
        return index_N[:kept].to(device), None
    tokens_N = torch.zeros(len(student), dtype=torch.long, device=device)
    scores = engine.compute_statistics(student, teacher, tokens_N, NEEDS[rule], ReverseKL())
    ranked_N = torch.stack([scores.values[name] for name in sorted(NEEDS[rule])]).sum(0)
    index = first(ranked_N, kept)
    return index, scores.forward_sums and scores.forward_sums[index]


def full(student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The usual way: all logits and their log-softmax first, then select."""
    student_NV, teacher_NV = student.log_probs(), teacher.log_probs()
    value_N = (student_NV.exp() * (student_NV - teacher_NV)).sum(-1)
    if kept < len(student):
        with torch.no_grad():
            entropy_N = -(student_NV.exp() * student_NV).sum(-1)
        value_N = value_N[first(entropy_N + value_N.detach(), kept)]
    loss = value_N.mean()
    loss.backward()
    return loss.detach()


def paper(chunk: int, cache: torch.dtype, student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """As the paper's public code works: logits of both models, selection on them, then a loop over rows in fp32.

    Nothing is recomputed, so that autograd keeps every chunk until the backward pass. The teacher's logits wait in
    `cache` precision, and their chunks are copies. The caller holds the kept student logits to the end.
    """
    with torch.no_grad():
        teacher_NV = teacher.logits().to(cache)
    student_NV = student.logits()
    if kept < len(student):
        index = first(logit_scores(student_NV, teacher_NV, chunk), kept)
        student_NV, teacher_NV = student_NV[index], teacher_NV[index]
    waiting = [part.clone() for part in teacher_NV.split(chunk)]
    total = student_NV.new_zeros((), dtype=torch.float32)
    for start in range(0, kept, chunk):
        log_q_CV = waiting.pop(0).float().log_softmax(-1)
        log_p_CV = student_NV[start : start + chunk].float().log_softmax(-1)
        total = total + (log_p_CV.exp() * (log_p_CV - log_q_CV)).sum()
        del log_p_CV, log_q_CV
    del teacher_NV
    loss = total / kept
    loss.backward()
    return loss.detach()


@torch.no_grad()
def logit_scores(student_NV: Tensor, teacher_NV: Tensor, chunk: int) -> Float[Tensor, " N"]:
    """Entropy + reverse KL from logits, in chunks of rows."""
    parts = []
    for student_CV, teacher_CV in zip(student_NV.split(chunk), teacher_NV.split(chunk), strict=True):
        log_p_CV, log_q_CV = student_CV.float().log_softmax(-1), teacher_CV.float().log_softmax(-1)
        p_CV = log_p_CV.exp()
        parts.append((p_CV * (log_p_CV - log_q_CV)).sum(-1) - (p_CV * log_p_CV).sum(-1))
    return torch.cat(parts)


FULL, PAPER = "full logits", "paper-style, chunk 512"
# The kernel of TRL's DistillationTrainer is Triton's; without a GPU torch does the same tiles.
TRL, TRL_TILES = "TRL's CPU fallback, as shipped", "TRL's CPU fallback, tiles 64 x 4096"
OURS = {
    "both": "tipx, scores both models",
    "entropy": "tipx, scores the student",
    "random": "tipx, random",
    "prefix": "tipx, prefix",
}
ALL_TOKENS = "tipx, all tokens"
TRL_WIDE = "TRL's CPU fallback, tiles 256 x 8192"
LIGER, LIGER_SMALL = "Liger, chunk 1024", "Liger, chunk 64"
OURS_TOP, TRL_TOP = "tipx, teacher's top 64", "TRL async, teacher's top 64"
VERL_TOP, TEACHER_TOP = "verl-style, teacher's top 64", "of these the teacher's pass"
LOOSE = 0.02  # a teacher cached in bf16 moves the loss


def listed() -> dict[str, Case]:
    """Every case, by name, in the order of the tables."""
    reverse, jsd = ReverseKL(), GeneralisedJSD(beta=0.5)
    ours = [Case(ALL_TOKENS, partial(tipx, "", reverse), rows=CPU_ROWS)]
    ours += [
        Case(name, partial(tipx, rule, reverse), rule=rule, every=False, rows=CPU_ROWS) for rule, name in OURS.items()
    ]
    half, single = torch.bfloat16, torch.float32
    plain = [
        Case(FULL, full, rule="both"),
        Case(PAPER, partial(paper, 512, half), rule="both", tolerance=LOOSE),
        Case("paper-style, chunk 64", partial(paper, 64, half), rule="both", tolerance=LOOSE, extra=True),
        Case("paper-style, chunk 512, fp32 cache", partial(paper, 512, single), rule="both", extra=True),
    ]
    trl = Case(TRL, partial(peers.trl_tiled, 1.0, None), rows=4096, package="trl")
    gkd = Case("TRL, GKDTrainer's loss", partial(peers.trl_gkd, 1.0), package="trl")
    liger = Case(LIGER, partial(peers.liger, 1.0, 1024), rows=1024, package="liger_kernel")
    return {
        case.name: case
        for case in [
            *ours,
            *plain,
            trl,
            replace(trl, name=TRL_WIDE, step=partial(peers.trl_tiled, 1.0, (256, 8192)), rows=256),
            replace(trl, name=TRL_TILES, step=partial(peers.trl_tiled, 1.0, (64, 4096)), rows=64),
            gkd,
            liger,
            replace(liger, name=LIGER_SMALL, step=partial(peers.liger, 1.0, 64), rows=64),
            Case("tipx, all tokens, JSD", partial(tipx, "", jsd), rows=CPU_ROWS, objective="JSD", extra=True),
            replace(trl, name=f"{TRL}, JSD", step=partial(peers.trl_tiled, 0.5, None), objective="JSD", extra=True),
            replace(
                gkd, name="TRL, GKDTrainer's loss, JSD", step=partial(peers.trl_gkd, 0.5), objective="JSD", extra=True
            ),
            *top_cases(),
        ]
    }


def top_cases() -> list[Case]:
    """Losses over the teacher's likeliest entries only. Those of one objective agree."""
    with_tail = TopKDivergence(base=ForwardKL(), k=peers.TOP, support="teacher", tail=True)
    first = Case(OURS_TOP, partial(tipx, "", with_tail), rows=CPU_ROWS, objective="top k with tail", extra=True)
    theirs = replace(first, name=TRL_TOP, step=peers.trl_top, rows=peers.ROWS, package="trl")
    plain = replace(first, rows=peers.ROWS)
    return [
        first,
        theirs,
        replace(plain, name=VERL_TOP, step=peers.verl_top, objective="top k, cut off"),
        replace(plain, name=TEACHER_TOP, step=peers.teacher_alone, objective="none"),
    ]
