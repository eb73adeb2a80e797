"""The losses of TRL and Liger, called as their trainers call them, and one like verl's. All take every token.

TRL and Liger are optional, and imported only here, when a case runs. Beta is theirs: 1 is reverse KL, 0.5 the JSD.

Axes: N tokens, R tokens of a chunk, V vocabulary, k entries that the teacher names.
"""

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tipx.vocab import Hidden

NOT_INSTALLED = "not installed: pip install 'tipx[bench]'"


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported to find out."""
    return importlib.util.find_spec(package) is not None


def version(package: str) -> str | None:
    """Of an installed package."""
    return importlib.metadata.version(package.replace("_", "-")) if installed(package) else None


@contextmanager
def trl_tiles(tiles: tuple[int, int] | None) -> Iterator[None]:
    """TRL's tiles of (rows, columns), which are constants of a module, set within the block; None leaves its own."""
    kernel = vars(importlib.import_module("trl.kernels.chunked_divergence"))
    names = "TOKEN_CHUNK_SIZE", "VOCAB_CHUNK_SIZE"
    # A constant that has moved must not go unnoticed: the row would be the default's under another name.
    if not set(names) <= kernel.keys():
        raise AttributeError("trl.kernels.chunked_divergence no longer has the constants of its tiles")
    before = {name: kernel[name] for name in names}
    kernel.update(before if tiles is None else dict(zip(names, tiles, strict=True)))
    try:
        yield
    finally:
        kernel.update(before)


def trl_tiled(beta: float, tiles: tuple[int, int] | None, student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The loss of DistillationTrainer. On a CPU its tiles are done by torch operations instead of a Triton kernel."""
    module = importlib.import_module("trl.trainer.distillation_trainer")
    with trl_tiles(tiles):
        loss, _, _ = module._chunked_divergence_loss(  # noqa: SLF001 - the trainer has no public name for it
            student.states_ND[None],
            teacher.states_ND[None],
            student.head.weight_VD,
            teacher.head.weight_VD,
            torch.ones(1, kept, dtype=torch.long, device=student.states_ND.device),
            beta,
        )
        loss.backward()
    return loss.detach()


def trl_gkd(beta: float, student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The loss of GKDTrainer: full logits of both models, as its forward passes leave them."""
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    trainer = importlib.import_module("trl.experimental.gkd").GKDTrainer
    with torch.no_grad():
        teacher_NV = teacher.logits()
    labels_1N = torch.zeros(1, kept, dtype=torch.long, device=student.states_ND.device)
    loss = trainer.generalized_jsd_loss(student.logits()[None], teacher_NV[None], labels=labels_1N, beta=beta)
    del teacher_NV
    loss.backward()
    return loss.detach()


def liger(beta: float, chunk: int, student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The chunked JSD from hidden states, eager: compiling a chunk is not what is compared here."""
    module = importlib.import_module("liger_kernel.chunked_loss")
    function = module.LigerFusedLinearJSDLoss(
        weight_hard_loss=0.0, weight_soft_loss=1.0, beta=beta, compiled=False, chunk_size=chunk
    )
    loss = function(
        student.states_ND,
        student.head.weight_VD,
        teacher.states_ND,
        teacher.head.weight_VD,
        torch.zeros(kept, dtype=torch.long, device=student.states_ND.device),
    )
    loss.backward()
    return loss.detach()


TOP = 64
"""Entries that the teacher names in the losses below."""
ROWS = 256
"""Rows of a chunk in the losses below: TRL's own number."""


@torch.no_grad()
def top_entries(teacher: Hidden) -> tuple[Int[Tensor, "N k"], Float[Tensor, "N k"]]:
    """Ids and log-probabilities of the teacher's likeliest entries, as an inference server sends them."""
    parts = []
    for start in range(0, len(teacher), ROWS):
        logits_RV = teacher[start : start + ROWS].logits()
        top = logits_RV.topk(TOP)
        parts.append((top.indices, top.values - logits_RV.logsumexp(-1, keepdim=True)))
    return torch.cat([ids for ids, _ in parts]), torch.cat([log_q for _, log_q in parts])


def teacher_alone(student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The teacher's part of the two losses below: no loss, and gradients of 0."""
    _, log_q_Nk = top_entries(teacher)
    for leaf in (student.states_ND, student.head.weight_VD):
        leaf.grad = leaf.new_zeros(()).expand_as(leaf)
    return log_q_Nk.sum() / kept


def trl_top(student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The loss of TRL's AsyncDistillationTrainer: forward KL over the teacher's entries, and one more for the rest.

    The teacher's pass, which a server makes there, is part of the case. Logits of a chunk are made again in the
    backward pass.
    """
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    module = importlib.import_module("trl.experimental.async_distillation.async_distillation_trainer")
    ids_Nk, log_q_Nk = top_entries(teacher)
    loss, *_ = module._chunked_jsd_loss(  # noqa: SLF001 - the trainer has no public name for it
        student.states_ND,
        student.head.weight_VD,
        None,
        1.0,
        None,
        ids_Nk,
        log_q_Nk,
        torch.ones_like(ids_Nk, dtype=torch.bool),
        beta=0.0,
        temperature=1.0,
        add_tail_bucket=True,
        teacher_id_idx=None,
        num_teachers=0,
        chunk_size=ROWS,
    )
    loss = loss / kept
    loss.backward()
    return loss.detach()


def verl_top(student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """Distillation over the teacher's entries as in verl's `forward_kl_topk`, written here after its published code.

    verl's are the formula (sum of q (log q - log p) over the entries, neither renormalised nor with a tail), the
    log-probabilities from a log-sum-exp over all of V in fp32, and the student's own top k of every token, which it
    logs. Not verl's: it keeps a micro-batch's logits for the backward pass, where here those of a chunk are made again;
    its teacher is a server, whose pass is here part of the case; it splits the work over GPUs.
    """
    ids_Nk, log_q_Nk = top_entries(teacher)
    loss = log_q_Nk.new_zeros(())
    for start in range(0, kept, ROWS):
        part = slice(start, start + ROWS)
        loss = loss + checkpoint(verl_chunk, student[part], ids_Nk[part], log_q_Nk[part], use_reentrant=False)
    loss = loss / kept
    loss.backward()
    return loss.detach()


def verl_chunk(student: Hidden, ids_Rk: Int[Tensor, "R k"], log_q_Rk: Float[Tensor, "R k"]) -> Float[Tensor, ""]:
    """Sum of the loss over one chunk, nats."""
    logits_RV = student.logits()
    own_Rk = logits_RV.detach().topk(TOP).indices
    (ids_Rk[:, :, None] == own_Rk[:, None]).any(-1).sum()  # its log: how many entries both models name
    log_p_Rk = logits_RV.gather(-1, ids_Rk) - logits_RV.logsumexp(-1, keepdim=True)
    return (log_q_Rk.exp() * (log_q_Rk - log_p_Rk)).sum()
