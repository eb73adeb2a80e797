"""Peak memory and time of one whole training step, both models' bodies included: ours against materialised logits.

Teacher and student are small random Qwen3 models with Qwen3's vocabulary; rollouts are random tokens. Scoring,
selection, loss, backward pass and optimizer are those of a run. Each case has a process of its own, because only a
fresh one has a meaningful peak. Printed are ratios to the first row: memory is growth of the resident set, time is CPU
time.

    python -m bench.step [--selector soft_or entropy_top random prefix] [--ratio 0.5 0.2 0.1] [--sequences 8] ...
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from tipx.config import build, load
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.memory import materialise
from tipx.models.head import backbone, lm_head
from tipx.models.pair import LoadedPair
from tipx.noise import Noise
from tipx.rollout.collect import from_lists
from tipx.runs.metric_keys import MEMORY
from tipx.train.batching import micro_batches
from tipx.train.experiment import Experiment
from tipx.train.meter import Meter
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


def tiled(trainer: Trainer, made: Rollout) -> None:
    """The step of a run."""
    exp = trainer.exp
    scored, stats = trainer.score(made, exp.selector.needs)
    weights_BT = exp.selector(stats, made.valid_BT, Noise(0, 1))
    trainer.update(made, scored, weights_BT, float(weights_BT.sum()))


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
    """On the CPU, in single precision."""
    overrides = [f"selector={selector}", f"ratio={ratio}", f"hardware.micro_batch={size.micro_batch}"]
    exp: Experiment = build(load([*overrides, "hardware.device=cpu", "optim.warmup_steps=0"]))
    return exp


def one(how: str, selector: str, ratio: float, size: Size) -> dict[str, Any]:
    """MiB and CPU seconds of one step after the models and the optimizer's state exist."""
    exp = experiment(selector, ratio, size)
    world = exp.hardware.start("no")
    teacher = model(size, size.teacher, 0).requires_grad_(requires_grad=False)
    pair = LoadedPair(teacher, model(size, size.student, 1), build_tokenizer(), size.vocab)
    trainer, step = Trainer(exp, pair, world), {"tiled": tiled, "materialised": materialised}[how]
    # A step of two tokens makes gradients, optimizer state and everything that is made once.
    step(trainer, from_lists([[1, 2], [3]], [[4, 5], [6]], ["length"] * 2, CPU))
    made, meter = rollouts(size), Meter(CPU)
    with meter.phase("before"):
        pass
    began = time.process_time()
    with meter.phase("step"):
        step(trainer, made)
    seconds = time.process_time() - began
    values = meter.read()
    return {"mib": values[MEMORY.of("step")] - values[MEMORY.of("before")], "seconds": seconds}


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
