"""Two processes do what one does: the same selection, the same step, the same evaluation; and they stop together.

`accelerate launch` starts several processes on a machine without GPUs only with `--multi_gpu` (with `--cpu` it starts
one, whatever `--num_processes` says); `hardware.device=cpu` then makes them CPU processes that talk over gloo.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import save_model
from tests.ranks import free_port
from tests.rollout.stand_in import Served, Weights, serve
from tests.rows import lasting
from tests.warm import Process, Server
from tipx.runs.directory import Run
from tipx.train.ahead import read_batch
from tipx.train.start import train_run

pytestmark = pytest.mark.long(35)

Overrides = Callable[..., list[str]]
Ranks = Callable[[Sequence[str]], list[Process]]
WITHIN_S = 240
LAUNCH = "--multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no --dynamo_backend no"
EVAL = ["loop.eval_every=2", "eval.limit=6", "eval.n=2", "eval.sampling.max_new_tokens=12"]

AGENTS = ["experiment=tiny_agent", "loop.prompts=8", "loop.steps=4", "loop.eval_every=2", "benchmark.size=6"]


def environment(home: Path, **more: str) -> dict[str, str]:
    here = str(Path(__file__).parents[2])
    fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "COLUMNS": "240", "PYTHONPATH": here}
    return os.environ | fixed | more


@pytest.fixture
def ranks(server: Server, tmp_path: Path) -> Ranks:
    """Starts two processes as a launcher does, without the launcher."""

    def begin(args: Sequence[str]) -> list[Process]:
        port, started = free_port(), []
        for rank in ("0", "1"):
            own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            started.append(server.start(["train", *args], tmp_path, environment(tmp_path / "home", **own)))
        return started

    return begin


def the_run(folder: Path) -> Run:
    (path,) = folder.glob("*/*")
    return Run(path)


def same(run: Run, other: Run) -> None:
    """Two runs of one configuration, up to the order in which floats were added."""
    assert run.path.name == other.path.name
    rows, others = run.rows(), other.rows()
    assert len(rows) == len(others)
    for row, expected in zip(rows, others, strict=True):
        assert by_value(row) == pytest.approx(by_value(expected), rel=1e-4, abs=1e-6)
    found, expected = (load_file(r.checkpoints.open("last")[1] / "model.safetensors") for r in (run, other))
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def by_value(row: dict[str, Any]) -> dict[str, Any]:
    """All but quadrants and changed weights: the last bit decides on which side of a threshold a token or weight is."""
    return {key: value for key, value in lasting(row).items() if not key.startswith(("quadrant/", "train/weights"))}


def results(run: Run) -> dict[str, Any]:
    """Every evaluation, but for its speed, and its samples."""
    found: dict[str, Any] = {}
    for samples in sorted(run.path.glob("evals/*/*/samples.jsonl")):
        result = json.loads((samples.parent / "result.json").read_text())
        found[str(samples.relative_to(run.path))] = {
            k: v for k, v in result.items() if k not in ("seconds", "tokens_per_s")
        }
        found[str(samples.parent)[-6:] + samples.parts[-3]] = samples.read_text()
    return found


@pytest.mark.parametrize("what", ["answers", pytest.param("trajectories", marks=pytest.mark.slow)])
def test_a_launched_run_of_two_is_the_run_of_one(what: str, overrides: Overrides, tmp_path: Path) -> None:
    rule = ["selector=soft_or", "ratio=0.3"]
    plain = ["hardware.device=cpu", "hardware.threads=1", f"runs_dir={tmp_path / 'runs'}"]
    args = overrides(*EVAL, *rule) if what == "answers" else [*AGENTS, *rule, *plain]
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH.split(), "--main_process_port", free_port()]
    done = subprocess.run(
        [*command, "-m", "tipx", "train", *args],
        env=environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("picture") == 1  # said once, not by each
    two = the_run(tmp_path / "runs")
    assert two.provenance()["starts"][0]["processes"] == 2
    one, _ = train_run([*args, f"runs_dir={tmp_path / 'one'}", "hardware.micro_batch=3"], fresh=False, config_dir=None)
    same(two, one)
    assert results(two) == results(one)
    assert len(results(one)) == 2 * 3


def test_asking_one_to_stop_stops_both_and_one_alone_can_go_on(
    overrides: Overrides, pair_dir: Path, ranks: Ranks, tmp_path: Path
) -> None:
    # A head of its own, and so few tokens kept that most micro-batches of one response keep none: every weight must
    # get its gradient all the same, or the processes wait for each other for ever.
    student = AutoModelForCausalLM.from_pretrained(pair_dir / "student", tie_word_embeddings=False)
    save_model(tmp_path / "student", seed=2)
    student.save_pretrained(tmp_path / "student")
    args = overrides(
        *("selector=prefix", "ratio=0.05", "selector.pick.scope=step", "loop.steps=30"),
        *("hardware.micro_batch=1", "loop.save_every=100", f"model.student.path={tmp_path / 'student'}"),
    )
    whole, _ = train_run(
        [*args, f"runs_dir={tmp_path / 'one'}", "hardware.micro_batch=8"], fresh=False, config_dir=None
    )
    started = ranks(args)
    until(
        lambda: len(list(tmp_path.glob("runs/*/*/metrics.jsonl"))) and len(the_run(tmp_path / "runs").rows()) >= 3,
        started,
    )
    started[1].send_signal(signal.SIGTERM)
    said = [one.communicate(timeout=WITHIN_S) for one in started]
    assert [one.returncode for one in started] == [143, 143], said
    stopped = the_run(tmp_path / "runs")
    last = stopped.rows()[-1]["step"]
    assert 3 <= last < 30
    assert f"stopped after step {last}, saved in {stopped.path}; the same command continues" in said[0][1]
    assert said[1] == ("", "")
    train_run(args, fresh=False, config_dir=None)
    assert [start["processes"] for start in stopped.provenance()["starts"]] == [2, 1]
    assert min(row["select/kept_tokens"] for row in stopped.rows()) < 8
    same(stopped, whole)


def test_two_sample_ahead_as_one_does(overrides: Overrides, ranks: Ranks, pair_dir: Path, tmp_path: Path) -> None:
    args = overrides("rollout=vllm_server", "rollout.ahead=1", "rollout.max_new_tokens=6", "loop.save_every=1")
    with serve(Served(Weights(str(pair_dir / "student")))) as place:
        args.append(f"rollout.server={place}")
        started = ranks(args)
        said = [one.communicate(timeout=WITHIN_S) for one in started]
        assert [one.returncode for one in started] == [0, 0], said
        two = the_run(tmp_path / "runs")
        one, _ = train_run([*args, f"runs_dir={tmp_path / 'one'}"], fresh=False, config_dir=None)
        assert [row["rollout/staleness"] for row in two.rows()] == [0, 1, 1, 1]
        same(two, one)
        # The batch in a checkpoint is that of both: one alone goes on with it, and so do two.
        for several in (False, True):
            (two.path / "summary.json").unlink()
            shutil.rmtree(two.checkpoints.open("last")[1])
            assert len(read_batch(two.checkpoints.open("last")[1], 8)) == 8
            if several:
                assert [one.communicate(timeout=WITHIN_S)[1] for one in ranks(args)][1] == ""
            else:
                train_run(args, fresh=False, config_dir=None)
            assert len(two.provenance()["starts"]) == 2 + several
            same(two, one)


def until(true: Callable[[], Any], started: Sequence[Process]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < ends
        assert all(one.poll() is None for one in started), [one.communicate() for one in started]
        time.sleep(0.005)


def test_sequences_that_do_not_divide_over_processes_are_an_error_of_one_line(
    overrides: Overrides, ranks: Ranks, tmp_path: Path
) -> None:
    started = ranks(overrides("loop.prompts=7"))
    said = [one.communicate(timeout=WITHIN_S) for one in started]
    assert [one.returncode for one in started] == [2, 2]
    line = (
        "error: loop.prompts * loop.rollouts = 7 sequences a step do not divide over 2 processes; choose loop.prompts"
    )
    assert said == [("", f"{line} so that they do\n"), ("", "")]
    assert not list(tmp_path.glob("runs/*/*"))
