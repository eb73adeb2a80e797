"""The two jobs behind `tipx train` and `tipx eval`: from overrides to a finished run or result."""

import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch
import transformers

from tipx import config
from tipx.agents.server import ServedAgents
from tipx.display.progress import Quiet, Screen
from tipx.display.tables import asked
from tipx.errors import ConfigError, Damaged, ModelError
from tipx.evals import Evaluation
from tipx.evals.exam import Exam
from tipx.evals.job import EvalJob
from tipx.evals.runner import conditions, evaluate, ready
from tipx.evals.settle import Settled, settle
from tipx.evals.suite import parts
from tipx.evals.trained_on import trained_on
from tipx.files.atomic import damaged
from tipx.files.names import wrong_name, wrong_path
from tipx.memory.finding import memory_finding
from tipx.models.locate import EMBEDDED, PACKAGE
from tipx.models.pair import Dtype
from tipx.runs.directory import FRESH, Row, Run, find_run, is_run, runs_of
from tipx.runs.results import FILE, model_name, read_result
from tipx.train import preflight
from tipx.train.experiment import Experiment
from tipx.train.loop import distill
from tipx.train.session import Session, keeping

STACK = ("tipx", "torch", "transformers", "accelerate", "hydra-core", "numpy")


def train(overrides: Sequence[str], *, fresh: bool, config_dir: Path | None) -> tuple[Run, bool]:
    """Train the run that `overrides` describe, from wherever it stands; (run, whether there was anything to do)."""
    cfg, choices = config.composed(overrides, "train", config_dir)
    exp: Experiment = config.build(cfg, config_dir)
    run = Run(run_path(config.resolved(cfg), choices))
    if run.finished and not fresh:
        return run, False
    quiet_libraries()
    with keeping(run), exp.hardware.start(exp.loop.precision).closing() as world:
        world.shard_rows(exp.loop.sequences)
        if not world.is_main:
            if world.broadcast(run.finished):  # what the main process says, under the lock
                return run, False
            session = Session(exp, run, world, Quiet())
            session.prepare(fresh=fresh)
            world.barrier()
            distill(session)
            return run, True
        with run.lock(), Screen(exp.loop.steps) as screen:
            run.recover(screen.say)
            # Another process may have finished it between the first look and the lock.
            if world.broadcast(run.finished and not fresh):
                return run, False
            session = Session(exp, run, world, screen)
            try:
                exp.logger.check()
                run.repair(screen.say)
                session.prepare(fresh=fresh)
                tree = config.stored(cfg)
                Run.create(run.path, tree, provenance(world.size, str(world.device)), fresh=fresh)
                run.note("choices", choices)
                run.note("overrides", list(overrides))
                world.barrier()
                session.sink = exp.logger.open(run.path, tree)
                distill(session)
            finally:
                session.sink.finish()
                run.recover(screen.say)
                run.discard_if_empty()
    return run, True


def check(overrides: Sequence[str], config_dir: Path | None) -> list[Row]:
    """What `train` would find out before its first step, and the memory that a step is predicted to take."""
    exp: Experiment = config.build(config.load(overrides, "train", config_dir), config_dir)
    quiet_libraries()
    findings = preflight.examine(preflight.gather(exp))
    return [finding.row() for finding in (*findings, memory_finding(exp))]


def run_path(tree: config.Tree, choices: Mapping[str, str]) -> Path:
    """runs_dir/group/name-hash8, or where that run lies under an older label.

    Raises ConfigError for a place where `tipx runs` would not find it.
    """
    name = f"{choices['model']}-{choices['selector']}" if tree["name"] is None else tree["name"]
    for key, part in (("group", tree["group"]), ("name", name)):
        if not isinstance(part, str | int | float):
            raise ConfigError(f"{key}: expected the name of one folder, got {part!r}")
        if wrong := wrong_name(str(part)):
            raise ConfigError(f"{key}: {wrong}")
    folder = f"{name}-{config.identity(tree)}"
    if wrong := wrong_name(folder):
        raise ConfigError(f"name: with the run's hash, {wrong}")
    path = runs_folder(tree["runs_dir"]) / str(tree["group"]) / folder
    return path if is_run(path) else same_run(path, tree) or path


def same_run(path: Path, tree: config.Tree) -> Path | None:
    """A run beside `path` that means the same under an older label; the finished one if there are several."""
    name, wanted = path.name.rpartition("-")[0], config.identity(tree)
    runs = [run for run in runs_of(path.parent) if run.hash is not None and run.path.name == f"{name}-{run.hash}"]
    same = [run for run in runs if stored_identity(run.path) == wanted]
    return max(same, key=lambda run: run.finished).path if same else None


@cache
def stored_identity(path: Path) -> str | None:
    """Which run a directory holds, by its configuration; None where it cannot be told.

    Text from the environment is not stored, and may be another today: then the label must fit what it is filled with.
    """
    try:
        tree = Run(path).config()
        filled = config.filled(tree)
    except (Damaged, ConfigError):
        return None
    return config.identity(filled) if filled == tree or config.first_identity(filled) == Run(path).hash else None


def runs_folder(value: object) -> Path:
    """`runs_dir` as a path; raises ConfigError."""
    wrong = wrong_path(value) if isinstance(value, str) else f"expected a path, got {value!r}"
    if wrong:
        raise ConfigError(f"runs_dir: {wrong}; give it as runs_dir=/path/to/runs")
    return Path(str(value))


