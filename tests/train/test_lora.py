"""Runs with adapters: these alone learn, a run resumes to the bit, and two processes do what one does."""

import json
import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tests.conftest import save_model
from tipx.adapters import trained_parameters
from tipx.config import build, load
from tipx.errors import ModelError
from tipx.evals.start import evaluate_target
from tipx.runs.directory import Run
from tipx.train.preflight import check_movement
from tipx.train.session import Session
from tipx.train.start import train_run

pytestmark = pytest.mark.long(15)

Overrides = Callable[..., list[str]]
LORA = ["model.student.lora.r=4", "optim.lr=0.01", "loop.save_every=1", "selector=soft_or", "ratio=0.4"]
WEIGHTS = Path("adapter") / "adapter_model.safetensors"


def train(args: list[str]) -> Run:
    return train_run(args, fresh=False, config_dir=None)[0]


def newest(run: Run) -> dict[str, torch.Tensor]:
    weights = load_file(run.checkpoints.open("last")[1] / WEIGHTS)
    return {name: value.clone() for name, value in weights.items()}  # the file may change


@pytest.fixture
def run(overrides: Overrides) -> Run:
    return train(overrides(*LORA))


def test_only_adapters_learn_and_a_checkpoint_is_small(run: Run) -> None:
    first, last = (load_file(run.checkpoints.open(step)[1] / WEIGHTS) for step in ("3", "4"))
    assert all(not torch.equal(first[name], value) for name, value in last.items())
    rows = run.rows()
    assert all(row["train/applied"] for row in list(rows)[1:])
    assert rows[-1]["train/weights_changed_frac"] == pytest.approx(1.0, abs=0.01)  # a share of those that are trained
    folder = run.checkpoints.open("last")[1]
    assert not (folder / "model.safetensors").exists()
    state = torch.load(folder / "trainer.pt", weights_only=True)
    assert len(state["optimizer"]["state"]) == len(state["optimizer"]["param_groups"][0]["params"]) == len(last)
    sums = json.loads((folder / "manifest.json").read_text())
    assert {"adapter/adapter_model.safetensors", "adapter/base.json", "config.json"} <= sums.keys()


def test_a_run_that_was_stopped_resumes_to_the_bit(run: Run, overrides: Overrides) -> None:
    whole, rows = newest(run), list(run.rows())
    for step in ("3", "4"):
        shutil.rmtree(run.checkpoints.open(step)[1])
    (run.path / "summary.json").unlink()
    again = train(overrides(*LORA))
    assert again.path == run.path
    assert all(torch.equal(value, whole[name]) for name, value in newest(again).items())
    for row, expected in zip(again.rows(), rows, strict=True):
        assert row["train/loss"] == expected["train/loss"] if "train/loss" in row else True


def test_damaged_adapters_are_noticed_and_the_checkpoint_before_is_taken(run: Run, overrides: Overrides) -> None:
    whole, folder = newest(run), run.checkpoints.open("last")[1]
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    (run.path / "summary.json").unlink()
    again = train(overrides(*LORA))
    assert list(folder.parent.glob(".000004.damaged"))
    assert all(torch.equal(value, whole[name]) for name, value in newest(again).items())


def test_a_run_goes_on_only_on_its_own_base(overrides: Overrides, pair_dir: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(pair_dir / "student", tmp_path / "mine"))
    args = overrides(*LORA, f"model.student.path={mine}")
    run = train(args)
    (run.path / "summary.json").unlink()
    shutil.rmtree(run.checkpoints.open("last")[1])
    shutil.copyfile(save_model(tmp_path / "other", seed=7) / "model.safetensors", mine / "model.safetensors")
    with pytest.raises(
        ModelError, match=r"000003 holds adapters of another base: its sha256 was .*; put back the model"
    ):
        train(args)


def test_adapters_and_the_whole_student_are_two_runs(run: Run, overrides: Overrides) -> None:
    whole = train(overrides(*LORA[1:]))
    assert whole.path != run.path
    assert (whole.checkpoints.open("last")[1] / "model.safetensors").exists()
    # Each has the other's last checkpoint, as if somebody had carried them over.
    mine, others = run.checkpoints.open("last")[1], whole.checkpoints.open("last")[1]
    aside = mine.rename(run.path / "aside")
    shutil.move(others, mine)
    shutil.move(aside, others)
    for other, args, said in ((run, LORA, "holds a whole model"), (whole, LORA[1:], "holds adapters")):
        (other.path / "summary.json").unlink()
        with pytest.raises(ModelError, match=f"000004 {said}, and model.student.lora wants"):
            train(overrides(*args))


def test_an_evaluation_of_a_checkpoint_is_that_of_the_run(overrides: Overrides) -> None:
    asked = ["eval.n=2", "eval.limit=4", "eval.sampling.max_new_tokens=8"]
    run = train(overrides(*LORA, *asked, "loop.eval_every=4"))
    (file,) = run.path.glob("evals/000004/*/result.json")
    told = json.loads(file.read_text())
    shutil.rmtree(file.parent)
    ((again, _, _),) = evaluate_target(
        run.path.name, [*asked, "hardware.device=cpu", f"runs_dir={run.path.parents[1]}"], None
    )
    assert (again["scores"], again["mean_length"]) == (told["scores"], told["mean_length"])
    assert again["dtype"] == "float32"


def test_a_base_in_bfloat16_and_gradient_checkpointing(overrides: Overrides) -> None:
    args = overrides(*LORA, "model.student.dtype=bfloat16", "loop.precision=bf16")
    AcceleratorState._reset_state(reset_partial_state=True)
    plain = train(args)
    assert {value.dtype for value in newest(plain).values()} == {torch.float32}
    exp = build(load(args))
    assert check_movement(1.0, exp).text.endswith("can move 100.0% of the adapters' float32 weights")
    AcceleratorState._reset_state(reset_partial_state=True)
    again = train([*args, "hardware.gradient_checkpointing=true", f"runs_dir={plain.path.parents[2] / 'again'}"])
    AcceleratorState._reset_state(reset_partial_state=True)
    for name, value in newest(again).items():
        torch.testing.assert_close(value, newest(plain)[name], atol=1e-6, rtol=1e-5)


# --- two processes ---------------------------------------------------------------------------------------------------


def train_as_rank(rank: int, port: int, args: list[str], out: Path) -> None:
    """One of two processes of a run; writes the adapters that it ends with."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    AcceleratorState._reset_state(reset_partial_state=True)
    close = Session.close

    def note(session: Session) -> Any:
        torch.save([p.detach() for p in trained_parameters(session.pair.student)], out / f"{rank}.pt")
        return close(session)

    Session.close = note  # type: ignore[method-assign]
    train_run(args, fresh=False, config_dir=None)


def test_two_processes_have_the_same_adapters_and_do_what_one_does(overrides: Overrides, tmp_path: Path) -> None:
    args = overrides(*LORA, "loop.steps=3", "hardware.micro_batch=2", "hardware.threads=1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=train_as_rank, args=(rank, port, args, tmp_path)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first) == 2 * 7
    assert all(map(torch.equal, first, second))
    assert all(value.any() for value in first)
    alone = train([*args, f"runs_dir={tmp_path / 'one'}", "hardware.micro_batch=8"])
    (path,) = (tmp_path / "runs").glob("*/*")
    for name, value in newest(Run(path)).items():
        torch.testing.assert_close(value, newest(alone)[name], atol=1e-5, rtol=1e-4)
    for row, expected in zip(Run(path).rows(), alone.rows(), strict=True):
        assert row.get("train/loss") == pytest.approx(expected.get("train/loss"), rel=1e-5)
