"""Every path on the device against the CPU: statistics, losses and gradients, a training step, decoding.

Factors are rounded to bfloat16 first, and both sides get the same. So what differs is what the device and its kernels
do, and bounds are tight: logits and sums are fp32 in either, and gradients are rounded to bfloat16 in the end.

Axes: N tokens, K tokens kept, D hidden size, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from bench.cases import NEEDS, choose, inputs
from bench.gpu_check import decoding, training_step
from bench.gpu_check.results import Cell, Work
from tipx.divergences import ForwardKL, GeneralisedJSD, ReverseKL, TokenDivergence, TopKDivergence
from tipx.vocab import ForwardSums, Head, Hidden, Vocab
from tipx.vocab.compiled import FAILED

CPU = torch.device("cpu")
STATISTICS = frozenset({*NEEDS["both"], "forward_kl", "jsd", "teacher_entropy", "student_logprob", "teacher_logprob"})
STATISTICS_BOUND = 1e-3
"""Of the statistics' errors, nats."""
BOUNDS = {torch.float32: (3e-4, 1e-3, 3e-4), torch.bfloat16: (1e-3, 5e-3, 1e-3)}
"""Relative, by the type of the factors: of the loss, of the gradients as vectors, and of their length along what they
should be. The rounding of a gradient to bfloat16 is 0.17 % of it, and leaves that length alone."""
PATHS = {"full": "", "both models": "both", "entropy alone": "entropy", "random": "random"}
"""What chooses the tokens, and what `bench.cases` calls it; "" is none."""


@dataclass(frozen=True)
class Sizes:
    """Of the inputs, and rows of a tile."""

    tokens: int
    vocab: int
    hidden: int
    rows: int
    divergences: int
    """How many of them are compiled: each takes seconds."""


FULL, SMALL = Sizes(256, 32_768, 256, 128, 4), Sizes(96, 4_096, 32, 48, 1)


def list_divergences() -> dict[str, TokenDivergence]:
    """Every divergence, and the top k in its ways."""
    top = TopKDivergence(base=ReverseKL(), k=64, support="teacher", tail=True)
    return {
        "reverse KL": ReverseKL(),
        "forward KL": ForwardKL(),
        "JSD": GeneralisedJSD(beta=0.5),
        "teacher's top 64, tail": top,
        "student's top 64, forward KL": replace(top, base=ForwardKL(), support="student"),
        "union of top 64, renormalised": replace(top, support="union", tail=False),
    }


def run(work: Work) -> None:
    """All of it, the quickest first."""
    sizes = SMALL if work.small else FULL
    work.say("statistics")
    compare_engines(work, sizes)
    work.check("functions that could not be compiled", len(FAILED), 0)
    for name, reason in FAILED.items():
        work.note(f"{name} was not compiled: {reason}")
    if work.has_time(20, "a training step"):
        work.say("a training step")
        training_step.compare(work)
    if work.has_time(10, "decoding"):
        work.say("decoding")
        decoding.compare(work)


@dataclass(frozen=True)
class Outcome:
    """A loss, and its gradients at the student's hidden states and head."""

    loss: Tensor
    states_ND: Tensor
    weight_VD: Tensor

    def on_cpu(self) -> "Outcome":
        """In float64, to be compared."""
        return Outcome(*(x.detach().to("cpu", torch.float64) for x in (self.loss, self.states_ND, self.weight_VD)))

    def errors(self, right: "Outcome") -> tuple[float, float, float]:
        """Relative: of the loss, of the worse gradient as a vector, and of its length along the right one."""
        pairs = (self.states_ND, right.states_ND), (self.weight_VD, right.weight_VD)
        return (
            abs(self.loss / right.loss - 1).item(),
            max(vector_error(*pair) for pair in pairs),
            max(length_error(*pair) for pair in pairs),
        )


def vector_error(value: Tensor, right: Tensor) -> float:
    """Norm of the difference, relative."""
    return ((value - right).norm() / right.norm()).item()


def length_error(value: Tensor, right: Tensor) -> float:
    """Of the part of `value` along `right`, relative: a factor that is wrong shows here, and rounding does not."""
    return abs(((value * right).sum() / (right * right).sum()).item() - 1)


