"""The losses of TRL and Liger, called as their trainers call them. Neither selects tokens: every token is taken.

Both are optional, and imported only here, when a case runs. Beta is theirs: 1 is reverse KL, 0.5 the JSD.
"""

import importlib
import importlib.metadata
import importlib.util
import os

import torch
from torch import Tensor

from tipx.vocab import Hidden

NOT_INSTALLED = "not installed: pip install 'tipx[bench]'"


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported to find out."""
    return importlib.util.find_spec(package) is not None


def version(package: str) -> str | None:
    """Of an installed package."""
    return importlib.metadata.version(package.replace("_", "-")) if installed(package) else None


def trl_tiled(beta: float, tiles: tuple[int, int] | None, student: Hidden, teacher: Hidden, kept: int) -> Tensor:
    """The loss of DistillationTrainer. Its tiles are constants of a module; `tiles` (rows, columns) are set there."""
    module = importlib.import_module("trl.trainer.distillation_trainer")
    kernel = importlib.import_module("trl.kernels.chunked_divergence")
    if tiles is not None:
        # A constant that has moved must not go unnoticed: the row would be the default's under another name.
        if not {"TOKEN_CHUNK_SIZE", "VOCAB_CHUNK_SIZE"} <= vars(kernel).keys():
            raise AttributeError("trl.kernels.chunked_divergence no longer has the constants of its tiles")
        vars(kernel).update(TOKEN_CHUNK_SIZE=tiles[0], VOCAB_CHUNK_SIZE=tiles[1])
    loss, _, _ = module._chunked_divergence_loss(  # noqa: SLF001 - the trainer has no public name for it
        student.states_ND[None],
        teacher.states_ND[None],
        student.head.weight_VD,
        teacher.head.weight_VD,
        torch.ones(1, kept, dtype=torch.long),
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
    loss = trainer.generalized_jsd_loss(
        student.logits()[None], teacher_NV[None], labels=torch.zeros(1, kept, dtype=torch.long), beta=beta
    )
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
        torch.zeros(kept, dtype=torch.long),
    )
    loss.backward()
    return loss.detach()
