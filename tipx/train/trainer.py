"""Scoring and updating the student: the two phases of a step that touch a model's weights.

One step works on B responses with N valid tokens over all processes. The update minimises

    L = (1 / count) * sum over kept tokens i of  w_i D(P_S, P_T)_i

with selection weights w. `count` is one number for the whole step: the sum of all weights, or of all valid tokens
(`loop.denominator`), over every sequence, micro-batch and process. So the gradient does not depend on how the step is
split. (A mean of means over micro-batches would give tokens of short responses more weight.)

The student that scores is the student that is updated. So the log-sum-exps of scoring are reused by the loss, until the
optimizer's step changes the weights.
"""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from tipx.adapters import trained_parameters
from tipx.divergences import TokenDivergence
from tipx.errors import RunError, RunFailed
from tipx.files.untrusted import RAISED, error_text
from tipx.models.head import backbone, gradient_checkpointing, lm_head
from tipx.models.lora import save_student
from tipx.models.pair import LoadedPair
from tipx.processes import World
from tipx.sharding import gather_weights, run_inside, whole_tensor
from tipx.train import weights
from tipx.train.batching import MicroBatch, idle_batch, micro_batches
from tipx.train.experiment import Experiment
from tipx.train.optimizer_state import load_shards, load_whole_state, save_shards
from tipx.train.step_metrics import MONITORED, Update
from tipx.types import Rollout, TokenStats, scatter_tokens
from tipx.vocab import TEACHER_ONLY, ForwardSums, Hidden, Scores, Vocab

STATE = "trainer.pt"
SHARDS = "optimizer"


class StudentLoss(nn.Module):
    """The student and its loss as one module for accelerate to wrap.

    Data parallelism synchronises gradients only of a wrapped module's forward. So the whole loss, LM head included, is
    inside of it.
    """

    def __init__(self, student: PreTrainedModel, rows: int, vocab: Vocab, divergence: TokenDivergence) -> None:
        super().__init__()
        self.student, self.rows, self.vocab, self.divergence = student, rows, vocab, divergence

    def forward(
        self, batch: MicroBatch, scored: "ScoredTokens", weights_N: Float[Tensor, " N"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, " K"]]]:
        """Sum of weight * divergence over the micro-batch's kept tokens, nats, and what is known of these tokens.

        The sum is not yet divided by `count`.
        """
        index_K = batch.index_N
        sums = None if scored.forward_sums is None else scored.forward_sums[index_K]
        compute = self.vocab.compute_loss_and_statistics

        def work() -> tuple[Tensor, dict[str, Tensor]]:
            student = Hidden(batch.hidden_states(backbone(self.student)), lm_head(self.student, self.rows))
            return compute(student, scored.teacher[index_K], weights_N[index_K], self.divergence, sums)

        return run_inside(self.student, work)


@dataclass(frozen=True)
class ScoredTokens:
    """The teacher's hidden states and the forward sums of this process's N tokens: scoring makes them for the loss."""

    teacher: Hidden
    forward_sums: ForwardSums | None


@dataclass(frozen=True)
class TopTokens:
    """The k likeliest tokens of both models at M positions and their probabilities, in row-major order, on the CPU."""

    student_ids_Mk: Int[Tensor, "M k"]
    student_probs_Mk: Float[Tensor, "M k"]
    teacher_ids_Mk: Int[Tensor, "M k"]
    teacher_probs_Mk: Float[Tensor, "M k"]


