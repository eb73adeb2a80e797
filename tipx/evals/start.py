"""What `tipx eval` does: from a run or a model, and overrides, to results."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from tipx import config
from tipx.agents.server import ServedAgents
from tipx.display.progress import Quiet, Screen
from tipx.display.tables import asked
from tipx.errors import ConfigError
from tipx.evals import Evaluation
from tipx.evals.exam import Exam
from tipx.evals.job import EvalJob
from tipx.evals.runner import check_ready, evaluate_exam, exam_conditions
from tipx.evals.settle import Settled, settle_evaluation
from tipx.evals.suite import suite_parts
from tipx.evals.trained_on import find_trained_problems
from tipx.files.atomic import damaged
from tipx.models.locate import EMBEDDED, PACKAGE
from tipx.models.pair import Dtype
from tipx.models.quiet import quiet_libraries
from tipx.rollout.engines import open_engines
from tipx.rollout.vllm import VLLMRollouts
from tipx.runs.directory import FRESH, Run
from tipx.runs.find import find_run, no_run
from tipx.runs.metrics_file import Row
from tipx.runs.place import runs_folder
from tipx.runs.results import FILE, model_name, read_result


def evaluate_target(target: str, overrides: Sequence[str], config_dir: Path | None) -> list[tuple[Row, Path, bool]]:
    """Evaluate a run's checkpoint or a model folder; (result, its folder, whether there was anything to do) for each.

    There is one benchmark, or those of a suite. A run lends its prompt template and sampling limits, unless the
    overrides set them; a model folder is asked as the benchmark says.
    """
    cfg = config.load(overrides, "eval", config_dir)
    runs_dir = runs_folder(cfg.runs_dir)
    run = find_run(target, runs_dir)
    if run is None:
        cfg = config.load(config.with_benchmark_choices(overrides, config_dir), "eval", config_dir)
    else:
        made = run.config()
        sampling, template = (run.need(made, key, dict) for key in ("eval.sampling", "model.template"))
        lent = {"eval": {"sampling": sampling}, "template": template}
        config.inherit(cfg, lent, overrides)
    job: EvalJob = config.build(cfg, config_dir)
    check_sampling(job, overrides)
    how, usual = name_served_model(job, target, run), "float32"
    if run is not None:
        step, folder = run.checkpoints.open(str(job.checkpoint))
        place, base, usual = str(folder), run.eval_dir(step), run.need(made, "model.student.dtype", str)
        if usual not in get_args(Dtype):
            raise damaged(run.config_file, f"model.student.dtype is {usual!r:.40}", FRESH)
    else:
        elsewhere = isinstance(job.eval.sampling, ServedAgents)  # the target is the name of a result
        place = target if elsewhere else check_model_name(target, runs_dir)
        if job.checkpoint != "last":
            raise ConfigError(f"checkpoint={job.checkpoint}: {target!r} is a model, which has none; leave it out")
        base = runs_dir / "eval" / model_name(target)
    quiet_libraries()
    settled = settle_evaluation(job, how, place)
    unread = config.environment_texts(cfg)
    exams = [settled.exam(one, job.seed, unread, usual) for one in suite_parts(job.benchmark)]
    todo = [(exam, base / exam.folder_name) for exam in exams]
    missing = [not (out / FILE).exists() for _, out in todo]
    known = None if run is None else find_trained_problems(run, step, settled.tokenizer, exams, config_dir)
    results = [
        row | more
        for row, more in zip(evaluate_exams(job, settled, todo, known), known or [{}] * len(todo), strict=True)
    ]
    return list(zip(results, [out for _, out in todo], missing, strict=True))


def check_sampling(job: EvalJob, overrides: Sequence[str]) -> None:
    """Raises ConfigError where both the command line and the model's card are to say how answers are sampled."""
    typed = [
        word for word in overrides if re.match(r"[+~]*eval\.sampling\.(backend\.)?(temperature|top_p|top_k)=", word)
    ]
    if job.sampling == "model_card" and typed:
        raise ConfigError(f"{typed[0]} and sampling=model_card: two say how answers are sampled; leave one out")


def name_served_model(job: EvalJob, target: str, run: Run | None) -> Evaluation:
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


def check_model_name(target: str, runs_dir: Path) -> str:
    """`target` if it can be a model: an existing folder, the embedded pair or a hub id; else raises RunError."""
    hub_id = target.count("/") == 1 and not target.startswith(".")
    if hub_id or Path(target).exists() or target.startswith((EMBEDDED, PACKAGE)):
        return target
    raise no_run(target, runs_dir, also=" and no model folder or hub id")


def evaluate_exams(
    job: EvalJob, settled: Settled, todo: Sequence[tuple[Exam, Path]], trained: Sequence[Row] | None
) -> list[Row]:
    """Load and evaluate on each benchmark, each result in its folder; an existing one is returned as it is.

    `trained` says of each which problems the model was trained on, where that is known.
    """
    if all((out / FILE).exists() for _, out in todo):
        return [read_result(out / FILE) for _, out in todo]
    backend = getattr(job.how.sampling, "backend", job.how.sampling)
    if isinstance(backend, VLLMRollouts):
        backend.check()
    log = todo[0][1].parent / "vllm.log"
    with job.hardware.start("no").closing() as world, open_engines(log):
        subject = settled.subject(world.device)
        with Screen(sum(exam.answers for exam, _ in todo)) if world.is_main else Quiet() as screen:
            if subject is not None:
                for exam, _ in todo:
                    check_ready(subject, exam)
                screen.say(asked(exam_conditions(todo[0][0])))
            return [
                evaluate_exam(
                    subject, exam, out, world, screen.phase(exam.benchmark.name, exam.answers), one.get("trained_on")
                )
                for (exam, out), one in zip(todo, trained or [{}] * len(todo), strict=True)
            ]
