"""Training end to end, ours beside TRL's DistillationTrainer: CPU seconds by phase, peak memory, accuracy.

Both train the same pair on the same prompts in the same order, with the same optimizer, schedule, batch and length of
responses, on one thread. Each samples in its own way: their random numbers differ, so their responses do. There are two
pairs: `tiny`, the embedded one, and `wide`, two small random Qwen3 models with Qwen3's vocabulary. Without a GPU, TRL
does its kernel's work with torch operations, and does it for padding too. Each case has a process of its own.

    python -m bench.training [--pair tiny wide] [--steps 15 2]
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.progress import track
from tokenizers import pre_tokenizers

from bench import peers, step
from bench.report import Shown
from bench.run import CaseFailed
from tipx.config import build, load
from tipx.display.progress import Quiet
from tipx.embedded.arithmetic.tokenizer import EOS, vocabulary
from tipx.embedded.tokenizer import build_word_tokenizer
from tipx.evals.runner import Subject, evaluate_exam
from tipx.memory import devices
from tipx.memory.duration import predict_time
from tipx.memory.layout import Layout
from tipx.models.quiet import quiet_libraries
from tipx.runs.directory import Run
from tipx.runs.metric_keys import MAX_LENGTH, MEAN_LENGTH, MEMORY, TIME
from tipx.train.experiment import Experiment
from tipx.train.loop import exams, one_step
from tipx.train.meter import Meter
from tipx.train.session import Session
from tipx.train.trainer import Trainer
from tipx.vocab import Head, Hidden

CPU = torch.device("cpu")
CPU_CLOCK = patch.object(devices, "perf_counter", time.process_time)
"""The device's figures in CPU seconds, as all that they are held against."""
TRL = "TRL DistillationTrainer"
CASES = {
    "tipx, full": ["selector=full"],
    "tipx, soft_or 0.2": ["selector=soft_or", "ratio=0.2"],
    TRL: ["selector=full"],
}
"""Overrides of the run; TRL's keeps every token."""
PAIRS = {
    "tiny": ["model=tiny", "eval.n=1"],
    "wide": [
        "model=tiny",
        "loop.prompts=16",
        "rollout.max_new_tokens=48",
        "rollout.batch_size=16",
        "optim.lr=1e-4",
        "optim.warmup_steps=0",
    ],
}
STEPS = {"tiny": 15, "wide": 2}
SHARED = ["hardware.device=cpu", "loop.eval_every=0", "loop.sample_every=0"]
SIZE = step.Size(vocab=151_936, layers=4, teacher=256, student=128, sequences=0, prompt=0, response=0, micro_batch=0)
"""Of the wide pair."""


class CpuMeter(Meter):
    """A meter whose seconds are CPU time, which other processes on the machine do not change."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.process_time()
        with super().phase(name):
            yield
        self.values[TIME.of(name)] = time.process_time() - began


def save_wide_pair(folder: Path) -> None:
    """Random teacher and student with the words of the embedded task, and others up to Qwen3's number."""
    words = vocabulary()
    words |= {f"word{number}": number for number in range(len(words), SIZE.vocab)}
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    for seed, (role, hidden) in enumerate({"teacher": SIZE.teacher, "student": SIZE.student}.items()):
        step.model(SIZE, hidden, seed).save_pretrained(folder / role)
        build_word_tokenizer(words, splitter, EOS).save_pretrained(folder / role)


def open_session(pair: str, case: str, steps: int, folder: Path) -> Session:
    """Models, prompts and optimizer of a run, which writes nothing but its evaluation."""
    words = [*SHARED, *PAIRS[pair], *CASES[case], f"loop.steps={steps}"]
    if pair == "wide":
        words += [f"model.{role}.path={folder / role}" for role in ("teacher", "student")]
    exp: Experiment = build(load(words))
    session = Session(exp, Run(folder / "run"), exp.hardware.start(exp.loop.precision), Quiet())
    session.prepare()
    session.pair = exp.model.load(CPU, session.facts.student.tokenizer)
    session.trainer, session.meter = Trainer(exp, session.pair, session.world), CpuMeter(CPU)
    return session


