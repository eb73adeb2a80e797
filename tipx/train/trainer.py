"""Scoring and updating the student: the two phases of a step that touch a model's weights."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from tipx.divergences import TokenDivergence
from tipx.errors import RunError, RunFailed
from tipx.files.untrusted import RAISED, said
from tipx.models.head import body, checkpointed, lm_head
from tipx.models.pair import LoadedPair
from tipx.processes import World
from tipx.train import weights
from tipx.train.batching import MicroBatch, idle, micro_batches
from tipx.train.experiment import Experiment
from tipx.train.step_metrics import Update
from tipx.types import Rollout, TokenStats, scatter
from tipx.vocab import TEACHER_ONLY, Hidden, Known, Scores, Vocab

STATE = "trainer.pt"


class StudentLoss(nn.Module):
    """The student as accelerate wraps it: forward is the whole loss, so that gradients are synchronised by it."""

    def __init__(self, student: PreTrainedModel, rows: int, vocab: Vocab, divergence: TokenDivergence) -> None:
        super().__init__()
        self.student, self.rows, self.vocab, self.divergence = student, rows, vocab, divergence

    def forward(self, batch: MicroBatch, scored: "Scored", weights_N: Float[Tensor, " N"]) -> Float[Tensor, ""]:
        """Sum of weight * divergence over the micro-batch's kept tokens, nats."""
        kept_K = batch.index_N
        student = Hidden(batch.hidden(body(self.student)), lm_head(self.student, self.rows))
        known = None if scored.known is None else scored.known[kept_K]
        return self.vocab.loss(student, scored.teacher[kept_K], weights_N[kept_K], self.divergence, known)


@dataclass(frozen=True)
class Scored:
    """What scoring leaves of this process's N response tokens: the teacher's hidden states, and sums for the loss."""

    teacher: Hidden
    known: Known | None


@dataclass(frozen=True)
class Leading:
    """The k likeliest tokens of both models at M places, in row-major order, with their probabilities; on the CPU."""

    student_ids_Mk: Int[Tensor, "M k"]
    student_probs_Mk: Float[Tensor, "M k"]
    teacher_ids_Mk: Int[Tensor, "M k"]
    teacher_probs_Mk: Float[Tensor, "M k"]


