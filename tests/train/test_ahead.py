"""Batches sampled ahead, by a stand-in of vLLM's server: one update old, whatever happens meanwhile."""

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.agents import toy
from tests.rollout.stand_in import Served, Weights, serve
from tests.rows import lasting, undeclared
from tests.warm import HERE, Server
from tipx.config import build, load
from tipx.errors import ConfigError, Damaged
from tipx.files.atomic import MANIFEST, file_sha256
from tipx.rollout.collect import from_lists
from tipx.runs.directory import Run
from tipx.train.ahead import NEXT_BATCH, find_engine_ahead, read_batch, to_rollout, to_rows, write_batch
from tipx.train.start import train_run
from tipx.train.trainer import Trainer
from tipx.types import Rollout

pytestmark = pytest.mark.long(30)

Overrides = Callable[..., list[str]]
CPU = torch.device("cpu")
WITHIN_S = 240


@dataclass
class Waiting(Served):
    """Samples so many responses at once, and then only when it is allowed to; 0 is all of them."""

    after: int = 0
    allowed: threading.Event = field(default_factory=threading.Event)
    answered: int = 0

    def answer(self, method: str, place: str, body: Any) -> tuple[int, Any]:
        samples = kind(place, body) == "sample"
        if samples and 0 < self.after <= self.answered and not self.allowed.wait(20):
            return 400, {"detail": "waited too long"}
        found = super().answer(method, place, body)
        self.answered += samples
        return found


def kind(place: str, body: Any) -> str | None:
    """What a request is for, if it gives weights or has something sampled."""
    if place == "/collective_rpc" and body["method"] == "reload_weights":
        return "push"
    return "sample" if place == "/v1/completions" and body["max_tokens"] > 1 else None


@pytest.fixture
def state(pair_dir: Path) -> Waiting:
    return Waiting(Weights(str(pair_dir / "student")))


@pytest.fixture
def place(state: Waiting) -> Iterator[str]:
    """Where the server is."""
    with serve(state) as address:
        yield address


@pytest.fixture
def args(overrides: Overrides, place: str) -> Overrides:
    """A run of four steps of eight responses, with batches ahead; more may be added."""

    def make(*more: str) -> list[str]:
        by = ["rollout=vllm_server", f"rollout.server={place}", "rollout.ahead=1", "rollout.max_new_tokens=6"]
        return overrides(*by, "optim.lr=1e-2", "optim.warmup_steps=0", "loop.monitor_every=1", *more)

    return make


def train(args: list[str], *, fresh: bool = False, own: Path | None = None) -> Run:
    return train_run(args, fresh=fresh, config_dir=own)[0]


def events(state: Served) -> list[tuple[str, int]]:
    """What the server was asked, in its order: pushes of weights, and runs of requests with their number."""
    asked = filter(None, (kind(place, body) for place, body in state.asked))
    return [(name, len(list(same))) for name, same in itertools.groupby(asked)]


# --- what is sampled when --------------------------------------------------------------------------------------------


def test_each_batch_is_of_the_weights_before_the_last_update(args: Overrides, state: Waiting) -> None:
    rows = train(args()).rows()
    # Batches 1 and 2 are of the first weights, 3 of those after step 1, 4 of those after step 2.
    assert events(state) == [("push", 1), ("sample", 16), ("push", 1), ("sample", 8), ("push", 1), ("sample", 8)]
    assert [row["rollout/staleness"] for row in rows] == [0, 1, 1, 1]
    for row in rows:
        assert undeclared(row) == {}
        assert row["time/ahead_s"] > 0
    assert rows[0]["rollout/mismatch_abs_max"] < 1e-4
    assert min(row["rollout/mismatch_abs_mean"] for row in rows[1:]) > 1e-3


def test_without_it_every_batch_is_of_the_current_weights(args: Overrides, state: Waiting) -> None:
    rows = train(args("rollout.ahead=0")).rows()
    assert events(state) == [("push", 1), ("sample", 8)] * 4
    assert all("rollout/staleness" not in row and "time/ahead_s" not in row for row in rows)
    assert max(row["rollout/mismatch_abs_max"] for row in rows) < 1e-4


