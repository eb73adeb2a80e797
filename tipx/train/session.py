"""Around the loop: everything live that it uses, made ready, and brought to an end."""

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import uuid4

from tipx.adapters import trained_parameters
from tipx.agents.loop import AgentRollouts
from tipx.data import FromFiles, batch_indices
from tipx.errors import ConfigError, Interrupted, RunError
from tipx.evals.contamination import Contamination
from tipx.evals.heldout import Encoded, encode_texts
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.processes import World
from tipx.rollout import RolloutRequest, check_call
from tipx.rollout.engines import last_tolerance, open_engines
from tipx.rollout.hf import eos_ids
from tipx.rollout.vllm import samples_by_engine
from tipx.runs import metric_keys as keys
from tipx.runs.directory import Run
from tipx.runs.metrics_file import Row, RowStream
from tipx.sharding import whole_weights
from tipx.signals import Stopped
from tipx.train import preflight, weights
from tipx.train.ahead import Ahead, find_engine_ahead, write_batch
from tipx.train.dealing import Dealing, deal_in_turn
from tipx.train.experiment import Experiment
from tipx.train.loggers import Silence, Sink
from tipx.train.meter import Meter
from tipx.train.preflight import Finding, RunFacts
from tipx.train.trainer import Trainer
from tipx.types import Prompt, Rollout


@runtime_checkable
class Watcher(Protocol):
    """Who is told how the run goes: a progress display, or nobody."""

    def say(self, message: str) -> None: ...

    def step(self, row: Row) -> None: ...

    def phase(self, name: str, total: int) -> Callable[[int], None]: ...


