"""The loop.

On-policy distillation with token selection, arXiv 2604.14084, section 3:

    for each step:
        sample responses from the current student
        score every token with student and teacher
        weights = selector(statistics of the whole step)
        minimise the weighted mean of the divergence over kept tokens

Departures from the paper's code: statistics are taken over the whole step and all processes, not a micro-batch; the
loss has one token count a step; logits are held of few tokens at a time; prompts that are too long are left out and
counted, never cut.
"""

from contextlib import nullcontext

import torch

from tipx.data import used_indices
from tipx.errors import Interrupted, RunFailed
from tipx.evals import heldout
from tipx.evals.contamination import overlapping_ids
from tipx.evals.exam import Exam
from tipx.evals.runner import Subject, check_room, evaluate_exam
from tipx.evals.suite import suite_parts
from tipx.noise import Noise
from tipx.processes import World
from tipx.rollout.engines import last_gap
from tipx.rollout.vllm import samples_by_engine
from tipx.runs import metric_keys as keys
from tipx.runs.metrics_file import Row
from tipx.sharding import whole_weights
from tipx.signals import asked_to_stop
from tipx.train import samples
from tipx.train import step_metrics as metrics
from tipx.train.dealing import Dealing, share_work
from tipx.train.session import Session, describe_kept
from tipx.types import Rollout, TokenStats, scatter_tokens
from tipx.vocab import TEACHER_ONLY


def distill(session: Session) -> Row:
    """Train from wherever the run stands to its end; returns the summary. Killed at any moment, it resumes exactly.

    Raises RunFailed after too many non-finite steps or on a full disk, Interrupted when asked to stop.
    """
    done, loop, run = session.open(), session.exp.loop, session.run
    if loop.eval_every or loop.eval_last:
        for exam in exams(session):
            check_room(subject(session), exam)
    if done == 0:
        session.record(0, measured(session, 0))

    def answer() -> None:
        saved = run.checkpoints.saved()
        newest = f"step {saved[-1][0]}" if saved else "nothing, for there is no checkpoint yet"
        session.watch.say(f"stopping after this step and its checkpoint; again: stop now, keeping {newest}")

    ahead = nullcontext() if session.ahead is None else session.ahead.closing()
    with asked_to_stop(answer, lambda: describe_kept(run)) as asked, ahead:
        for step in range(done + 1, loop.steps + 1):
            session.record(step, one_step(session, step) | measured(session, step))
            # Before saving: the same command again must fail again, not finish from a checkpoint of a broken run.
            if session.trainer.bad_steps > loop.max_bad_steps:
                raise RunFailed(
                    f"stopped at step {step}: loss or gradient was not finite in {session.trainer.bad_steps} steps "
                    f"(loop.max_bad_steps={loop.max_bad_steps}); try a smaller optim.lr, or loop.precision=no"
                )
            stop = session.world.all_reduce_max(asked())
            if stop or loop.due(loop.save_every, step) or step == loop.steps:
                session.save(step)
            if stop:
                raise Interrupted(f"stopped after step {step}, saved in {run.path}; the same command continues", stop)
        summary = session.close()
        if stop := session.world.all_reduce_max(asked()):
            raise Interrupted(describe_kept(run), stop)
    return summary


def one_step(session: Session, step: int) -> Row:
    """Sample, score, select, update; returns the step's metrics."""
    exp, world, meter, trainer = session.exp, session.world, session.meter, session.trainer
    torch.manual_seed(exp.seed * 1_000_003 + step)  # dropout, if a model has any; all else is keyed by (seed, step)
    noise = Noise(exp.seed, step)
    needs, logged = exp.selector.needs, statistics_to_log(session, step)
    if exp.rollout.gives_logprobs and needs - TEACHER_ONLY:
        needs = needs | {"student_logprob"}  # it comes with any score of the student

    with meter.phase("rollout"), world.autocast():  # sampled in the precision that is trained in
        states = exp.loop.score_from == "rollout" and bool((needs | logged) - TEACHER_ONLY)
        rollout, row = take_batch(session, step, states=states)
        rollout, dealing, balance = share_work(world, rollout, session.sampled)
    with meter.phase("score"):
        scored, own_stats = trainer.score(rollout, needs)
        stats = gather_stats(world, dealing, own_stats)
        valid_BT = dealing.gather_BT(world, rollout.valid_BT.long()).bool()
    seen = stats
    if missing := logged.difference(stats.computed()):
        with meter.phase("monitor"):
            more = gather_stats(world, dealing, trainer.rescore(rollout, scored.teacher, missing))
            seen = TokenStats(**{**more.computed(), **stats.computed()})
    with meter.phase("select"):
        weights_BT = exp.selector(stats, valid_BT, noise.substream("select"))
        own_weights_BT = weights_BT[list(dealing.rows[world.rank]), : rollout.valid_BT.shape[1]]
        count = weights_BT.sum() if exp.loop.denominator == "kept" else valid_BT.sum()
    if exp.loop.due(exp.loop.sample_every, step):
        with meter.phase("sample"):  # before the update: of the weights that sampled
            samples.keep(session, step, dealing, rollout, scored, own_stats, weights_BT)
    with meter.phase("train"):
        update = trainer.update(rollout, scored, own_weights_BT, float(count))

    if rollout.logprobs_N is not None and seen.student_logprob is not None:
        engine_BT = dealing.gather_BT(world, scatter_tokens(rollout.logprobs_N, rollout.valid_BT))
        row |= metrics.mismatch(engine_BT, seen, valid_BT)
        if not row.get(keys.STALENESS):
            session.warn_of_mismatch(row)
    if exp.rollout.gives_logprobs:
        row[keys.PUSH_GAP] = last_gap()
    ends = dealing.gather_list(world, list(zip(rollout.lengths, rollout.stop_reasons, strict=True)))
    if rollout.numbers:
        row |= metrics.agents(dealing.gather_list(world, rollout.numbers), ends)
    return (
        row
        | metrics.update(update)
        | metrics.selection(seen, gather_stats(world, dealing, update.kept), valid_BT, weights_BT, exp.quadrants)
        | metrics.lengths(ends)
        | balance
    )