def list_engines(sizes: Sizes) -> dict[str, Vocab]:
    """Plain and compiled, with tiles over the whole vocabulary (logits are kept) and over parts of it."""
    return {
        f"{'compiled' if compiled else 'plain'}, {name}": Vocab(chunk=sizes.rows, budget_mib=mib, compile=compiled)
        for compiled, (name, mib) in product((False, True), {"logits kept": 256, "lean": 1}.items())
    }


@dataclass(frozen=True)
class Task:
    """What is computed on both sides: the kept tokens are the CPU's choice."""

    path: str
    divergence: TokenDivergence
    index_K: Tensor

    def compute(self, engine: Vocab, student: Hidden, teacher: Hidden) -> Outcome:
        """By an engine, as a run does it: forward sums of scoring are used again where both models were scored."""
        leaves = Hidden(fresh_leaf(student.states_ND), Head(fresh_leaf(student.head.weight_VD)))
        index_K, sums = self.index_K.to(student.states_ND.device), None
        if self.path == "both models":
            tokens_N = torch.zeros(len(student), dtype=torch.long, device=index_K.device)
            sums = score(engine, leaves, teacher, tokens_N, NEEDS["both"], self.divergence)
        loss = engine.compute_loss(
            leaves[index_K],
            teacher[index_K],
            self.weights_K(index_K.device),
            self.divergence,
            sums and sums[index_K],
        )
        loss.backward()
        return read_outcome(loss, leaves)

    def compute_plainly(self, student: Hidden, teacher: Hidden) -> Outcome:
        """By autograd over all logits, in float64 on the CPU."""
        leaves, teacher = (in_float64(hidden) for hidden in (student, teacher))
        leaves = Hidden(fresh_leaf(leaves.states_ND), Head(fresh_leaf(leaves.head.weight_VD)))
        log_p_KV, log_q_KV = leaves[self.index_K].log_probs(), teacher[self.index_K].log_probs()
        loss = (self.divergence(log_p_KV, log_q_KV) * self.weights_K(CPU)).sum()
        loss.backward()
        return read_outcome(loss, leaves)

    def weights_K(self, device: torch.device) -> Tensor:
        """A mean of unequal weights, so that each has to be at its own token."""
        weights_K = torch.linspace(0.5, 1.5, len(self.index_K), device=device)
        return weights_K / weights_K.sum()


def score(
    engine: Vocab,
    student: Hidden,
    teacher: Hidden,
    tokens_N: Tensor,
    needs: frozenset[str],
    divergence: TokenDivergence,
) -> ForwardSums | None:
    return engine.compute_statistics(student, teacher, tokens_N, needs, divergence).forward_sums


def fresh_leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def in_float64(hidden: Hidden) -> Hidden:
    return Hidden(hidden.states_ND.detach().cpu().double(), Head(hidden.head.weight_VD.detach().cpu().double()))


def read_outcome(loss: Tensor, student: Hidden) -> Outcome:
    states_ND, weight_VD = student.states_ND.grad, student.head.weight_VD.grad
    if states_ND is None or weight_VD is None:
        raise ValueError("the loss left no gradient")
    return Outcome(loss, states_ND, weight_VD).on_cpu()


def compare_engines(work: Work, sizes: Sizes) -> None:
    """Statistics, losses and gradients of each engine, in both types, against the CPU's in fp32 and float64."""
    student, teacher = inputs(sizes.tokens, sizes.vocab, sizes.hidden, dtype=torch.bfloat16)
    on_cpu = cast(student, CPU, torch.float32), cast(teacher, CPU, torch.float32)
    there = {dtype: (cast(student, work.device, dtype), cast(teacher, work.device, dtype)) for dtype in BOUNDS}
    engines = list_engines(sizes)
    plain = engines["plain, lean"]
    compare_statistics(work, engines, there, in_float64(student), in_float64(teacher))
    kept, rows = sizes.tokens // 4, list[dict[str, Cell]]()
    for path, rule in PATHS.items():
        work.say(f"losses and gradients: {path}")
        index_K = torch.arange(sizes.tokens)
        if rule:
            index, _ = choose(plain, rule, *on_cpu, kept)
            index_K = index_K[index]
        for name, divergence in list_divergences().items():
            if not work.has_time(40, f"{path}, {name}"):
                continue
            task = Task(path, divergence, index_K)
            exact, right = task.compute_plainly(student, teacher), task.compute(plain, *on_cpu)
            chosen = {key: engine for key, engine in engines.items() if "plain" in key or name in compiled_ones(sizes)}
            rows += compare_task(work, task, name, chosen, there, exact, right)
    for by in ("engine", "divergence", "path"):
        for row in worst_rows(rows, by):
            work.row(f"Loss and gradients: largest relative errors by {by}", **row)


