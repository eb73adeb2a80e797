"""Peak memory and time of the loss, ours against full logits, side by side in one run.

Each case runs in a process of its own, because only a fresh one has a meaningful peak. Printed are ratios: memory is
the growth of the resident set, time is CPU time, and 1.00 is the full-logits loss over every token.

    python bench/vocab.py [--vocab 32768] [--tokens 256 1024] [--ratio 1 0.5 0.2 0.1]
"""

import argparse
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

from tipx.divergences import ReverseKL, entropy
from tipx.meter import Meter
from tipx.vocab import Head, Hidden, Vocab

HIDDEN = 64
NEEDS = frozenset({"student_entropy", "reverse_kl"})


def inputs(tokens: int, vocab: int) -> tuple[Hidden, Hidden]:
    """Random student and teacher, with gradients on the student's hidden states and head."""
    torch.manual_seed(0)
    make = [torch.randn(n, HIDDEN) for n in (tokens, vocab, tokens, vocab)]
    student, teacher = Hidden(make[0], Head(make[1] / 8)), Hidden(make[2], Head(make[3] / 8))
    student.states_ND.requires_grad_()
    student.head.weight_VD.requires_grad_()
    return student, teacher


def tiled(student: Hidden, teacher: Hidden, kept: int) -> torch.Tensor:
    """Score every token in tiles if there is a choice to make, keep the highest, loss on those alone."""
    engine = Vocab(chunk="auto", budget_mib="auto")
    weights_K = torch.full((kept,), 1 / kept)
    if kept == len(student):
        return engine.loss(student, teacher, weights_K, ReverseKL())
    tokens_N = torch.zeros(len(student), dtype=torch.long)
    scores = engine.stats(student, teacher, tokens_N, NEEDS, ReverseKL())
    index = (scores.values["student_entropy"] + scores.values["reverse_kl"]).topk(kept).indices
    known = scores.known and scores.known[index]
    return engine.loss(student[index], teacher[index], weights_K, ReverseKL(), known)


def full(student: Hidden, teacher: Hidden, kept: int) -> torch.Tensor:
    """The usual way: all logits first, then select."""
    student_NV, teacher_NV = student.log_probs(), teacher.log_probs()
    rows_N = ReverseKL()(student_NV, teacher_NV)
    score_N = (entropy(student_NV) + rows_N).detach()
    return rows_N[score_N.topk(kept).indices].mean()


def one(how: str, tokens: int, vocab: int, ratio: float) -> str:
    """MiB and CPU seconds of forward and backward."""
    torch.set_num_threads(1)
    student, teacher = inputs(tokens, vocab)
    meter = Meter(torch.device("cpu"))
    with meter.phase("before"):
        pass
    began = time.process_time()
    with meter.phase("loss"):
        {"tiled": tiled, "full": full}[how](student, teacher, int(tokens * ratio)).backward()
    seconds = time.process_time() - began
    values = meter.read()
    return f"{values['memory/loss'] - values['memory/before']} {seconds}"


def measure(how: str, tokens: int, vocab: int, ratio: float) -> tuple[float, float]:
    """`one` in a fresh process."""
    command = [sys.executable, __file__, "--one", how, str(tokens), str(vocab), str(ratio)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    memory, seconds = done.stdout.split()
    return float(memory), float(seconds)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--vocab", type=int, default=32768)
    parser.add_argument("--tokens", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--ratio", type=float, nargs="+", default=[1, 0.5, 0.2, 0.1])
    args = parser.parse_args()
    if args.one:
        how, tokens, vocab, ratio = args.one
        print(one(how, int(tokens), int(vocab), float(ratio)))  # noqa: T201
        return
    table = Table("tokens", "ratio", "memory, full logits", "memory, tipx", "CPU time, full logits", "CPU time, tipx")
    for tokens in args.tokens:
        base_memory, base_time = measure("full", tokens, args.vocab, 1.0)
        for ratio in args.ratio:
            cells = [measure(how, tokens, args.vocab, ratio) for how in ("full", "tiled")]
            memory = [f"{m / base_memory:.2f}" for m, _ in cells]
            seconds = [f"{s / base_time:.2f}" for _, s in cells]
            table.add_row(str(tokens), str(ratio), *memory, *seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
