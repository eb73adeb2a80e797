"""The loop.

On-policy distillation with token selection, arXiv 2604.14084, section 3:

    for each step:
        sample responses from the current student
        score every token with student and teacher
        weights = selector(statistics of the whole step)
        minimise the weighted mean of the divergence over kept tokens

Departures from the paper's code: statistics are taken over the whole step and all processes, not a micro-batch; the
loss has one token count a step; no tensor of (tokens x vocabulary) is made; prompts that are too long are left out and
counted, never cut.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from tipx import metrics
from tipx.data import batch_indices
from tipx.errors import DataError, Interrupted, RunFailed
from tipx.evals.runner import Subject, evaluate, folder_name
from tipx.experiment import Experiment
from tipx.loggers import Sink
from tipx.meter import Meter
from tipx.models import LoadedPair
from tipx.noise import Noise
from tipx.run import Row, Run
from tipx.trainer import Trainer
from tipx.types import Rollout, TokenStats
from tipx.world import World


class Watcher(Protocol):
    """Who is told how the run goes: a progress display, or nobody."""

    def say(self, message: str) -> None: ...

    def step(self, row: Row) -> None: ...

    def phase(self, name: str, total: int) -> Callable[[int], None]: ...


@dataclass
class Parts:
    """Everything live that the loop uses."""

    exp: Experiment
    run: Run
    world: World
    watch: Watcher
    pair: LoadedPair
    trainer: Trainer
    meter: Meter
    questions: list[list[int]]
    sink: Sink


def distill(exp: Experiment, run: Run, world: World, watch: Watcher, sink: Sink) -> Row:
    """Train from wherever the run stands to its end; returns the summary. Killed at any moment, it resumes exactly.

    Raises RunFailed after too many non-finite steps or on a full disk, Interrupted when asked to stop.
    """
    parts, done = prepare(exp, run, world, watch, sink)
    with asked_to_stop() as stopping:
        if done == 0:
            record(parts, 0, evaluation(parts, 0))
        for step in range(done + 1, exp.loop.steps + 1):
            row = one_step(parts, step)
            if exp.loop.due(exp.loop.eval_every, step):
                row |= evaluation(parts, step)
            record(parts, step, row)
            stop = world.any(stopping())
            if stop or exp.loop.due(exp.loop.save_every, step) or step == exp.loop.steps:
                save(parts, step)
            if parts.trainer.bad_steps > exp.loop.max_bad_steps:
                raise RunFailed(
                    f"stopped at step {step}: loss or gradient was not finite in {parts.trainer.bad_steps} steps "
                    f"(loop.max_bad_steps={exp.loop.max_bad_steps}); try a smaller optim.lr or loop.precision=no"
                )
            if stop and step < exp.loop.steps:
                raise Interrupted(f"stopped after step {step}, state saved in {run.path}; the same command continues")
    return finish(parts)


def one_step(parts: Parts, step: int) -> Row:
    """Sample, score, select, update; returns the step's metrics."""
    exp, world, meter = parts.exp, parts.world, parts.meter
    torch.manual_seed(exp.seed * 1_000_003 + step)  # dropout, if a model has any; all else is keyed by (seed, step)
    noise = Noise(exp.seed, step)
    rows = world.share(exp.loop.sequences)

    with meter.phase("rollout"):
        prompts = step_prompts(parts, step)
        rollout = exp.rollout(parts.pair.student, parts.pair.tokenizer, [prompts[r] for r in rows], rows, noise)
    with meter.phase("score"):
        teachers, stats = parts.trainer.score(rollout, needs(exp, step))
        step_stats = TokenStats(**{name: world.gather_BT(v_BT) for name, v_BT in stats.present().items()})
        valid_BT = world.gather_BT(rollout.valid_BT.long()).bool()
    with meter.phase("select"):
        weights_BT = exp.selector(step_stats, valid_BT, noise.of("select"))
        count = float(weights_BT.sum() if exp.loop.denominator == "kept" else valid_BT.sum())
    with meter.phase("train"):
        own_BT = weights_BT[rows.start : rows.stop, : rollout.valid_BT.shape[1]]
        update = parts.trainer.update(rollout, teachers, own_BT, count)

    lengths = world.gather_list(list(zip(rollout.lengths, rollout.stop_reasons, strict=True)))
    row: Row = {"train/loss": update.loss, "train/grad_norm": update.grad_norm, "train/lr": update.lr}
    row |= {"train/applied": update.applied, "train/bad_steps": parts.trainer.bad_steps}
    row |= metrics.selection(step_stats, valid_BT, weights_BT, exp.quadrants) | metrics.lengths(lengths)
    if world.is_main and exp.loop.due(exp.loop.sample_every, step):
        save_samples(parts, step, rollout, stats, own_BT)
    return row


def needs(exp: Experiment, step: int) -> frozenset[str]:
    """Statistics to compute at a step: the selector's, and at monitored steps those of the log."""
    return exp.selector.needs | (metrics.MONITORED if exp.loop.due(exp.loop.monitor_every, step) else frozenset())