def take_batch(session: Session, step: int, *, states: bool) -> tuple[Rollout, Row]:
    """What this process sampled of a step, and what is logged of how it came. The next batch is begun where it is due.

    `states` asks for the student's hidden states, which are never there of a batch that was sampled ahead.
    """
    ahead = session.ahead
    if ahead is None:
        return session.sample_step(step, states=states), {}
    batch = ahead.take(step)
    session.world.barrier()  # processes may share a server: it gets new weights when none waits for it any more
    if step < session.exp.loop.steps:
        ahead.begin(step + 1)
    return batch.rollout, metrics.ahead(batch)


def statistics_to_log(session: Session, step: int) -> frozenset[str]:
    """Statistics of all tokens that the log takes at a step: at monitored steps, and no more than must be scored."""
    exp = session.exp
    if not exp.loop.due(exp.loop.monitor_every, step):
        return frozenset()
    compared = frozenset({"student_logprob"}) if exp.rollout.gives_logprobs else frozenset()
    return compared | metrics.monitored(exp.selector)


def gather_stats(world: World, dealing: Dealing, own: TokenStats) -> TokenStats:
    """The statistics of the rows of all processes, in the order of the step, on the CPU."""
    return TokenStats(**{name: dealing.gather_BT(world, values_BT) for name, values_BT in own.computed().items()})


def measured(session: Session, step: int) -> Row:
    """What is due of the two measurements of the current weights: the benchmark's, and that on held-out texts."""
    loop, held = session.exp.loop, session.exp.heldout
    last = loop.eval_last and step == loop.steps
    row = accuracy(session, step) if last or loop.due(loop.eval_every, step) else {}
    return row | (held_out(session, step) if session.texts and loop.due(held.every, step) else {})


def held_out(session: Session, step: int) -> Row:
    """Perplexity and divergence on texts that are not trained on."""
    exp = session.exp
    out = session.run.eval_dir(step) / exp.heldout.folder_name(exp.model.template)
    with session.meter.phase("heldout"):
        result = heldout.evaluate_texts(
            session.texts, lambda r, n: session.trainer.score(r, n)[1], exp.hardware.micro_batch, session.world, out
        )
    return {keys.held_out(name): value for name, value in result.items()}


def subject(session: Session) -> Subject:
    """The student, to be evaluated."""
    return Subject(session.pair.student, session.pair.tokenizer)


def exams(session: Session) -> list[Exam]:
    """Each benchmark, taken as the run says."""
    exp, dtype = session.exp, str(session.pair.student.dtype).removeprefix("torch.")
    template = exp.model.template.resolve(session.pair.tokenizer)
    return [
        Exam(benchmark, exp.eval, exp.seed, template, dtype=dtype, usual=dtype)
        for benchmark in suite_parts(exp.benchmark)
    ]


def trained_on(session: Session, exam: Exam, step: int) -> list[str]:
    """Ids of the problems that the steps so far used as prompts: none, unless the guard is off."""
    loop = session.exp.loop
    used = used_indices(len(session.questions), step, loop.prompts, session.exp.seed)
    return overlapping_ids(exam.problems, [session.questions[i] for i in used])


def accuracy(session: Session, step: int) -> Row:
    """Accuracy on each benchmark with the current weights."""
    row = Row()
    if session.ahead is not None:
        session.ahead.wait()  # the engine that samples the next batch may be the one that answers
    for exam in exams(session):
        name = exam.benchmark.name
        tick = session.watch.phase(f"{name} at step {step}", exam.answers)
        out = session.run.eval_dir(step) / exam.folder_name
        with session.meter.phase("eval"):
            own = not samples_by_engine(exam.how.sampling)
            with whole_weights(session.pair.student, wanted=own):
                result = evaluate_exam(
                    subject(session), exam, out, session.world, tick, trained_on(session, exam, step)
                )
        names = {"mean", "mean_se", "greedy"} & result.keys()
        row |= {keys.evaluation(name, key): result[key] for key in sorted(names)}
    return row