def evaluation(target: str, overrides: Sequence[str], config_dir: Path | None) -> list[tuple[Row, Path, bool]]:
    """Evaluate a run's checkpoint or a model folder; (result, its folder, whether there was anything to do) for each.

    There is one benchmark, or those of a suite. A run lends its prompt template and sampling limits, unless the
    overrides set them; a model folder is asked as the benchmark says.
    """
    cfg = config.load(overrides, "eval", config_dir)
    runs_dir = runs_folder(cfg.runs_dir)
    run = find_run(target, runs_dir)
    if run is None:
        cfg = config.load(config.asked(overrides, config_dir), "eval", config_dir)
    else:
        made = run.config()
        sampling, template = (run.need(made, key, dict) for key in ("eval.sampling", "model.template"))
        lent = {"eval": {"sampling": sampling}, "template": template}
        config.inherit(cfg, lent, overrides)
    job: EvalJob = config.build(cfg, config_dir)
    check_sampling(job, overrides)
    how, usual = asked_by_name(job, target, run), "float32"
    if run is not None:
        step, folder = run.checkpoint(str(job.checkpoint))
        place, base, usual = str(folder), run.eval_dir(step), run.need(made, "model.student.dtype", str)
        if usual not in get_args(Dtype):
            raise damaged(run.config_file, f"model.student.dtype is {usual!r:.40}", FRESH)
    else:
        elsewhere = isinstance(job.eval.sampling, ServedAgents)  # the target is the name of a result
        place = target if elsewhere else known_model(target, runs_dir)
        if job.checkpoint != "last":
            raise ConfigError(f"checkpoint={job.checkpoint}: {target!r} is a model, which has none; leave it out")
        base = runs_dir / "eval" / model_name(target)
    quiet_libraries()
    settled = settle(job, how, place)
    unread = config.from_environment(cfg)
    exams = [settled.exam(one, job.seed, unread, usual) for one in parts(job.benchmark)]
    todo = [(exam, base / exam.folder_name) for exam in exams]
    missing = [not (out / FILE).exists() for _, out in todo]
    known = None if run is None else trained_on(run, step, settled.tokenizer, exams, config_dir)
    results = [
        row | more for row, more in zip(measure(job, settled, todo, known), known or [{}] * len(todo), strict=True)
    ]
    return list(zip(results, [out for _, out in todo], missing, strict=True))


def check_sampling(job: EvalJob, overrides: Sequence[str]) -> None:
    """Raises ConfigError where both the command line and the model's card are to say how answers are sampled."""
    typed = [
        word for word in overrides if re.match(r"[+~]*eval\.sampling\.(backend\.)?(temperature|top_p|top_k)=", word)
    ]
    if job.sampling == "model_card" and typed:
        raise ConfigError(f"{typed[0]} and sampling=model_card: two say how answers are sampled; leave one out")


def asked_by_name(job: EvalJob, target: str, run: Run | None) -> Evaluation:
    """How it is evaluated, with the name of the model that a server has, so that two of them have two results."""
    sampling = job.how.sampling
    if not isinstance(sampling, ServedAgents):
        return job.how
    if run is not None:
        raise ConfigError(
            f"{target!r} is a run, and what is behind {sampling.shown!r} is not known to be its student; give the "
            "result a name of its own: tipx eval NAME ... (`tipx export` makes a model folder of a run, to be served)"
        )
    return replace(job.how, sampling=replace(sampling, model=sampling.served()))


def known_model(target: str, runs_dir: Path) -> str:
    """`target` if it can be a model: an existing folder, the embedded pair or a hub id; else raises ModelError."""
    hub_id = target.count("/") == 1 and not target.startswith(".")
    if hub_id or Path(target).exists() or target.startswith((EMBEDDED, PACKAGE)):
        return target
    raise ModelError(f"{target!r} is no run under {runs_dir} and no model folder or hub id; `tipx runs` lists the runs")


def measure(
    job: EvalJob, settled: Settled, todo: Sequence[tuple[Exam, Path]], trained: Sequence[Row] | None
) -> list[Row]:
    """Load and evaluate on each benchmark, each result in its folder; an existing one is returned as it is.

    `trained` says of each which problems the model was trained on, where that is known.
    """
    if all((out / FILE).exists() for _, out in todo):
        return [read_result(out / FILE) for _, out in todo]
    with job.hardware.start("no").closing() as world:
        subject = settled.subject(world.device)
        with Screen(sum(exam.answers for exam, _ in todo)) if world.is_main else Quiet() as screen:
            if subject is not None:
                for exam, _ in todo:
                    ready(subject, exam)
                screen.say(asked(conditions(todo[0][0])))
            return [
                evaluate(
                    subject, exam, out, world, screen.phase(exam.benchmark.name, exam.answers), one.get("trained_on")
                )
                for (exam, out), one in zip(todo, trained or [{}] * len(todo), strict=True)
            ]


def provenance(processes: int, device: str) -> dict[str, Any]:
    """Commit, versions, hardware and command: enough to find out why two numbers differ."""
    return {
        "argv": sys.argv,
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "versions": {name: version(name) for name in STACK},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "cores": os.cpu_count(),
        "processes": processes,
    }


def git(*args: str) -> str | None:
    """Output of a git command in the package's own folder; None outside a checkout."""
    try:
        done = subprocess.run(
            ["git", *args],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def quiet_libraries() -> None:
    """Their progress bars and advice would tear the display; errors still show."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