class Trainer:
    """Student, optimizer and schedule of a run, and the teacher that scores it."""

    def __init__(self, exp: Experiment, pair: LoadedPair, world: World) -> None:
        self.exp, self.pair, self.world = exp, pair, world
        self.bad_steps, self.sharded = 0, world.sharding is not None
        optimizer = exp.optim.build(trained_parameters(pair.student))
        self.schedule = exp.optim.build_schedule(optimizer, exp.loop.steps)
        # The schedule stays outside: accelerate would step it once per process.
        module = StudentLoss(pair.student, pair.rows, exp.vocab, exp.divergence)
        prepared: Any = (module, optimizer) if self.sharded else world.accelerator.prepare(module, optimizer)
        self.module, self.optimizer = prepared

    @torch.no_grad()
    def score(self, rollout: Rollout, needs: frozenset[str]) -> tuple[ScoredTokens, TokenStats]:
        """Score this process's rows (B, T): the tensors for the loss, and the statistics named in `needs`.

        The teacher runs over all micro-batches first. After that it is not needed again in this step.
        """
        batches = self._micro_batches(rollout, rollout.valid_BT)
        order_N = torch.cat([batch.index_N for batch in batches]).argsort()
        # Of a sharded teacher the head is there only after a forward pass, and then for the rest of the step.
        states_ND = self._teacher_states(batches, len(order_N))
        teacher = Hidden(states_ND, lm_head(self.pair.teacher, self.pair.rows))
        with self.world.autocast():
            scores = self._compute_scores(rollout, batches, order_N, teacher, needs)
        stats = {name: scatter_tokens(v_N.float(), rollout.valid_BT) for name, v_N in scores.values.items()}
        return ScoredTokens(teacher, scores.forward_sums), TokenStats(**stats)

    def _micro_batches(self, rollout: Rollout, wanted_BT: Bool[Tensor, "B T"]) -> list[MicroBatch]:
        """At least one. If weights are sharded, as many as any process has: each forward pass needs all processes."""
        batches = list(micro_batches(rollout, wanted_BT, self.exp.hardware.micro_batch)) or [idle_batch(rollout)]
        if self.sharded:
            batches += [idle_batch(rollout)] * (self.world.all_reduce_max(len(batches)) - len(batches))
        return batches

    def _teacher_states(self, batches: list[MicroBatch], count: int) -> Float[Tensor, "N D"]:
        """The teacher's hidden states of all `count` tokens, in row-major order.

        They are the largest tensor that scoring keeps, so each micro-batch writes its part in place.
        """
        states_ND: Tensor | None = None
        with self.pair.teacher_on_device():
            for batch in batches:
                batch_ND = run_inside(self.pair.teacher, partial(batch.hidden_states, backbone(self.pair.teacher)))
                if states_ND is None:
                    states_ND = batch_ND.new_empty(count, batch_ND.shape[1])
                states_ND[batch.index_N] = batch_ND
        if states_ND is None:
            raise ValueError("a rollout without response tokens cannot be scored")
        return states_ND

    def _compute_scores(
        self,
        rollout: Rollout,
        batches: list[MicroBatch],
        order_N: Int[Tensor, " N"],
        teacher: Hidden,
        needs: frozenset[str],
    ) -> Scores:
        """The scores of all tokens, in row-major order.

        The student's hidden states are those that the rollout recorded, or come from a forward pass over `batches`.
        """
        tokens_N, model = rollout.response_BT[rollout.valid_BT], self.pair.student
        compute, divergence = self.exp.vocab.compute_statistics, self.exp.divergence
        if not needs - TEACHER_ONLY:
            return compute(None, teacher, tokens_N, needs, divergence)

        def score_recorded(states_ND: Tensor) -> Scores:
            return compute(Hidden(states_ND, lm_head(model, self.pair.rows)), teacher, tokens_N, needs, divergence)

        def score_batch(batch: MicroBatch) -> Scores:
            index_N = batch.index_N
            student = Hidden(batch.hidden_states(backbone(model)), lm_head(model, self.pair.rows))
            return compute(student, teacher[index_N], tokens_N[index_N], needs, divergence)

        if rollout.states_ND is not None:
            # These states differ from those of the update by rounding, so the update makes forward sums of its own.
            return Scores(run_inside(model, partial(score_recorded, rollout.states_ND)).values, None)
        return Scores.concatenate([run_inside(model, partial(score_batch, batch)) for batch in batches])[order_N]

    @torch.no_grad()
    def rescore(self, rollout: Rollout, teacher: Hidden, needs: frozenset[str]) -> TokenStats:
        """More statistics of this process's rows (B, T), for a log. Call it between `score` and `update`.

        It is a pass of its own, so that the results of `score` and `update` stay the same to the last bit.
        """
        batches = self._micro_batches(rollout, rollout.valid_BT)
        order_N = torch.cat([batch.index_N for batch in batches]).argsort()
        with self.world.autocast():
            values = self._compute_scores(rollout, batches, order_N, teacher, needs).values
        return TokenStats(**{name: scatter_tokens(v_N.float(), rollout.valid_BT) for name, v_N in values.items()})

    @torch.no_grad()
    def find_top_tokens(self, rollout: Rollout, teacher: Hidden, wanted_BT: Bool[Tensor, "B T"], k: int) -> "TopTokens":
        """The k likeliest tokens of each model at the wanted positions, which must be valid.

        If weights are sharded every process must call it, and may want none.
        """
        model, parts, order = self.pair.student, [], []

        def find(batch: MicroBatch) -> list[Tensor]:
            student = Hidden(batch.hidden_states(backbone(model)), lm_head(model, self.pair.rows))
            tops = [self.exp.vocab.find_top_tokens(hidden, k) for hidden in (student, teacher[batch.index_N])]
            return [tensor.cpu() for top in tops for tensor in top]

        with self.world.autocast():
            for batch in self._micro_batches(rollout, wanted_BT):
                parts.append(run_inside(model, partial(find, batch)))
                order.append(batch.index_N.cpu())
        order_M = torch.cat(order).argsort()
        return TopTokens(*(torch.cat(same)[order_M] for same in zip(*parts, strict=True)))

    def update(self, rollout: Rollout, scored: ScoredTokens, weights_BT: Float[Tensor, "B T"], count: float) -> Update:
        """One optimizer step: accumulate gradients over this process's micro-batches, synchronise, clip, apply.

        `weights_BT` are the selection weights of this process's rows. `count` is the denominator of the whole step and
        must be the same number on every process. Each micro-batch adds its sum divided by `count`. Gradients are
        synchronised once, in the last micro-batch. So processes may have different numbers of micro-batches, but each
        needs at least one.

        If scoring left no forward sums, the statistics in `MONITORED` of the kept tokens come with the loss. They are
        in the result, 0 for other tokens.
        """
        total = torch.zeros((), device=self.world.device)
        known = (
            {}
            if scored.forward_sums is not None
            else {name: torch.zeros(len(scored.teacher), device=self.world.device) for name in MONITORED}
        )
        weights_BT = weights_BT.to(self.world.device)
        weights_N = weights_BT[rollout.valid_BT]
        kept_BT = (weights_BT > 0) & rollout.valid_BT
        batches = self._micro_batches(rollout, kept_BT)
        with gradient_checkpointing(self.pair.student, self.exp.hardware.gradient_checkpointing):
            for batch in batches:
                # Sharded gradients are added up shard by shard: whole ones would be kept between micro-batches.
                last = self.sharded or batch is batches[-1]
                with nullcontext() if last else self.world.accelerator.no_sync(self.module):
                    # Of a module that accelerate prepared, the forward pass enters mixed precision by itself.
                    with self.world.autocast() if self.sharded else nullcontext():
                        loss, statistics = self.module(batch, scored, weights_N)
                    loss = loss / count
                    # The processes' gradients are averaged, but L is a sum over processes: undo the division.
                    self.world.accelerator.backward(loss * self.world.size)
                total += loss.detach()
                for name in known.keys() & statistics.keys():
                    known[name][batch.index_N] = statistics[name].float()
        kept = TokenStats(**{name: scatter_tokens(value_N, rollout.valid_BT) for name, value_N in known.items()})
        return replace(self._apply_gradients(float(self.world.all_reduce_sum(total))), kept=kept)

    def _apply_gradients(self, loss: float) -> Update:
        """Clip and apply the gradients. A step with a loss or norm that is not finite is skipped and counted.

        Raises RunFailed if the weights are not finite afterwards.
        """
        clipped = self.world.accelerator.clip_grad_norm_(self.module.parameters(), self.exp.optim.clip)
        norm = float(whole_tensor(clipped))
        lr = float(self.schedule.get_last_lr()[0])
        applied = bool(torch.isfinite(torch.tensor([loss, norm])).all())
        before_W = weights.sample_weights(trained_parameters(self.pair.student))
        if applied:
            self.optimizer.step()
        else:
            self.bad_steps += 1
        self.optimizer.zero_grad()
        with warnings.catch_warnings():
            # If the first step is skipped, torch warns of a wrong order of calls.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.schedule.step()
        if self.world.any_rank(not weights.are_finite(trained_parameters(self.pair.student))):
            raise RunFailed(
                f"stopped: the student's weights are not finite after a step with optim.lr={lr:g}; "
                "the last checkpoint is from before; try a smaller optim.lr, or model.student.dtype=float32"
            )
        moved = weights.changed_share(before_W, weights.sample_weights(trained_parameters(self.pair.student)))
        return Update(loss, norm, lr, applied, self.bad_steps, moved)

    def save(self, folder: Path) -> None:
        """Write a transformers folder (for `from_pretrained`), with optimizer, schedule and counters beside it.

        Every process calls it. The main process writes the weights. Of a sharded optimizer each writes its part, into
        the folder `optimizer`; else the state is in trainer.pt.
        """
        state: dict[str, Any] = {"schedule": self.schedule.state_dict(), "bad_steps": self.bad_steps}
        if not self.sharded:
            state["optimizer"] = self.optimizer.state_dict()
        whole = gather_weights(self.pair.student)
        with self.world.shared_failure():
            if self.world.is_main:
                save_student(self.pair.student, folder, whole, self.pair.base)
                self.pair.tokenizer.save_pretrained(folder)
                # Use Python's own file: an error of torch's does not say why the file could not be written.
                with (folder / STATE).open("wb") as handle:
                    torch.save(state, handle)
        del whole
        if self.sharded:
            with self.world.shared_failure():
                save_shards(self.pair.student, self.optimizer, folder / SHARDS)

    def load(self, folder: Path) -> None:
        """Read everything but the weights, which `Pair.load` takes from the same folder. Raises RunError if broken."""
        file = folder / STATE
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            if "optimizer" not in state:
                load_shards(self.pair.student, self.optimizer, folder / SHARDS)
            elif self.sharded:
                load_whole_state(self.pair.student, self.optimizer, state["optimizer"])
            else:
                self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.bad_steps = int(state["bad_steps"])
        except RAISED as error:
            raise RunError(
                f"{file} is not the state of this run's optimizer ({error_text(error)}); remove {folder} to go on from "
                "the checkpoint before it, or train again with --fresh"
            ) from error
