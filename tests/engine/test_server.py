"""A real `vllm serve`: weights arrive whole, and what it does wrong costs no sample and no server."""

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import torch

from tests.engine.conftest import (
    ASK,
    LORA,
    NOT_PROVEN,
    SAMPLED,
    SHARED_OUT,
    Serving,
    bare_weights,
    build_backend,
    check_runs,
    check_samples,
    command,
    load_adapted,
    load_student,
    read_rows,
    save_wide,
)
from tipx.errors import ConfigError, RunFailed
from tipx.evals.start import evaluate_target
from tipx.models.locate import AGENTS
from tipx.rollout.engines import ENGINES, close_engines

Serve = Callable[..., Serving]
Tipx = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def server(serving: Serve, pair: Path) -> Serving:
    """One for the student, which the tests share."""
    return serving(pair / "student")


@pytest.fixture(autouse=True)
def no_engine_is_left(server: Serving) -> Iterator[None]:
    server.wait()
    yield
    close_engines()


def ask_server(address: str, folder: Path, *more: str) -> list[str]:
    return ["rollout=vllm_server", f"rollout.server={address}", f"rollout.sync_dir={folder}", *more]


def test_every_update_reaches_the_server(server: Serving, pair: Path, tmp_path: Path) -> None:
    """Also the tied LM head, which is left as it was if it is not sent."""
    model, tokenizer = load_student(pair / "student")
    check_samples(build_backend(*ask_server(server.address, tmp_path, "rollout.temperature=0")), model, tokenizer)


def test_a_server_of_another_model_lives_on(server: Serving, pair: Path, tmp_path: Path) -> None:
    how = build_backend(*ask_server(server.address, tmp_path))
    for wrong, said in (
        ("teacher_wide", r"its model.embed_tokens is \d+ x 64, the student's \d+ x 96"),
        ("untied", "it has 3 layers, the student 2"),
    ):
        folder = pair / wrong
        if not folder.exists():
            save_wide(folder, seed=4, layers=3, hidden=96)
        model, tokenizer = load_student(folder)
        with pytest.raises(ConfigError, match=rf"which is not the student: {said}.*nothing was pushed"):
            how(model, tokenizer, ASK)
        close_engines()
    httpx.get(f"{server.address}/health").raise_for_status()
    model, tokenizer = load_student(pair / "student")
    how(model, tokenizer, ASK)


def test_a_pruned_student_is_served_as_the_message_says(
    server: Serving, serving: Serve, pair: Path, tmp_path: Path
) -> None:
    model, tokenizer = load_student(pair / "student", keep=[0, 2])
    how = build_backend(*ask_server(server.address, tmp_path))
    with pytest.raises(ConfigError, match=r"`vllm serve (\S+) --tokenizer (\S+) --dtype float32`") as error:
        how(model, tokenizer, ASK)
    close_engines()
    words = re.search(r"`vllm serve (.*)`", str(error.value))
    assert words is not None
    folder, *more = words[1].split()
    pruned = serving(Path(folder), *more)
    pruned.wait()
    check_samples(build_backend(*ask_server(pruned.address, tmp_path, "rollout.temperature=0")), model, tokenizer, 2)
    pruned.kill()


def test_another_precision_is_refused(server: Serving, pair: Path, tmp_path: Path) -> None:
    model, tokenizer = load_student(pair / "student")
    how = build_backend(*ask_server(server.address, tmp_path, "rollout.dtype=bfloat16"))
    with pytest.raises(ConfigError, match=r"computes in float32, the student in bfloat16; .*--dtype bfloat16"):
        how(model, tokenizer, ASK)


def test_a_server_that_is_killed_and_comes_back_costs_no_sample(
    serving: Serve, pair: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes back with the weights of its folder, which are not the student's."""
    model, tokenizer = load_student(pair / "student")
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.2)
    server = serving(pair / "student")
    server.wait()
    how = build_backend(*ask_server(server.address, tmp_path))
    whole = how(model, tokenizer, ASK)
    server.kill()
    threading.Timer(2, server.start).start()
    again = how(model, tokenizer, ASK)
    assert torch.equal(again.response_BT, whole.response_BT)
    assert whole.logprobs_N is not None
    torch.testing.assert_close(again.logprobs_N, whole.logprobs_N)
    (engine,) = ENGINES.values()
    assert engine.gap < 1e-5
    assert "waiting up to" in caplog.text
    server.kill()