def test_the_student_trains_while_the_server_samples(
    args: Overrides, state: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second batch is answered only after the first was trained on; without a thread nothing would."""
    state.after, update = 8, Trainer.update

    def noted(self: Trainer, *args: Any) -> Any:
        done = update(self, *args)
        state.allowed.set()
        return done

    monkeypatch.setattr(Trainer, "update", noted)
    assert train(args()).finished


def test_a_slow_server_changes_no_number(args: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = train(args("name=fast"))
    answer = Served.answer

    def slow(self: Served, *asked: Any) -> tuple[int, Any]:
        time.sleep(0.02)
        return answer(self, *asked)

    monkeypatch.setattr(Served, "answer", slow)
    same(train(args("name=slow")), fast)


def same(run: Run, other: Run) -> None:
    """Both logged the same, but for times, and left the same weights."""
    assert [lasting(row) for row in run.rows()] == [lasting(row) for row in other.rows()]
    last, expected = (one.checkpoints.open("last")[1] / "model.safetensors" for one in (run, other))
    assert last.read_bytes() == expected.read_bytes()


def test_an_evaluation_by_the_same_engine_is_of_the_current_weights(args: Overrides, state: Waiting) -> None:
    by = [arg.replace("rollout.", "eval.sampling.") for arg in args() if arg.startswith("rollout.server")]
    how = ["eval=vllm", "eval.sampling.mode=server", *by, "eval.sampling.max_new_tokens=6", "eval.greedy=false"]
    train(args(*how, "eval.n=1", "eval.limit=3", "loop.eval_every=2", "loop.steps=3"))
    # Before step 1; batches 1 and 2; batch 3, which is waited for; the evaluation after step 2; the last.
    expected = [("push", 1), ("sample", 3 + 8 + 8), ("push", 1), ("sample", 8), ("push", 1), ("sample", 3)]
    assert events(state) == [*expected, ("push", 1), ("sample", 3)]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_an_error_of_the_thread_is_the_run_s(
    args: Overrides, state: Waiting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Served.answer

    def refuse(self: Served, method: str, place: str, body: Any) -> tuple[int, Any]:
        """From the third batch on."""
        refused = kind(place, body) == "sample" and state.answered >= 16
        return (400, "no") if refused else answer(self, method, place, body)

    with monkeypatch.context() as patch:
        patch.setattr(Served, "answer", refuse)
        with pytest.raises(ConfigError, match=r"refused .*with 400"):
            train(args("loop.save_every=1"))
    run = the_run(tmp_path)
    assert [row["step"] for row in run.rows()] == [1, 2]
    # Without the batch of its next step a checkpoint would not be gone on from exactly.
    assert [step for step, _ in run.checkpoints.saved()] == [1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    # The engine is free: the same command gives it the weights again, and goes on.
    rows = train(args("loop.save_every=1")).rows()
    assert [row["rollout/staleness"] for row in rows] == [0, 1, 1, 1]
    same(the_run(tmp_path), train(args("loop.save_every=1", "name=whole")))


def the_run(folder: Path) -> Run:
    (path,) = folder.glob("runs/solo/*")
    return Run(path)


def test_an_engine_on_the_trainer_s_device_cannot_sample_ahead(args: Overrides) -> None:
    line = r"rollout: ahead=1 needs mode=server \(rollout=vllm_server\): an engine on the trainer's own device cannot"
    with pytest.raises(ConfigError, match=line):
        build(load(args("rollout.mode=colocate")))
    with pytest.raises(ConfigError, match=line.replace("rollout:", "rollout.backend:")):
        build(load(["rollout=agent_vllm", "rollout.backend.ahead=1"]))
    agents = build(load(["rollout=agent_vllm", "rollout.backend.ahead=1", "rollout.backend.mode=server"])).rollout
    assert find_engine_ahead(agents) is agents.backend
    assert find_engine_ahead(replace(agents, backend=replace(agents.backend, ahead=0))) is None
    assert agents.backend.machine == replace(agents.backend, ahead=0).machine


# --- a run that goes on ----------------------------------------------------------------------------------------------


MORE = ("loop.steps=5", "loop.save_every=1", "loop.keep_checkpoints=9")


def cut(run: Run, step: int) -> None:
    """As a kill leaves it, whose newest checkpoint is that of `step`."""
    (run.path / "summary.json").unlink()
    for later, folder in run.checkpoints.saved():
        if later > step:
            shutil.rmtree(folder)


@pytest.mark.parametrize("step", [1, 4])
def test_a_resumed_run_has_the_batch_that_was_sampled_ahead(step: int, args: Overrides, state: Waiting) -> None:
    whole = train(args(*MORE, "name=whole"))
    there = [(folder / NEXT_BATCH).exists() for _, folder in whole.checkpoints.saved()]
    assert there == [True, True, True, True, False]
    run = Run(Path(shutil.copytree(whole.path, whole.path.with_name(whole.path.name.replace("whole", "cut")))))
    cut(run, step)
    state.asked.clear()
    assert train(args(*MORE, "name=cut")).path == run.path
    same(run, whole)
    assert ["time/ahead_s" in row for row in run.rows()] == [number != step + 1 for number in range(1, 6)]
    # The batch of the next step is not asked for again.
    assert sum(count for name, count in events(state) if name == "sample") == 8 * (5 - step - 1)


def test_a_killed_run_ends_as_one_that_never_was(args: Overrides, server: Server, tmp_path: Path) -> None:
    words = [*args("loop.steps=12", "loop.save_every=2"), "hardware.threads=1"]
    whole = train([*words, "name=whole"])
    kills = 0
    for at in (40, 90, 60):  # operations on files of the run, before and in the middle of checkpoints
        process = server.start(["train", *words], Path(HERE), environment(), at=(at, str(tmp_path / "runs")))
        kills += process.poll(WITHIN_S) == -signal.SIGKILL
    process = server.start(["train", *words], Path(HERE), environment())
    assert process.poll(WITHIN_S) == 0, process.output()
    (run,) = (Run(path) for path in whole.path.parent.iterdir() if path != whole.path)
    assert kills == 3
    assert len(run.provenance()["starts"]) > 2
    same(run, whole)


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": HERE}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (None, r"it cannot be read \(No such file or directory\)"),
        ("{}", "line 8 has no tokens that is as tipx wrote it"),
        ("[1]", "line 8 holds list, not an object"),
        ('{"tokens": [1], "valid": [true], "stop": "bored", "logprobs": null, "numbers": {}}', "line 8 has no stop"),
        (
            '{"tokens": [1], "valid": [true, true], "stop": "eos", "logprobs": null, "numbers": {}}',
            "the lists in line 8 are of different lengths",
        ),
        ("", "it has 7 responses of 8"),
    ],
)
def test_a_file_that_is_not_that_batch(line: str | None, said: str, tmp_path: Path) -> None:
    rows = to_rows(from_lists([[1]] * 8, [[2, 3]] * 8, ["eos"] * 8, CPU))
    write_batch(tmp_path, rows)
    assert read_batch(tmp_path, 8) == rows
    file = tmp_path / NEXT_BATCH
    if line is None:
        file.unlink()
    else:
        file.write_text("".join(f"{text}\n" for text in [*file.read_text().splitlines()[:7], line] if text))
    with pytest.raises(Damaged, match=rf"{said}.*; remove {tmp_path} to go on from the checkpoint before it, or"):
        read_batch(tmp_path, 8)


def test_a_checkpoint_without_its_batch_is_refused(args: Overrides) -> None:
    run = train(args("loop.save_every=2"))
    cut(run, 2)
    folder = run.checkpoints.open("last")[1]
    (folder / NEXT_BATCH).unlink()
    sums = {file.name: file_sha256(file) for file in folder.iterdir() if file.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps(sums))
    with pytest.raises(Damaged, match=f"{NEXT_BATCH} is damaged: it cannot be read"):
        train(args("loop.save_every=2"))


def test_a_batch_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also that of agents: with tokens in between that the student did not sample, a trajectory of none, and scores."""
    masks = [[True, True, False, False, True], [], [True]]
    made = from_lists([[1, 2], [3], [4, 5]], [[5, 6, 7, 8, 9], [], [2]], ["eos", "context", "length"], CPU, masks)
    numbers = ({"turns": 2.0, "score": 1 / 3}, {"turns": 0.0, "score": 0.0}, {"turns": 1.0, "score": 0.1})
    made = replace(made, logprobs_N=torch.tensor([-0.1, -1e-7, -3.3, -120.5]), numbers=numbers)
    for rollout in (made, replace(made, logprobs_N=None, numbers=())):
        write_batch(tmp_path, to_rows(rollout))
        equal(to_rollout(read_batch(tmp_path, 3), rollout.prompt_ids, CPU), rollout)
    part = to_rollout(read_batch(tmp_path, 3)[2:], made.prompt_ids[2:], CPU)
    assert (part.response_BT.tolist(), part.valid_BT.tolist()) == ([[2]], [[True]])


def equal(rollout: Rollout, expected: Rollout) -> None:
    """To the bit."""
    for name, value in vars(expected).items():
        got = getattr(rollout, name)
        if isinstance(value, torch.Tensor):
            assert got.dtype == value.dtype
            assert torch.equal(got, value), name
        else:
            assert got == value, name


# --- asked to stop ---------------------------------------------------------------------------------------------------


def test_asked_once_it_saves_the_batch_and_asked_twice_it_waits_for_none(
    args: Overrides, state: Waiting, server: Server, tmp_path: Path
) -> None:
    words = args("loop.steps=60", "loop.save_every=100")
    process = server.start(["train", *words], Path(HERE), environment())
    until(lambda: len(list(tmp_path.glob("runs/*/*/metrics.jsonl"))) and len(the_run(tmp_path).rows()) >= 2)
    process.send_signal(signal.SIGINT)
    assert process.poll(WITHIN_S) == 130, process.output()
    ((step, folder),) = the_run(tmp_path).checkpoints.saved()
    assert len(read_batch(folder, 8)) == 8

    state.answered, state.after = 0, 8  # the batch that is sampled next is answered, and then none
    process = server.start(["train", *words], Path(HERE), environment())
    until(lambda: state.answered >= 8 and len(the_run(tmp_path).rows()) >= step + 2)
    process.send_signal(signal.SIGINT)
    time.sleep(1.2)
    process.send_signal(signal.SIGINT)
    assert process.poll(15) == 130, process.output()
    assert f"stopped; step {step} is kept in {the_run(tmp_path).path}, and the same" in process.output()[1]
    state.allowed.set()


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


# --- agents ----------------------------------------------------------------------------------------------------------


def test_trajectories_are_sampled_ahead_too(place: str, state: Waiting, tmp_path: Path) -> None:
    pair = {role: toy.save(tmp_path / role, seed=seed) for seed, role in enumerate(("teacher", "student"), 1)}
    state.weights = Weights(str(pair["student"]))
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "count.yaml").write_text(
        "# Counting\n_target_: tests.agents.toy.CountPrompts\nsize: 6\nasks: 1\n"
    )
    words = [
        *(f"model.{role}.path={folder}" for role, folder in pair.items()),
        *(f"runs_dir={tmp_path / 'runs'}", "hardware.device=cpu", "data=count", "guard.enabled=false"),
        *("rollout=agent_vllm", "rollout.backend.mode=server", f"rollout.backend.server={place}"),
        *("rollout.backend.ahead=1", "rollout.backend.max_new_tokens=24", "rollout.max_new_tokens=60"),
        *("loop.max_prompt_tokens=400", "loop.steps=3", "loop.prompts=3", "loop.rollouts=2", "loop.eval_every=0"),
        *("loop.save_every=1", "loop.keep_checkpoints=9", "optim.warmup_steps=0", "optim.lr=1e-2"),
    ]
    whole = train([*words, "name=whole"], own=tmp_path / "own")
    rows = whole.rows()
    assert [row["rollout/staleness"] for row in rows] == [0, 1, 1]
    assert max(row["agent/turns"] for row in rows) > 1
    assert [name for name, _ in events(state)] == ["push", "sample", "push", "sample"]
    run = Run(Path(shutil.copytree(whole.path, whole.path.with_name(whole.path.name.replace("whole", "cut")))))
    cut(run, 1)
    train([*words, "name=cut"], own=tmp_path / "own")
    same(run, whole)