ERRORS = ("loss", "gradient", "length", "gradient to float64")


def worst_rows(rows: Sequence[dict[str, Cell]], by: str) -> list[dict[str, Cell]]:
    """The largest errors of the rows that are alike in `by` and in the type."""
    groups: dict[tuple[Cell, Cell], list[dict[str, Cell]]] = {}
    for row in rows:
        groups.setdefault((row[by], row["type"]), []).append(row)
    return [
        {by: name, "type": kind, "cases": len(group)} | {key: largest([row[key] for row in group]) for key in ERRORS}
        for (name, kind), group in groups.items()
    ]


def compiled_ones(sizes: Sizes) -> list[str]:
    """The divergences whose kernels are compiled here."""
    return list(list_divergences())[: sizes.divergences]


def cast(hidden: Hidden, device: torch.device, dtype: torch.dtype) -> Hidden:
    return Hidden(hidden.states_ND.detach().to(device, dtype), Head(hidden.head.weight_VD.detach().to(device, dtype)))


def type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def compare_statistics(
    work: Work,
    engines: Mapping[str, Vocab],
    there: Mapping[torch.dtype, tuple[Hidden, Hidden]],
    student: Hidden,
    teacher: Hidden,
) -> None:
    """All statistics of all tokens, against float64."""
    log_p_NV, log_q_NV = student.log_probs(), teacher.log_probs()
    tokens_N = torch.arange(len(student)) % log_p_NV.shape[1]
    right = {
        "student_entropy": -(log_p_NV.exp() * log_p_NV).sum(-1),
        "teacher_entropy": -(log_q_NV.exp() * log_q_NV).sum(-1),
        "reverse_kl": ReverseKL()(log_p_NV, log_q_NV),
        "forward_kl": ForwardKL()(log_p_NV, log_q_NV),
        "jsd": GeneralisedJSD(beta=0.5)(log_p_NV, log_q_NV),
        "student_logprob": log_p_NV.gather(-1, tokens_N[:, None])[:, 0],
        "teacher_logprob": log_q_NV.gather(-1, tokens_N[:, None])[:, 0],
    }
    for (name, engine), dtype in product(engines.items(), there):
        scores = engine.compute_statistics(*there[dtype], tokens_N.to(work.device), STATISTICS, ReverseKL()).values
        errors = {key: (scores[key].cpu() - right_N).abs().max().item() for key, right_N in right.items()}
        entropy_N = engine.compute_statistics(
            *there[dtype], tokens_N.to(work.device), NEEDS["entropy"], ReverseKL()
        ).values["student_entropy"]
        errors["student_entropy alone"] = (entropy_N.cpu() - right["student_entropy"]).abs().max().item()
        work.row("Statistics: largest errors in nats", engine=name, type=type_name(dtype), **errors)
        work.check(f"statistics, {name}, {type_name(dtype)}: nats", largest(errors.values()), STATISTICS_BOUND)


def largest(values: Iterable[Cell]) -> float:
    """The largest; none if one of them is none, where `max` alone would depend on their order."""
    return float(torch.tensor(list(values), dtype=torch.float64).max())


def compare_task(
    work: Work,
    task: Task,
    divergence: str,
    engines: Mapping[str, Vocab],
    there: Mapping[torch.dtype, tuple[Hidden, Hidden]],
    exact: Outcome,
    right: Outcome,
) -> Iterator[dict[str, Cell]]:
    """A row for each engine and type: errors against the CPU in fp32, and of the gradient against float64."""
    for (engine_name, engine), dtype in product(engines.items(), there):
        outcome = task.compute(engine, *there[dtype])
        errors = outcome.errors(right)
        label = f"{task.path}, {divergence}, {engine_name}, {type_name(dtype)}"
        for what, error, bound in zip(("loss", "gradient", "gradient's length"), errors, BOUNDS[dtype], strict=True):
            work.check(f"{label}: {what}", error, bound)
        row: dict[str, Cell] = {"path": task.path, "divergence": divergence}
        row |= {"engine": engine_name, "type": type_name(dtype)}
        yield row | dict(zip(ERRORS, (*errors, outcome.errors(exact)[1]), strict=True))
