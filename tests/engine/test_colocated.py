"""vLLM in the trainer's process: it samples from the student as it is, says little, and leaves nothing behind."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.agents.toy import CountTo, build_model, build_tokenizer
from tests.engine.conftest import (
    ASK,
    LORA,
    NOT_PROVEN,
    SAMPLED,
    SHARED_OUT,
    SMALL,
    bare_weights,
    build_backend,
    check_runs,
    check_samples,
    load_adapted,
    load_student,
    read_rows,
)
from tipx.agents.chat import Chat
from tipx.agents.loop import AgentRollouts
from tipx.errors import ConfigError, RunFailed
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.engines import ENGINES, close_engines
from tipx.rollout.hf import eos_ids

Tipx = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def no_engine_is_left() -> Iterator[None]:
    yield
    close_engines()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("name", ["student", "untied"])
def test_every_update_reaches_the_engine(name: str, pair: Path) -> None:
    model, tokenizer = load_student(pair / name)
    check_samples(build_backend("rollout=vllm", "rollout.temperature=0", SMALL), model, tokenizer)


def test_a_pruned_student_is_sampled_pruned(pair: Path) -> None:
    model, tokenizer = load_student(pair / "student", keep=[0, 2])
    check_samples(build_backend("rollout=vllm", "rollout.temperature=0", SMALL), model, tokenizer)


def test_bfloat16_stays_within_its_tolerance(pair: Path) -> None:
    model, tokenizer = load_student(pair / "student")
    how = build_backend("rollout=vllm", "rollout.dtype=bfloat16", SMALL)
    how(model, tokenizer, RolloutRequest(prompts=[[3, 4]], rows=[0], noise=Noise(0)))
    (engine,) = ENGINES.values()
    assert 1e-4 < engine.gap < engine.tolerance == 0.15


def test_weights_that_do_not_arrive_stop_the_run(pair: Path) -> None:
    model, tokenizer = load_student(pair / "student")
    how = build_backend("rollout=vllm", SMALL)
    ask = RolloutRequest(prompts=[[3, 4]], rows=[0], noise=Noise(0))
    how(model, tokenizer, ask)
    (engine,) = ENGINES.values()
    engine.push = lambda _: None  # type: ignore[method-assign]
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1.1)
    with pytest.raises(RunFailed, match=NOT_PROVEN):
        how(model, tokenizer, ask)


def test_adapters_reach_the_engine_merged(pair: Path) -> None:
    model, tokenizer = load_adapted(pair / "student")
    check_samples(build_backend("rollout=vllm", "rollout.temperature=0", SMALL), model, tokenizer)


def test_an_engine_without_the_adapters_stops_the_run(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = load_adapted(pair / "student")
    monkeypatch.setattr("tipx.rollout.colocated.merged_weights", bare_weights)
    with pytest.raises(RunFailed, match=NOT_PROVEN):
        build_backend("rollout=vllm", SMALL)(model, tokenizer, ASK)


def test_a_wrong_setting_of_the_engine_is_one_line(pair: Path) -> None:
    model, tokenizer = load_student(pair / "student")
    how = build_backend("rollout=vllm", "rollout.max_model_len=100000", SMALL)
    with pytest.raises(ConfigError, match=r"the engine did not start .*lower rollout.max_model_len"):
        how(model, tokenizer, RolloutRequest(prompts=[[3]], rows=[0], noise=Noise(0)))


def test_a_run_says_one_line_and_ends_well(tipx: Tipx, tmp_path: Path) -> None:
    done = tipx(
        "rollout=vllm",
        "eval=vllm",
        "loop.eval_last=true",
        SMALL,
        SMALL.replace("rollout", "eval.sampling"),
    )
    assert done.returncode == 0, done.stderr
    lines = [
        line for line in done.stderr.splitlines() if line and not line.startswith(("step", "next", "run", "picture"))
    ]
    assert len(lines) == 1, lines
    assert "starting vLLM" in lines[0]
    assert "cannot sleep on this device; its log is" in lines[0]
    for row in read_rows(tmp_path)[1:]:
        assert row["rollout/push_gap"] < 1e-5
        assert row["rollout/mismatch_abs_mean"] < 1e-5
    (log,) = (tmp_path / "runs").glob("solo/*/vllm.log")
    assert "Reloading and processing weights took" in log.read_text()


def test_two_processes_have_an_engine_each(tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("rollout=vllm", "loop.processes=2", "loop.steps=2", SMALL)
    assert done.returncode == 0, done.stderr
    for row in read_rows(tmp_path):
        assert row["rollout/mismatch_abs_mean"] < 1e-5
    assert len(list((tmp_path / "runs").glob("solo/*/vllm*.log"))) == 2


@pytest.mark.parametrize("more", [(), (LORA,)], ids=["all weights", "adapters"])
def test_an_engine_each_gets_weights_that_are_shared_out(
    more: tuple[str, ...], of_one: Callable[..., Path], tipx: Tipx, tmp_path: Path
) -> None:
    done = tipx("rollout=vllm", SMALL, *SAMPLED, *SHARED_OUT, *more)
    assert done.returncode == 0, done.stderr
    check_runs(tmp_path, of_one(*more))
    assert len(list((tmp_path / "runs").glob("solo/*/vllm*.log"))) == 2


def test_a_model_is_split_over_two_devices(tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("rollout=vllm", "rollout.tensor_parallel_size=2", "loop.steps=2", SMALL)
    assert done.returncode == 0, done.stderr
    for row in read_rows(tmp_path):
        assert row["rollout/mismatch_abs_mean"] < 1e-5


def test_agents_turns_are_the_student_s() -> None:
    model, tokenizer = build_model(0, hidden=64), build_tokenizer()
    how = AgentRollouts(
        backend=build_backend("rollout=vllm", "rollout.temperature=0", SMALL),
        calls=build_backend("rollout=agent").calls,
        max_turns=3,
        max_new_tokens=30,
        context=None,
        max_parallel_calls=None,
        tool_response_max_chars=None,
        malformed="tell",
    )
    reference = AgentRollouts(**{**vars(how), "backend": build_backend("rollout=hf", "rollout.temperature=0")})
    chat = Chat(tokenizer, eos_ids(model, tokenizer))
    tasks = [CountTo(goal, asks=2) for goal in range(1, 4)]
    ask = RolloutRequest(
        prompts=[chat.start(task.messages, task.tools) for task in tasks], rows=range(3), noise=Noise(0)
    )
    made, wanted = how.rollout(model, chat, tasks, ask), reference.rollout(model, chat, tasks, ask)
    assert torch.equal(made.response_BT, wanted.response_BT)
    assert torch.equal(made.valid_BT, wanted.valid_BT)