class Trainer:
    """Student, optimizer and schedule of a run, and the teacher that scores it."""

    def __init__(self, exp: Experiment, pair: LoadedPair, world: World) -> None:
        self.exp, self.pair, self.world = exp, pair, world
        self.bad_steps = 0
        optimizer = exp.optim.build(pair.student.parameters())
        self.schedule = exp.optim.build_schedule(optimizer, exp.loop.steps)
        # The schedule stays outside: accelerate would step it once per process.
        module = StudentLoss(pair.student, pair.rows, exp.vocab, exp.divergence)
        self.module, self.optimizer = world.accelerator.prepare(module, optimizer)

    @torch.no_grad()
    def score(self, rollout: Rollout, needs: frozenset[str]) -> tuple[Scored, TokenStats]:
        """What the loss will need, and the statistics asked for, of this process's rows (B, T).

        The teacher runs over everything first, and is not needed again.
        """
        batches = list(micro_batches(rollout, rollout.valid_BT, self.exp.hardware.micro_batch)) or [idle(rollout)]
        order_N = torch.cat([batch.index_N for batch in batches]).argsort()
        teacher = Hidden(self._teacher_states(batches, len(order_N)), lm_head(self.pair.teacher, self.pair.rows))
        with self.world.accelerator.autocast():
            scores = self._scores(rollout, batches, order_N, teacher, needs)
        stats = {name: scatter(v_N.float(), rollout.valid_BT) for name, v_N in scores.values.items()}
        return Scored(teacher, scores.known), TokenStats(**stats)

    def _teacher_states(self, batches: list[MicroBatch], count: int) -> Float[Tensor, "N D"]:
        """Of all tokens in order, written in place: they are the largest thing that scoring keeps."""
        states_ND: Tensor | None = None
        with self.pair.teacher_awake():
            for batch in batches:
                some_ND = batch.hidden(body(self.pair.teacher))
                if states_ND is None:
                    states_ND = some_ND.new_empty(count, some_ND.shape[1])
                states_ND[batch.index_N] = some_ND
        if states_ND is None:
            raise ValueError("a rollout without response tokens cannot be scored")
        return states_ND

    def _scores(
        self,
        rollout: Rollout,
        batches: list[MicroBatch],
        order_N: Int[Tensor, " N"],
        teacher: Hidden,
        needs: frozenset[str],
    ) -> Scores:
        """Of all tokens in order; the student's states are those of the rollout, or of a forward pass in parts."""
        tokens_N, head = rollout.response_BT[rollout.valid_BT], lm_head(self.pair.student, self.pair.rows)
        stats, divergence = self.exp.vocab.stats, self.exp.divergence
        if not needs - TEACHER_ONLY:
            return stats(None, teacher, tokens_N, needs, divergence)
        if rollout.states_ND is not None:
            # These states differ from those of the update by rounding, so its sums are made from its own.
            return Scores(stats(Hidden(rollout.states_ND, head), teacher, tokens_N, needs, divergence).values, None)
        parts = []
        for batch in batches:
            student, index_N = Hidden(batch.hidden(body(self.pair.student)), head), batch.index_N
            parts.append(stats(student, teacher[index_N], tokens_N[index_N], needs, divergence))
        return Scores.joined(parts)[order_N]

    @torch.no_grad()
    def rescore(self, rollout: Rollout, teacher: Hidden, needs: frozenset[str]) -> TokenStats:
        """Statistics that a step does without, of this process's rows (B, T); between `score` and `update`.

        In a pass of its own, so that what these two compute stays as it is, bit for bit.
        """
        batches = list(micro_batches(rollout, rollout.valid_BT, self.exp.hardware.micro_batch)) or [idle(rollout)]
        order_N = torch.cat([batch.index_N for batch in batches]).argsort()
        with self.world.accelerator.autocast():
            values = self._scores(rollout, batches, order_N, teacher, needs).values
        return TokenStats(**{name: scatter(v_N.float(), rollout.valid_BT) for name, v_N in values.items()})

    @torch.no_grad()
    def leading(self, rollout: Rollout, teacher: Hidden, wanted_BT: Bool[Tensor, "B T"], k: int) -> "Leading":
        """The k tokens that each model finds likeliest at the wanted places, which must be valid."""
        head, parts, order = lm_head(self.pair.student, self.pair.rows), [], []
        with self.world.accelerator.autocast():
            for batch in micro_batches(rollout, wanted_BT, self.exp.hardware.micro_batch):
                student = Hidden(batch.hidden(body(self.pair.student)), head)
                tops = [self.exp.vocab.top(one, k) for one in (student, teacher[batch.index_N])]
                parts.append([tensor.cpu() for top in tops for tensor in top])
                order.append(batch.index_N.cpu())
        if not parts:
            empty = torch.zeros(0, k, dtype=torch.long), torch.zeros(0, k)
            return Leading(*empty, *empty)
        order_M = torch.cat(order).argsort()
        return Leading(*(torch.cat(same)[order_M] for same in zip(*parts, strict=True)))

    def update(self, rollout: Rollout, scored: Scored, weights_BT: Float[Tensor, "B T"], count: float) -> Update:
        """One optimizer step on this process's rows. `count` normalises: one number for the step, all ranks."""
        total = torch.zeros((), device=self.world.device)
        weights_BT = weights_BT.to(self.world.device)
        weights_N = weights_BT[rollout.valid_BT]
        kept_BT = (weights_BT > 0) & rollout.valid_BT
        batches = list(micro_batches(rollout, kept_BT, self.exp.hardware.micro_batch)) or [idle(rollout)]
        with checkpointed(self.pair.student, self.exp.hardware.gradient_checkpointing):
            for batch in batches:
                with nullcontext() if batch is batches[-1] else self.world.accelerator.no_sync(self.module):
                    loss = self.module(batch, scored, weights_N) / count
                    # Processes average their gradients, but the loss is a sum over all of them.
                    self.world.accelerator.backward(loss * self.world.size)
                total += loss.detach()
        return self._step(float(self.world.all_reduce_sum(total)))

    def _step(self, loss: float) -> Update:
        """Clip and apply, unless something is not finite. Raises RunFailed if the weights are not finite after it."""
        norm = float(self.world.accelerator.clip_grad_norm_(self.module.parameters(), self.exp.optim.clip))
        lr = float(self.schedule.get_last_lr()[0])
        applied = bool(torch.isfinite(torch.tensor([loss, norm])).all())
        before_W = weights.sample(self.module.parameters())
        if applied:
            self.optimizer.step()
        else:
            self.bad_steps += 1
        self.optimizer.zero_grad()
        with warnings.catch_warnings():
            # torch takes a first step that is skipped for a mistake in the order of calls.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.schedule.step()
        if not weights.are_finite(self.module.parameters()):
            raise RunFailed(
                f"stopped: the student's weights are not finite after a step with optim.lr={lr:g}; "
                "the last checkpoint is from before; try a smaller optim.lr, or model.student.dtype=float32"
            )
        moved = weights.changed(before_W, weights.sample(self.module.parameters()))
        return Update(loss, norm, lr, applied, self.bad_steps, moved)

    def save(self, folder: Path) -> None:
        """A transformers folder (`from_pretrained` loads it) with optimizer, schedule and counters beside it."""
        self.pair.student.save_pretrained(folder)
        self.pair.tokenizer.save_pretrained(folder)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "bad_steps": self.bad_steps,
        }
        # Through Python's file: torch's own does not say why it could not be written.
        with (folder / STATE).open("wb") as handle:
            torch.save(state, handle)

    def load(self, folder: Path) -> None:
        """All but the weights, which `Pair.load` took from the same folder; raises RunError if it is broken."""
        file = folder / STATE
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.bad_steps = int(state["bad_steps"])
        except RAISED as error:
            raise RunError(
                f"{file} is not the state of this run's optimizer ({said(error)}); remove {folder} to go on from the "
                "checkpoint before it, or train again with --fresh"
            ) from error