def step_prompts(parts: Parts, step: int) -> list[list[int]]:
    """Prompt token ids of every sequence of the step, each prompt `rollouts` times in a row."""
    chosen = batch_indices(len(parts.questions), step, parts.exp.loop.prompts, parts.exp.seed)
    return [parts.questions[i] for i in chosen for _ in range(parts.exp.loop.rollouts)]


def evaluation(parts: Parts, step: int) -> Row:
    """Accuracy on the benchmark, with the current weights."""
    exp = parts.exp
    if exp.loop.eval_every == 0:
        return {}
    out = parts.run.eval_dir(step) / folder_name(exp.benchmark, exp.eval, exp.seed)
    tick = parts.watch.phase(f"eval at step {step}", len(exp.benchmark.load()[: exp.eval.limit]) * (exp.eval.n + exp.eval.greedy))
    subject = Subject(parts.pair.student, parts.pair.tokenizer, exp.model.template)
    with parts.meter.phase("eval"):
        result = evaluate(subject, exp.benchmark, exp.eval, exp.seed, out, parts.world, tick)
    row = {f"eval/{exp.benchmark.name}/mean": result["mean"], f"eval/{exp.benchmark.name}/mean_se": result["mean_se"]}
    return row | ({f"eval/{exp.benchmark.name}/greedy": result["greedy"]} if exp.eval.greedy else {})


def record(parts: Parts, step: int, row: Row) -> None:
    """One line of metrics, to the run, the logger and the display. At step 0 only if there is something to say."""
    times = parts.meter.read()
    spent = sum(times.get(f"time/{phase}", 0.0) for phase in ("rollout", "score", "select", "train"))
    speed = {"perf/tokens_per_s": row["tokens/n"] / spent} if "tokens/n" in row and spent else {}
    if row and parts.world.is_main:
        line = {"step": step} | row | times | speed
        parts.run.log(line)
        parts.sink.log(line, step)
        parts.watch.step(line)


def save(parts: Parts, step: int) -> None:
    """A checkpoint, by the main process; the others wait."""
    if parts.world.is_main:
        parts.run.save(step, parts.trainer.save, parts.exp.loop.keep_checkpoints)
    parts.world.barrier()


def save_samples(parts: Parts, step: int, rollout: Rollout, stats: TokenStats, weights_BT: torch.Tensor) -> None:
    """A few rollouts of this step, decoded."""
    decode, count = parts.pair.tokenizer.decode, parts.exp.loop.sample_count
    parts.run.save_samples(step, metrics.samples(rollout, stats, weights_BT, decode, count))


def prepare(exp: Experiment, run: Run, world: World, watch: Watcher, sink: Sink) -> tuple[Parts, int]:
    """Load models and prompts, and the newest good checkpoint if there is one; returns the step that is done."""
    world.share(exp.loop.sequences)
    saved = run.newest(watch.say) if world.is_main else None
    saved = world.gather_list([saved])[0]
    pair = exp.model.load(world.device, student_from=saved and str(saved[1]))
    trainer = Trainer(exp, pair, world)
    done = 0
    if saved is not None:
        done = saved[0]
        trainer.load(saved[1])
        watch.say(f"resuming after step {done} of {exp.loop.steps}")
    if world.is_main:
        run.rewind(done if saved else -1)
    world.barrier()
    return Parts(exp, run, world, watch, pair, trainer, Meter(world.device), encode_prompts(exp, pair, watch), sink), done


def encode_prompts(exp: Experiment, pair: LoadedPair, watch: Watcher) -> list[list[int]]:
    """Token ids of every training prompt that fits; the others are counted. Raises DataError if none is left."""
    prompts = [exp.model.template.encode(pair.tokenizer, p.text) for p in exp.data.load()]
    fit = [ids for ids in prompts if len(ids) <= exp.loop.max_prompt_tokens]
    if not fit:
        raise DataError(
            f"data: no prompt of {len(prompts)} is within loop.max_prompt_tokens={exp.loop.max_prompt_tokens}; "
            "raise it, or choose another data set (`tipx list data`)"
        )
    if len(fit) < len(prompts):
        watch.say(f"{len(prompts) - len(fit)} of {len(prompts)} prompts are longer than loop.max_prompt_tokens: left out")
    return fit


def finish(parts: Parts) -> Row:
    """The summary, written last: first and last evaluation, and the last step's metrics."""
    rows = [metrics_row for metrics_row in map(dict, parts.run.rows())] if parts.world.is_main else []
    rows = parts.world.gather_list([rows])[0]
    evals = [row for row in rows if any(key.startswith("eval/") for key in row)]
    pick: Callable[[Any], Row] = lambda row: {k: v for k, v in row.items() if k.startswith("eval/")}  # noqa: E731
    summary: Row = {"steps": parts.exp.loop.steps, "bad_steps": parts.trainer.bad_steps, "last": rows[-1]}
    if evals:
        summary |= {"before": pick(evals[0]), "after": pick(evals[-1])}
    if parts.world.is_main:
        parts.run.finish(summary)
    return summary


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM (a scheduler's preemption) set a flag; a second one ends the process at once."""
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        if asked:
            signal.default_int_handler(number, None)
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