def load_kernels(exp: Experiment, size: int) -> None:
    """Scoring and a gradient of a few tokens, which compile the vocabulary's kernels or load them."""
    heads = [Head(torch.zeros(size, 8).requires_grad_()) for _ in range(2)]
    student, teacher = (Hidden(torch.zeros(32, 8), head) for head in heads)
    for needs in (exp.selector.needs, frozenset({"reverse_kl"})):
        exp.vocab.compute_statistics(student, teacher, torch.zeros(32, dtype=torch.long), needs, exp.divergence)
    exp.vocab.compute_loss(student, teacher, torch.ones(32), exp.divergence).backward()


def train_here(session: Session) -> dict[str, float]:
    """Our loop: CPU seconds of its phases, the highest of their peaks in MiB, and the seconds that were predicted."""
    totals: dict[str, float] = {}
    lengths: list[tuple[float, float]] = []
    with session.meter.phase("kernels"):
        load_kernels(session.exp, session.pair.rows)
    totals["kernels"] = session.meter.read()[TIME.of("kernels")]
    for number in range(1, session.exp.loop.steps + 1):
        row = one_step(session, number)
        lengths.append((row[MEAN_LENGTH], row[MAX_LENGTH]))
        for key, value in session.meter.read().items():
            phase = TIME.part_of(key)
            totals["mib"] = max(totals.get("mib", 0.0), value if MEMORY.part_of(key) else 0.0)
            if phase:
                totals[phase] = totals.get(phase, 0.0) + value
    return totals | predict_phases(session, *(round(fmean(length)) for length in zip(*lengths, strict=True)))


def predict_phases(session: Session, mean_length: int, max_length: int) -> dict[str, float]:
    """What `tipx memory --time here` predicts for all steps, from CPU seconds and the lengths that were sampled.

    A batch is sampled until its longest response ends.
    """
    with CPU_CLOCK:
        device = devices.measure_device(CPU)
    prompt = round(fmean(len(ids) for ids in session.prompts))
    times = [
        predict_time(session.exp, Layout(tokens=tokens, prompt_tokens=prompt, device="cpu"), device)
        for tokens in (max_length, mean_length)
    ]
    steps = session.exp.loop.steps
    return {
        "predicted rollout": steps * times[0].phase("rollout"),
        "predicted score": steps * times[1].phase("score"),
        "predicted train": steps * times[1].phase("train"),
    }


