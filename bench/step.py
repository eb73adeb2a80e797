"""Peak memory and time of one whole training step, both models' bodies included: ours against materialised logits.

Teacher and student are small random Qwen3 models with Qwen3's vocabulary; rollouts are random tokens. The step is that
of a run, `one_step` of the loop, with the default `loop.monitor_every`: a monitored step logs statistics that its
selector may not need. Time is the mean over one period of monitored and other steps, memory the higher of the two. Each
case has a process of its own, because only a fresh one has a meaningful peak. Printed are ratios to the first row:
memory is growth of the resident set, time is CPU time.

    python -m bench.step [--selector soft_or entropy_top random prefix] [--ratio 0.5 0.2 0.1] [--sequences 8] ...
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from tipx.config import build, load
from tipx.display.progress import Quiet
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.memory import materialise
from tipx.models.head import backbone, lm_head
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.rollout.collect import from_lists
from tipx.runs.directory import Run
from tipx.runs.metric_keys import MEMORY
from tipx.train.batching import micro_batches
from tipx.train.experiment import Experiment
from tipx.train.loop import one_step
from tipx.train.meter import Meter
from tipx.train.session import Session
from tipx.train.trainer import Trainer
from tipx.types import Rollout
from tipx.vocab import Hidden

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Size:
    """Of models and rollouts."""

    vocab: int
    layers: int
    teacher: int
    student: int
    sequences: int
    prompt: int
    response: int
    micro_batch: int


def model(size: Size, hidden: int, seed: int) -> PreTrainedModel:
    """Random weights; tied embeddings."""
    torch.manual_seed(seed)
    heads = hidden // 32
    config = Qwen3Config(
        vocab_size=size.vocab,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        head_dim=32,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config).eval()


def rollouts(size: Size) -> Rollout:
    """Random tokens; responses of different lengths, half the longest to the longest."""
    g = torch.Generator().manual_seed(0)
    prompts = torch.randint(size.vocab, (size.sequences, size.prompt), generator=g).tolist()
    lengths = torch.linspace(size.response // 2, size.response, size.sequences).long().tolist()
    responses = [torch.randint(size.vocab, (n,), generator=g).tolist() for n in lengths]
    return from_lists(prompts, responses, ["length"] * size.sequences, CPU)


class SampledSession(Session):
    """A session whose responses are there already."""

    made: Rollout

    def chosen(self, step: int, rows: Any) -> list[int]:
        return []

    def sample(self, chosen: Sequence[int], rows: Sequence[int], noise: Noise, *, states: bool) -> Rollout:
        return self.made


def open_session(trainer: Trainer) -> SampledSession:
    """Around a trainer, without a run's directory."""
    session = SampledSession(trainer.exp, Run(Path("unused")), trainer.world, Quiet())
    session.trainer, session.pair, session.meter = trainer, trainer.pair, Meter(trainer.world.device)
    return session


def materialised(trainer: Trainer, made: Rollout) -> None:
    """Both models' logits of every token exist, one micro-batch after another, and then tokens are chosen by entropy.

    Log-softmaxes are made in chunks of rows, none of which is given up before the backward pass: what `tipx memory
    --implementation materialise` predicts.
    """
    pair, ratio = trainer.pair, trainer.exp.ratio
    batches = list(micro_batches(made, made.valid_BT, trainer.exp.hardware.micro_batch))
    for batch in batches:
        with torch.no_grad():
            teacher_NV = materialise.full_logits(
                Hidden(batch.hidden_states(backbone(pair.teacher)), lm_head(pair.teacher))
            )
        student_NV = materialise.full_logits(Hidden(batch.hidden_states(backbone(pair.student)), lm_head(pair.student)))
        count = int(ratio * len(student_NV))
        if ratio < 1:
            index_K = materialise.entropies(student_NV).topk(count).indices.sort().values
            student_NV, teacher_NV = (materialise.rows_of(x, index_K) for x in (student_NV, teacher_NV))
        loss = materialise.chunked_loss(student_NV, teacher_NV)
        del student_NV, teacher_NV
        loss.backward()
    trainer._apply_gradients(0.0)  # noqa: SLF001 - the rest of a step is the same


