"""Two processes that share the weights out (FSDP2) take the step that one process takes with whole ones.

The pairs are random, with a tied and with an untied LM head. The responses are fixed, so that all that differs is the
order of sums: in fp32 loss, statistics, gradients and weights are equal to 1e-6.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.conftest import save_model
from tests.ranks import run_ranks
from tipx.config import build, load
from tipx.display.progress import Quiet
from tipx.rollout.scripted import ScriptedRollouts
from tipx.runs.directory import Run
from tipx.selectors import Selector
from tipx.sharding import local_tensor, whole_tensor
from tipx.train import loop
from tipx.train.batching import idle_batch, micro_batches
from tipx.train.loggers import Silence
from tipx.train.loop import one_step
from tipx.train.meter import Meter
from tipx.train.preflight import fitting_prompts
from tipx.train.session import Session
from tipx.train.trainer import Trainer

pytestmark = pytest.mark.long(30)
LINES = (
    "start 14 . then 14 + 8 = 22 .",
    "4",
    "now take 12 from 37",
    "so",
    "\\boxed{ 37 }",
    "next 9 + 5 =",
    "a",
    "12 . 3",
)
B = len(LINES)
KEYS = ("train/loss", "train/grad_norm", "select/kept_tokens", "select/reverse_kl_kept")
FSDP = "hardware.strategy=fsdp"
Overrides = Callable[..., list[str]]


@pytest.fixture(params=["tied", pytest.param("untied", marks=pytest.mark.slow)])
def student(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A student of three layers, whose LM head is its embedding or is not."""
    folder = save_model(tmp_path / request.param, seed=5, layers=3)
    if request.param == "untied":
        model = AutoModelForCausalLM.from_pretrained(folder, tie_word_embeddings=False)
        torch.manual_seed(6)
        torch.nn.init.normal_(model.lm_head.weight, std=0.02)
        model.save_pretrained(folder)
    return folder


def take_steps(words: list[str], folder: Path, steps: int = 3) -> dict[str, Any]:
    """Steps on fixed responses: metrics, whole gradients before the first update, whole weights, bytes held."""
    exp = build(load(words))
    exp = replace(exp, rollout=ScriptedRollouts(responses=LINES, max_new_tokens=12))
    session = Session(exp, Run(folder), exp.hardware.start(exp.loop.precision), Quiet(), Silence())
    world = session.world
    session.meter = Meter(world.device)
    session.pair = exp.model.load(world.device, exp.model.load_tokenizer(), None, world)
    session.prompts = [ids for _, ids in fitting_prompts(exp, session.pair.tokenizer, exp.data.load())]
    session.trainer = Trainer(exp, session.pair, world)
    student, gradients, rows = session.pair.student, dict[str, Tensor](), []
    apply = session.trainer._apply_gradients

    def spy(loss: float) -> Any:
        if not gradients:
            gradients.update(
                {n: whole_tensor(p.grad).clone() for n, p in student.named_parameters() if p.requires_grad}
            )
        return apply(loss)

    session.trainer._apply_gradients = spy  # type: ignore[method-assign]
    for step in range(1, steps + 1):
        rows.append(one_step(session, step))
    return {
        "rows": rows,
        "gradients": gradients,
        "weights": {n: whole_tensor(p.detach()).clone() for n, p in student.named_parameters()},
        "bytes": sum(local_tensor(p).nbytes for p in student.parameters()),
    }