@dataclass
class Session:
    """One process's part in a run."""

    exp: Experiment
    run: Run
    world: World
    watch: Watcher
    sink: Sink = field(default_factory=Silence)
    meter: Meter = field(init=False)
    pair: LoadedPair = field(init=False)
    trainer: Trainer = field(init=False)
    facts: RunFacts = field(init=False)
    findings: list[Finding] = field(init=False)
    prompts: list[list[int]] = field(init=False)
    questions: list[Prompt] = field(init=False)
    texts: list[Encoded] = field(default_factory=list)
    warned: bool = False
    ahead: Ahead | None = None

    def prepare(self, *, fresh: bool = False) -> None:
        """Tokenizers, prompts and texts, and whether all fits together: before weights are loaded or a file is touched.

        With `fresh` nothing of an earlier start counts. Raises ConfigError, ModelError or DataError, and RunError where
        the run was trained on other prompts.
        """
        self.check_folder()
        if not isinstance(self.exp.rollout, AgentRollouts):
            check_call(self.exp.rollout)
        if self.exp.loop.score_from == "rollout" and not self.exp.rollout.records_states:
            raise ConfigError(
                f"loop.score_from=rollout: {type(self.exp.rollout).__name__} leaves no hidden states to score from; "
                "set loop.score_from=forward, or rollout=hf"
            )
        # A benchmark that is fetched later must not change a run's prompts: what was left out first stays so.
        earlier = self.run.provenance() if self.world.is_main and not fresh else {}
        noted, before = self.world.broadcast((earlier.get("guard"), earlier.get("data")))
        self.facts = preflight.gather_facts(self.exp, None if noted is None else Contamination(**noted))
        if before is not None:
            self.refuse_other_prompts(before)
        room = self.world.broadcast(preflight.check_room(self.facts, self.world.size, self.world.memory))
        self.findings = [*preflight.examine_facts(self.facts), room]
        preflight.raise_first_error(self.findings)
        self.prompts, self.questions = self.facts.prompts, [asked.question for asked in self.facts.fit]
        for finding in self.findings:
            self.tell(finding)
        if self.exp.heldout.every:
            self.texts = encode_texts(self.exp.heldout, self.facts.student.tokenizer, self.exp.model.template)

    def check_folder(self) -> None:
        """Raises ConfigError on every process unless all see the run's directory as the main one, on any node."""
        world, path = self.world, str(self.run.path.absolute())
        if world.size == 1:
            return
        token, place = world.broadcast((uuid4().hex, f"{path} of {socket.gethostname()}"))
        with self.run.showing(token) if world.is_main else nullcontext():
            world.barrier()
            blind = world.gather_list([] if self.run.sees(token) else [f"{socket.gethostname()} (as {path})"])
        if blind:
            raise ConfigError(
                f"runs_dir: {', '.join(sorted(set(blind)))} does not see {place}; all processes must see one folder: "
                "give one that all nodes share, runs_dir=/path/to/shared/runs"
            )

    def tell(self, finding: Finding) -> Finding:
        """Shows a warning; returns the finding."""
        if finding.level == "warning":
            self.watch.say(f"warning: {finding.check}: {finding.text}")
        return finding

    def refuse_other_prompts(self, before: Row) -> None:
        """Raises RunError unless the prompts are those that the run has been trained on so far."""
        then, now = before["sha256"], self.facts.fingerprint
        if then != now:
            raise RunError(
                f"{self.run.path} was trained on {before['prompts']} prompts of fingerprint {then[:12]}, and there are "
                f"{len(self.facts.fit)} of {now[:12]}: the data, or how they are encoded, changed; put back what it "
                "was, or train anew with --fresh"
            )

    def data(self) -> Row:
        """What the run is trained on: the fingerprint of its prompts, and the files that they are from."""
        files = self.exp.data.record() if isinstance(self.exp.data, FromFiles) else {}
        facts = self.facts
        return files | {
            "rows": len(facts.questions) + len(facts.guard.ids),
            "prompts": len(facts.fit),
            "sha256": facts.fingerprint,
        }

    def open(self) -> int:
        """Load models and the newest good checkpoint; returns the step that is done, 0 for a new run."""
        self.meter = Meter(self.world.device)
        if self.world.is_main:
            self.run.note("guard", self.facts.guard.record())
            self.run.note("data", self.data())
        tokenizer = self.facts.student.tokenizer
        saved = self.world.broadcast(self.run.newest_checkpoint(self.watch.say) if self.world.is_main else None)
        done, folder = saved if saved is not None else (0, None)
        self.pair = self.exp.model.load(self.world.device, tokenizer, folder, self.world)
        self.trainer = Trainer(self.exp, self.pair, self.world)
        share = weights.movable_share(weights.sample_weights(trained_parameters(self.pair.student)), self.exp.optim.lr)
        self.findings.append(self.tell(preflight.check_movement(share, self.exp)))
        if self.world.is_main:
            self.run.save_preflight([finding.row() for finding in self.findings])
        if folder is not None:
            self.trainer.load(folder)
            self.watch.say(f"resuming after step {done} of {self.exp.loop.steps}")
        if (engine := find_engine_ahead(self.exp.rollout)) is not None:
            self.ahead = Ahead(partial(engine.awake, self.pair.student), self.sample_step)
            if folder is not None and done < self.exp.loop.steps:
                rows = self.sampled.rows[self.world.rank]
                prompts = [self.prompts[i] for i in self.chosen(done + 1, rows)]
                self.ahead.load(folder, self.exp.loop.sequences, rows, prompts, self.world.device)
        if self.world.is_main:
            self.run.rewind(done if folder else -1)
            self.sink.resume(RowStream(self.run.metrics_file))
        self.world.barrier()
        return done

    @property
    def sampled(self) -> Dealing:
        """Which responses of a step each process samples."""
        return deal_in_turn(self.exp.loop.sequences, self.world.size)

    def sample_step(self, step: int, *, states: bool = False) -> Rollout:
        """The current student's responses to the prompts of a step, this process's rows."""
        noise, rows = Noise(self.exp.seed, step).substream("rollout"), self.sampled.rows[self.world.rank]
        return self.sample(self.chosen(step, rows), rows, noise, states=states)

    def sample(self, chosen: Sequence[int], rows: Sequence[int], noise: Noise, *, states: bool) -> Rollout:
        """The current student's responses to the prompts of these numbers, or an agent's trajectories.

        `rows` are the responses' indices in the whole step, `states` asks for the student's hidden states.
        """
        how, student, tokenizer = self.exp.rollout, self.pair.student, self.pair.tokenizer
        prompts = [self.prompts[i] for i in chosen]
        request = RolloutRequest(prompts=prompts, rows=rows, noise=noise, with_states=states)
        with whole_weights(student, wanted=not samples_by_engine(how)):
            if not isinstance(how, AgentRollouts):
                return how(student, tokenizer, request)
            chat = self.exp.model.template.build_chat(tokenizer, eos_ids(student, tokenizer))
            return how.rollout(student, chat, [self.questions[i].task for i in chosen], request)

    def chosen(self, step: int, rows: Iterable[int]) -> list[int]:
        """Which prompt each of these rows of a step answers, as an index of `prompts` and `questions`."""
        loop = self.exp.loop
        order = batch_indices(len(self.prompts), step, loop.prompts, self.exp.seed)
        return [order[row // loop.rollouts] for row in rows]

    def record(self, step: int, row: Row) -> None:
        """One line of metrics with times and memory, to the run, the logger and the display."""
        times = self.meter.read()
        spent = sum(times.get(keys.TIME.of(phase), 0.0) for phase in keys.TRAINING)
        speed = {keys.TOKENS_PER_S: row[keys.SAMPLED_TOKENS] / spent} if keys.SAMPLED_TOKENS in row else {}
        if row and self.world.is_main:
            line = {keys.STEP: step} | row | times | speed
            self.run.log(line)
            self.sink.log(line, step)
            self.watch.step(line)

    def engines(self) -> AbstractContextManager[None]:
        """Engines that are made inside write their log into the run, and are stopped at the end."""
        name = "vllm.log" if self.world.is_main else f"vllm-{self.world.rank}.log"
        return open_engines(self.run.path / name, "bfloat16" if self.exp.loop.precision == "bf16" else None)

    def warn_of_mismatch(self, row: Row) -> None:
        """Says once that the engine's log-probabilities of what it sampled are far from the trainer's."""
        gap, tolerance = row.get(keys.MISMATCH_ABS_MEAN, 0.0), last_tolerance()
        if gap > tolerance and not self.warned:
            self.warned = True
            self.watch.say(
                f"warning: the engine's log-probabilities of the tokens it sampled are {gap:.2g} nats from the "
                f"trainer's, more than rollout.tolerance={tolerance:g}; see {keys.MISMATCH_ABS_MEAN} of later steps, "
                "and compare with rollout=hf"
            )

    def save(self, step: int) -> None:
        """A checkpoint, with the batch that is sampled ahead. Every process calls it."""
        sampled = [] if self.ahead is None else self.world.gather_list(self.ahead.rows())

        def fill(folder: Path) -> None:
            self.trainer.save(folder)
            if sampled and self.world.is_main:
                write_batch(folder, self.sampled.in_order(sampled))

        with self.world.shared_failure():
            if self.world.is_main:
                self.write_checkpoint(step, fill)
            else:
                folder: Path | None = self.world.broadcast(None)
                if folder is not None:
                    fill(folder)

    def write_checkpoint(self, step: int, fill: Callable[[Path], None]) -> None:
        """The main process's part: the folder is told to the others as soon as it is there, or that it never is."""
        told = False

        def fill_together(folder: Path) -> None:
            nonlocal told
            told = True
            fill(self.world.broadcast(folder))

        try:
            self.run.save_checkpoint(step, fill_together, self.exp.loop.keep_checkpoints)
        finally:
            if not told:
                self.world.broadcast(None)

    def close(self) -> Row:
        """Write the summary, which marks the run as finished: first and last evaluation, last metrics."""
        summary: Row = {}
        if self.world.is_main:
            rows = self.run.rows()
            summary = {"steps": self.exp.loop.steps, "bad_steps": self.trainer.bad_steps, "last": rows[-1]}
            for kind in (keys.EVAL, keys.HELDOUT):
                names = {name for name in rows.names if keys.group(name) == kind}
                found = [{k: v for k, v in row.items() if k in names} for row in rows.having(names.__contains__)]
                for when, parts in (("before", found[:1]), ("after", found[-1:])):
                    summary[when] = summary.get(when, {}) | (parts[0] if parts else {})
            summary = {key: value for key, value in summary.items() if value != {}}
            self.run.checkpoints.remove_old(self.exp.loop.keep_checkpoints)
            self.run.finish(summary)
        self.world.barrier()
        return summary


@contextmanager
def say_what_is_kept(run: Run) -> Iterator[None]:
    """A signal that stops the work inside comes out as `Interrupted`, whose line says what the run keeps."""
    try:
        yield
    except Stopped as stop:
        raise Interrupted(describe_kept(run), stop.number) from None


def describe_kept(run: Run) -> str:
    """What is left of a run that stops now."""
    if run.finished:
        return f"stopped after the last step; {run.path} is finished"
    if saved := run.checkpoints.saved():
        return f"stopped; step {saved[-1][0]} is kept in {run.path}, and the same command continues"
    rows = run.rows()
    if rows and rows[-1][keys.STEP]:
        return "stopped before the first checkpoint; no step is kept, and the same command starts again"
    return "stopped before step 1; nothing had been trained yet, and the same command starts again"