def test_a_run_on_a_server(server: Serving, tipx: Tipx, tmp_path: Path) -> None:
    done = tipx(*ask_server(server.address, tmp_path, "loop.processes=2"))
    assert done.returncode == 0, done.stderr
    for row in read_rows(tmp_path):
        assert row["rollout/push_gap"] < 1e-5
        assert row["rollout/mismatch_abs_mean"] < 1e-5


@pytest.mark.parametrize("more", [(), (LORA,)], ids=["all weights", "adapters"])
def test_a_server_gets_weights_that_are_shared_out(
    more: tuple[str, ...], server: Serving, of_one: Callable[..., Path], tipx: Tipx, tmp_path: Path
) -> None:
    done = tipx(*ask_server(server.address, tmp_path, *SAMPLED, *SHARED_OUT, *more))
    assert done.returncode == 0, done.stderr
    check_runs(tmp_path, of_one(*more))


def test_a_server_without_the_adapters_stops_the_run(
    server: Serving, pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_adapted(pair / "student")
    how = build_backend(*ask_server(server.address, tmp_path))
    how(model, tokenizer, ASK)
    close_engines()
    monkeypatch.setattr("tipx.rollout.weights_folder.merged_weights", bare_weights)
    with pytest.raises(RunFailed, match=NOT_PROVEN):
        how(model, tokenizer, ASK)


def test_two_runs_on_one_server(server: Serving, pair: Path, tipx: Tipx, tmp_path: Path) -> None:
    model, tokenizer = load_student(pair / "student")
    build_backend(*ask_server(server.address, tmp_path))(model, tokenizer, ASK)
    done = tipx(*ask_server(server.address, tmp_path))
    assert done.returncode == 2
    assert "error: rollout.server: another run samples by" in done.stderr


def test_ahead_is_killed_and_goes_on(server: Serving, pair: Path, tipx: Tipx, tmp_path: Path) -> None:
    """The batch that was sampled ahead is in the checkpoint: the run ends as if nothing had happened."""
    words = ask_server(server.address, tmp_path, "rollout.ahead=1", "rollout.temperature=0", "loop.save_every=1")
    done = tipx(*words)
    assert done.returncode == 0, done.stderr
    whole = read_rows(tmp_path)
    assert [row["rollout/staleness"] for row in whole] == [0, 1, 1, 1]
    other = tmp_path / "other"
    run = subprocess.Popen(command(pair, other, *words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(other.glob("runs/solo/*/checkpoints/000002/manifest.json")):
        time.sleep(0.05)
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = subprocess.run(command(pair, other, *words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for row, wanted in zip(read_rows(other), whole, strict=True):
        same = {key for key in wanted if key.startswith(("train/", "select/", "rollout/", "quadrant/"))}
        assert {key: row[key] for key in same} == pytest.approx({key: wanted[key] for key in same}, rel=1e-4, abs=1e-6)


def test_agents_by_chat(serving: Serve, tmp_path: Path) -> None:
    """Served as a chat, with tools that vLLM's own parser reads, the embedded teacher scores what it scores here."""
    server = serving(AGENTS / "teacher", "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    words = ["benchmark=tiny_agent", "limit=12", f"runs_dir={tmp_path / 'runs'}"]
    limits = ["eval.sampling.max_turns=6", "eval.sampling.max_new_tokens=120", "eval.n=1"]
    sampling = ["eval.sampling.backend.temperature=0", "eval.sampling.backend.max_new_tokens=40"]
    ((own, _, _),) = evaluate_target("embedded:agent/teacher", ["eval=agent", *words, *limits, *sampling], None)
    server.wait()
    chat = [f"eval.sampling.server={server.address}", "eval.sampling.temperature=0", "eval.sampling.turn_tokens=40"]
    ((served, _, _),) = evaluate_target("served", ["eval=agent_chat", *words, *limits, *chat], None)
    server.kill()
    assert served["problems"] == own["problems"] == 12
    assert own["mean"] > 0.5
    assert served["mean"] == pytest.approx(own["mean"], abs=0.1)
    assert served["outcomes"] == own["outcomes"]