def compare(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal up to the order of sums. Adam makes more of it where a gradient is next to nothing."""
    for row, other in zip(found["rows"], expected["rows"], strict=True):
        assert {k: v for k, v in row.items() if k in KEYS} == pytest.approx(
            {k: other[k] for k in KEYS}, rel=1e-5, abs=1e-6
        )
    for what, atol in (("gradients", 1e-6), ("weights", 1e-5)):
        assert found[what].keys() == expected[what].keys()
        for name, value in found[what].items():
            torch.testing.assert_close(
                value, expected[what][name], atol=atol, rtol=1e-5, msg=lambda m, n=name, w=what: f"{w} of {n}: {m}"
            )


def words(overrides: Overrides, student: Path, *more: str) -> list[str]:
    base = ["ratio=0.4", "loop.sample_every=0", "optim.warmup_steps=0", "hardware.micro_batch=3"]
    return overrides(f"loop.prompts={B}", *base, f"model.student.path={student}", "selector=soft_or", *more)


def take_all(cases: list[list[str]], folder: Path) -> list[dict[str, Any]]:
    return [take_steps(case, folder) for case in cases]


def run(size: int, cases: list[list[str]], folder: Path, *more: str) -> list[list[dict[str, Any]]]:
    """By rank, then by case."""
    place = folder / "-".join(["ranks", str(size), *more])
    return run_ranks(size, partial(take_all, [[*case, *more] for case in cases], folder), place)


WAYS = {
    "full": ["selector=full"],
    "soft_or": ["selector=soft_or"],
    "q3_only": ["selector=q3_only"],
    "random": ["selector=random"],
    "checkpointing": ["hardware.gradient_checkpointing=true"],
    "recorded": ["loop.score_from=rollout"],
    "layers stay whole": ["hardware.reshard_after_forward=false"],
    "layers are left out": ["model.student.keep_layers=[0,2]"],
    "adapters": ["model.student.lora.r=4", "optim.lr=1e-4"],
    "offload": ["model.teacher.offload=cpu", "hardware.cpu_offload=true"],
}


FEW = ("soft_or", "adapters", "offload")


def test_shared_weights_take_the_step_of_one_process(overrides: Overrides, student: Path, tmp_path: Path) -> None:
    cases = [words(overrides, student, *WAYS[name]) for name in FEW]
    (expected,) = run(1, [[word for word in case if "cpu_offload" not in word] for case in cases], tmp_path)
    for rank in run(2, cases, tmp_path, FSDP):
        for found, one in zip(rank, expected, strict=True):
            compare(found, one)
            assert found["bytes"] <= one["bytes"] * 0.55


@pytest.mark.slow
def test_it_is_so_in_every_way(overrides: Overrides, student: Path, tmp_path: Path) -> None:
    cases = [words(overrides, student, *way) for way in WAYS.values()]
    (expected,) = run(1, [[word for word in case if "cpu_offload" not in word] for case in cases], tmp_path)
    for size, more in (2, []), (2, [FSDP]), (4, [FSDP, "hardware.fsdp_size=2"]):
        some = cases if FSDP in more else cases[:4]
        for rank in run(size, some if size == 2 else cases[:2], tmp_path, *more):
            for name, found, one in zip(WAYS, rank, expected, strict=False):
                compare(found, one)
                assert found["bytes"] <= one["bytes"] * (0.55 if more else 1), name


def keep_of_every_other_row(_self: Any, _stats: Any, valid_BT: Tensor, _noise: Any) -> Tensor:
    """Weights with which the first of two processes, which samples every other row, keeps no token."""
    weights_BT = valid_BT.float()
    weights_BT[::2] = 0
    return weights_BT


def take_uneven_steps(chosen: list[str], folder: Path, *, padded: bool) -> dict[str, Any]:
    """The second process has several micro-batches and the first one none: rows are not dealt out by tokens."""
    Selector.__call__ = keep_of_every_other_row  # type: ignore[method-assign]
    loop.share_work = lambda _world, rollout, sampled: (rollout, sampled, {})  # type: ignore[assignment]
    if not padded:
        Trainer._micro_batches = lambda self, rollout, wanted_BT: (  # type: ignore[method-assign]
            list(micro_batches(rollout, wanted_BT, self.exp.hardware.micro_batch)) or [idle_batch(rollout)]
        )
    return take_steps(chosen, folder, steps=2)


def test_a_process_that_keeps_nothing_takes_part(overrides: Overrides, student: Path, tmp_path: Path) -> None:
    chosen = [*words(overrides, student), "hardware.micro_batch=1"]
    (one,) = run_ranks(1, partial(take_uneven_steps, chosen, tmp_path, padded=True), tmp_path / "one")
    for rank in run_ranks(2, partial(take_uneven_steps, [*chosen, FSDP], tmp_path, padded=True), tmp_path / "two"):
        compare(rank, one)


def test_without_idle_micro_batches_it_would_not_end(overrides: Overrides, pair_dir: Path, tmp_path: Path) -> None:
    # The control of the test before: it would find that the processes' micro-batches are not made equal in number.
    chosen = [*words(overrides, pair_dir / "student", FSDP), "hardware.micro_batch=1"]
    with pytest.raises((RuntimeError, TimeoutError), match=r"collective mismatch|did not end|gloo"):
        run_ranks(2, partial(take_uneven_steps, chosen, tmp_path, padded=False), tmp_path / "two", within_s=5)


@pytest.mark.slow
def test_bf16_rounds_as_ddp_does_where_layers_are_whole_in_fp32(
    overrides: Overrides, student: Path, tmp_path: Path
) -> None:
    chosen = words(overrides, student, "loop.precision=bf16")
    ((one,),) = run(1, [chosen], tmp_path)
    for more, share in (["hardware.gather_dtype=float32"], 0.008), ([], 0.08):
        found = run(2, [chosen], tmp_path, FSDP, *more)[0][0]
        for name, value in found["gradients"].items():
            assert (value - one["gradients"][name]).norm() <= share * one["gradients"][name].norm(), name