def train_with_trl(session: Session) -> dict[str, float]:
    """TRL's trainer on the same models, prompts, optimizer and schedule: scoring and selection are part of `train`."""
    trl, exp, pair = importlib.import_module("trl"), session.exp, session.pair
    loop, rollout = exp.loop, exp.rollout
    numbers = [i for at in range(1, loop.steps + 1) for i in session.chosen(at, range(loop.sequences))]
    texts = [session.questions[number].text for number in numbers]
    if pair.tokenizer(texts)["input_ids"] != [session.prompts[number] for number in numbers]:
        raise ValueError("TRL would see other prompts")
    micro = min(exp.hardware.micro_batch, loop.sequences)
    options = trl.DistillationConfig(
        output_dir=str(session.run.path / "trl"),
        max_steps=loop.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=loop.sequences // micro,
        max_completion_length=rollout.max_new_tokens,
        max_grad_norm=exp.optim.clip,
        beta=1.0,
        shuffle_dataset=False,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    optimizer = exp.optim.build(pair.student.parameters())
    trainer = trl.DistillationTrainer(
        model=pair.student,
        teacher_model=pair.teacher,
        args=options,
        train_dataset=importlib.import_module("datasets").Dataset.from_dict({"prompt": texts}),
        processing_class=pair.tokenizer,
        optimizers=(optimizer, exp.optim.build_schedule(optimizer, loop.steps)),
    )
    spent = SimpleNamespace(rollout=0.0)
    trainer._generate_single_turn = timed(trainer._generate_single_turn, spent)  # noqa: SLF001 - where it samples
    with session.meter.phase("train"):
        trainer.train()
    pair.student.eval()
    values = session.meter.read()
    return {
        "rollout": spent.rollout,
        "train": values[TIME.of("train")] - spent.rollout,
        "mib": values[MEMORY.of("train")],
    }


def timed(method: Callable[..., Any], spent: SimpleNamespace) -> Callable[..., Any]:
    """The method, with its CPU seconds added up."""

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.process_time()
        out = method(*args, **kwargs)
        spent.rollout += time.process_time() - began
        return out

    return call


def measure_here(pair: str, case: str, steps: int, folder: Path) -> dict[str, float]:
    """One case, in a process of its own. Memory is growth over what models and optimizer take."""
    quiet_libraries()
    session = open_session(pair, case, steps, folder)
    with session.meter.phase("before"):
        pass
    before = session.meter.read()[MEMORY.of("before")]
    result = train_with_trl(session) if case == TRL else train_here(session)
    result["mib"] -= before
    if pair == "tiny":
        (exam,) = exams(session)
        answers = evaluate_exam(
            Subject(session.pair.student, session.pair.tokenizer), exam, folder / case, session.world
        )
        result |= {key: answers[key] for key in ("mean", "greedy")}
    return result


def measure_alone(pair: str, case: str, steps: int, folder: Path) -> dict[str, float]:
    """`measure_here` in a fresh process."""
    command = [sys.executable, "-m", "bench.training", "--alone", pair, case, str(steps), str(folder)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        raise CaseFailed(f"{pair}, {case}: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def training_table(pair: str, steps: int, results: dict[str, dict[str, float]]) -> Shown:
    """A row a case; `-` is a phase that the trainer does not tell apart, or an accuracy that was not measured.

    `kernels` are seconds once a run, to compile the vocabulary's kernels or to load them; the total is without.
    """
    phases = ("rollout", "score", "select", "train")
    body = []
    for case, result in results.items():
        seconds = [f"{result[phase]:.1f}" if phase in result else "-" for phase in phases]
        total = sum(result.get(phase, 0.0) for phase in phases)
        right = [f"{result[key]:.3f}" if key in result else "-" for key in ("greedy", "mean")]
        kernels = f"{result['kernels']:.1f}" if "kernels" in result else "-"
        body.append([case, kernels, *seconds, f"{total:.1f}", f"{result['mib']:,.0f}", *right])
        predicted = [result.get(f"predicted {phase}") for phase in phases]
        if any(predicted):
            shown = ["-" if value is None else f"{value:.1f}" for value in predicted]
            body.append(["  predicted", "", *shown, f"{sum(value or 0 for value in predicted):.1f}", "", "", ""])
    head = ["training", "kernels", *phases, "total", "MiB", "greedy", "sampled"]
    return Shown(f"{pair} pair, {steps} steps, CPU s of one thread", head, body)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description="Training beside TRL's.")
    parser.add_argument("--pair", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS.values()), help="of tiny, and of wide")
    parser.add_argument("--alone", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        pair, case, steps, folder = args.alone
        print(json.dumps(measure_here(pair, case, int(steps), Path(folder))))  # noqa: T201
        return
    names = [case for case in CASES if case != TRL or peers.installed("trl")]
    for pair, steps in zip(args.pair, args.steps, strict=False):
        with tempfile.TemporaryDirectory() as name:
            if pair == "wide":
                save_wide_pair(Path(name))
            waiting = track(names, pair, console=Console(stderr=True), transient=True)
            results = {case: measure_alone(pair, case, steps, Path(name)) for case in waiting}
        Console(width=110).print(training_table(pair, steps, results).rich())


if __name__ == "__main__":
    main()