def experiment(selector: str, ratio: float, size: Size) -> Experiment:
    """On the CPU, in single precision, without saved samples."""
    overrides = [f"selector={selector}", f"ratio={ratio}", f"hardware.micro_batch={size.micro_batch}"]
    overrides += [f"loop.prompts={size.sequences}", "loop.rollouts=1", "loop.sample_every=0"]
    exp: Experiment = build(load([*overrides, "hardware.device=cpu", "optim.warmup_steps=0"]))
    return exp


def period(exp: Experiment) -> list[tuple[int, float]]:
    """A monitored step and another one, each with its share of all steps."""
    every = exp.loop.monitor_every
    shares = [(every, 1 / every)] if every else []
    return shares + ([(every + 1, 1 - 1 / every if every else 1.0)] if every != 1 else [])


def run_step(how: str, session: SampledSession, number: int, made: Rollout) -> dict[str, Any]:
    """The peak of the step's phases in MiB, and its CPU seconds."""
    session.made = made
    began = time.process_time()
    if how == "tiled":
        one_step(session, number)
    else:
        with session.meter.phase("train"):
            materialised(session.trainer, made)
    seconds, values = time.process_time() - began, session.meter.read()
    return {"seconds": seconds, "mib": max(v for key, v in values.items() if MEMORY.part_of(key))}


def one(how: str, selector: str, ratio: float, size: Size) -> dict[str, Any]:
    """MiB and CPU seconds of a step, after the models and the optimizer's state exist."""
    exp = experiment(selector, ratio, size)
    world = exp.hardware.start("no")
    teacher = model(size, size.teacher, 0).requires_grad_(requires_grad=False)
    pair = LoadedPair(teacher, model(size, size.student, 1), build_tokenizer(), size.vocab)
    session = open_session(Trainer(exp, pair, world))
    # A step of two tokens a sequence makes gradients, optimizer state and everything that is made once.
    rows = size.sequences
    run_step(how, session, 1, from_lists([[1, 2]] * rows, [[4, 5]] * rows, ["length"] * rows, CPU))
    made = rollouts(size)
    with session.meter.phase("before"):
        pass
    before = session.meter.read()[MEMORY.of("before")]
    steps = [(share, run_step(how, session, number, made)) for number, share in period(exp)]
    seconds = sum(share * step["seconds"] for share, step in steps)
    return {"mib": max(step["mib"] for _, step in steps) - before, "seconds": seconds}


def measure(how: str, selector: str, ratio: float, size: Size) -> dict[str, Any]:
    """`one` in a fresh process."""
    given = [how, selector, str(ratio), json.dumps(size.__dict__)]
    done = subprocess.run([sys.executable, __file__, "--one", *given], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--selector", nargs="+", default=["soft_or", "entropy_top", "random", "prefix"])
    parser.add_argument("--ratio", type=float, nargs="+", default=[0.5, 0.2, 0.1])
    for name, value in (("vocab", 151_936), ("layers", 4), ("teacher", 128), ("student", 64), ("sequences", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("prompt", 32), ("response", 256), ("micro-batch", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    if args.one:
        how, selector, ratio, size = args.one
        print(json.dumps(one(how, selector, float(ratio), Size(**json.loads(size)))))  # noqa: T201
        return
    size = Size(**{name: getattr(args, name) for name in Size.__dataclass_fields__})
    cases = [("tiled", "full", 1.0), ("materialised", "full", 1.0)]
    cases += [("materialised", "entropy_top", ratio) for ratio in args.ratio]
    cases += [("tiled", selector, ratio) for selector in args.selector for ratio in args.ratio]
    found = [measure(*case, size) for case in track(cases, "step")]
    table = Table("step", "selector", "ratio", "memory", "CPU time", title=f"ratios to the first row; {size}")
    for (how, selector, ratio), got in zip(cases, found, strict=True):
        numbers = [f"{got[key] / found[0][key]:.2f}" for key in ("mib", "seconds")]
        table.add_row(how, selector, f"{ratio:g}", *numbers)
    Console(width=120).print(table)
    first = found[0]
    Console(width=120).print(
        f"first row: {first['mib']:.0f} MiB over what it starts with, {first['seconds']:.1f} CPU s"
    )


if __name__ == "__main__":
    main()
