"""Runs whose weights are shared out: what they log, their checkpoints, and what is left when a process fails.

A checkpoint of any layout goes on in any other. In the same layout it goes on to the last bit.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.conftest import save_model
from tests.ranks import free_port
from tests.rollout.stand_in import Served, Weights, serve
from tests.rows import lasting
from tests.train.test_processes import WITHIN_S, by_value, environment, results, same, the_run
from tests.warm import Process, Server
from tipx.export.model import export_model
from tipx.files.atomic import find_damage
from tipx.models.pair import ModelSource
from tipx.runs.directory import Run

pytestmark = pytest.mark.long(40)
FSDP = "hardware.strategy=fsdp"
LAYOUTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "one": (1, ()),
    "ddp2": (2, ()),
    "fsdp2": (2, (FSDP,)),
    "fsdp4": (4, (FSDP,)),
}
LORA: dict[str, tuple[int, tuple[str, ...]]] = {
    f"lora {name}": (size, (*more, "model.student.lora.r=4"))
    for name, (size, more) in LAYOUTS.items()
    if name != "fsdp4"
}
PLAIN = {"revision": None, "dtype": "float32", "attn": None, "keep_layers": None}
Begin = Callable[..., list[Process]]


def begin_ranks(server: Server, size: int, args: Sequence[str], place: Path, **odd: dict[int, object]) -> list[Process]:
    """Start the processes of a run as a launcher does. `odd` is `at` or `limit` of some ranks; see `tests.warm`."""
    port, started = free_port(), []
    for rank in range(size):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        env = environment(place / "home", **({k: str(v) for k, v in own.items()} if size > 1 else {}))
        how = {key: by_rank[rank] for key, by_rank in odd.items() if rank in by_rank}
        started.append(server.start(["train", *args], place, env, **how))  # type: ignore[arg-type]
    return started


def finish(started: Sequence[Process]) -> list[tuple[int | None, str, str]]:
    """Exit code, stdout and stderr of each."""
    said = [process.communicate(timeout=WITHIN_S) for process in started]
    return [(process.returncode, *lines) for process, lines in zip(started, said, strict=True)]


@pytest.fixture(scope="module")
def args(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run with everything that processes do together: samples, evaluations, five held-out texts."""
    folder = tmp_path_factory.mktemp("untied")
    student = AutoModelForCausalLM.from_pretrained(save_model(folder, seed=5, layers=2), tie_word_embeddings=False)
    torch.nn.init.normal_(student.lm_head.weight, std=0.02, generator=torch.Generator().manual_seed(6))
    student.save_pretrained(folder)
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"prompt": f"take {n} from 37 . then {n} + 4 = 9"}) + "\n" for n in range(5)))
    return [
        *(f"model.teacher.path={pair_dir / 'teacher'}", f"model.student.path={folder}", "hardware.device=cpu"),
        *("hardware.micro_batch=1", "hardware.threads=1", "data.size=32", "loop.steps=4", "loop.prompts=8"),
        *("rollout.max_new_tokens=12", "loop.eval_every=2", "eval.limit=6", "eval.n=2"),
        *("eval.sampling.max_new_tokens=12", "loop.save_every=2", "loop.sample_every=2", "optim.warmup_steps=0"),
        *("heldout=file", f"heldout.texts.path={texts}", "heldout.every=2", "selector=soft_or", "ratio=0.1"),
    ]


class Straight(dict[str, Run]):
    """The run by each layout that is asked for, and that nothing happened to; to be read only."""

    def __init__(self, args: list[str], server: Server, folders: pytest.TempPathFactory) -> None:
        self.args, self.server, self.folders = args, server, folders

    def __missing__(self, name: str) -> Run:
        place, (size, more) = self.folders.mktemp(name.replace(" ", "-")), (LAYOUTS | LORA)[name]
        ended = finish(begin_ranks(self.server, size, [*self.args, *more, f"runs_dir={place / 'runs'}"], place))
        assert [code for code, *_ in ended] == [0] * size, ended
        self[name] = the_run(place / "runs")
        return self[name]


@pytest.fixture(scope="module")
def straight(args: list[str], warm_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return Straight(args, warm_server, tmp_path_factory)


@pytest.mark.parametrize("layout", ["fsdp2", pytest.param("fsdp4", marks=pytest.mark.slow)])
def test_a_sharded_run_is_the_run_of_one(layout: str, straight: Straight) -> None:
    run, one = straight[layout], straight["one"]
    same(run, one)
    assert results(run) == results(one)
    size = LAYOUTS[layout][0]
    assert {key: run.provenance()["starts"][0][key] for key in ("processes", "strategy", "fsdp_size")} == {
        "processes": size,
        "strategy": "fsdp",
        "fsdp_size": size,
    }
    folder = run.checkpoints.open("last")[1]
    assert sorted(path.name for path in (folder / "optimizer").iterdir()) == sorted(
        [".metadata", *(f"__{rank}_0.distcp" for rank in range(size))]
    )
    # What `from_pretrained` loads is a plain model.
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]
    loaded = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert loaded.keys() == AutoModelForCausalLM.from_pretrained(one.checkpoints.open("last")[1]).state_dict().keys()


def go_on(run: Run, place: Path) -> Run:
    """A copy of the run as it was after step 2, under another folder."""
    shutil.copytree(run.path.parents[1], place / "runs")
    copy = the_run(place / "runs")
    shutil.rmtree(copy.checkpoints.open("4")[1])
    (copy.path / "summary.json").unlink()
    lines = copy.metrics_file.read_text().splitlines(keepends=True)
    copy.metrics_file.write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    return copy


FAST = [("fsdp2", "fsdp2")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(one, other, marks=() if (one, other) in FAST else pytest.mark.slow)
        for one in LAYOUTS
        for other in LAYOUTS
    ],
)
def test_a_checkpoint_of_any_layout_goes_on_in_any_other(
    before: str, after: str, args: list[str], straight: Straight, server: Server, tmp_path: Path
) -> None:
    run = go_on(straight[before], tmp_path)
    size, more = LAYOUTS[after]
    ended = finish(begin_ranks(server, size, [*args, *more, f"runs_dir={tmp_path / 'runs'}"], tmp_path))
    assert [code for code, *_ in ended] == [0] * size, ended
    assert "resuming after step 2 of 4" in ended[0][2]
    same(run, straight["one"])
    found, expected = (load_file(r.checkpoints.open("last")[1] / "model.safetensors") for r in (run, straight[before]))

    if before == after:
        assert [lasting(row) for row in run.rows()] == [lasting(row) for row in straight[before].rows()]
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.slow
@pytest.mark.parametrize("after", LORA)
@pytest.mark.parametrize("before", LORA)
def test_adapters_of_any_layout_go_on_in_any_other(
    before: str, after: str, args: list[str], straight: Straight, server: Server, tmp_path: Path
) -> None:
    run = go_on(straight[before], tmp_path)
    size, more = LORA[after]
    ended = finish(begin_ranks(server, size, [*args, *more, f"runs_dir={tmp_path / 'runs'}"], tmp_path))
    assert [code for code, *_ in ended] == [0] * size, ended
    for row, other in zip(run.rows(), straight["lora one"].rows(), strict=True):
        assert by_value(row) == pytest.approx(by_value(other), rel=1e-4, abs=1e-6)
    folder = run.checkpoints.open("last")[1]
    assert not (folder / "model.safetensors").exists()
    assert (folder / "optimizer").is_dir() == (FSDP in more)
    found, expected = (
        load_file(r.checkpoints.open("last")[1] / "adapter" / "adapter_model.safetensors")
        for r in (run, straight[before])
    )
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if before == after:
            assert torch.equal(value, expected[name])
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)
    export_model(run.path.name, tmp_path / "merged", "last", tmp_path / "runs", force=False)
    # What is exported has the logits of base and adapters.
    source = ModelSource(**PLAIN, path=str(folder))
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        own = source.load("student", torch.device("cpu"))(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ids).logits
    torch.testing.assert_close(merged, own, atol=1e-5, rtol=0)


def wait_for(true: Callable[[], object], started: Sequence[Process]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < ends
        assert all(process.poll() is None for process in started), [process.communicate() for process in started]
        time.sleep(0.005)


LOST = "error: another process of this run has ended; the same command continues from the last checkpoint\n"


@pytest.mark.slow
@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1)], ids=["the main one", "another", "all"])
def test_processes_that_are_killed_lose_nothing_that_was_saved(
    lost: tuple[int, ...], args: list[str], straight: Straight, server: Server, tmp_path: Path
) -> None:
    run = go_on(straight["fsdp2"], tmp_path)
    mine = [*args, FSDP, f"runs_dir={tmp_path / 'runs'}"]
    started = begin_ranks(server, 2, mine, tmp_path)
    wait_for(lambda: run.rows()[-1]["step"] >= 3, started)
    for rank in lost:
        started[rank].kill()
    ended = finish(started)
    assert [code for code, *_ in ended] == [-signal.SIGKILL if rank in lost else 1 for rank in (0, 1)], ended
    if lost == (1,):
        assert ended[0][2].endswith(LOST)
    assert [(step, find_damage(folder)) for step, folder in run.checkpoints.saved()][:1] == [(2, None)]
    ended = finish(begin_ranks(server, 2, mine, tmp_path))
    assert [code for code, *_ in ended] == [0, 0], ended
    assert [lasting(row) for row in run.rows()] == [lasting(row) for row in straight["fsdp2"].rows()]


@pytest.mark.parametrize(
    ("rank", "at"),
    [(1, 1), *(pytest.param(0, at, marks=pytest.mark.slow) for at in (1, 4, 8))],
)
def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(
    rank: int, at: int, args: list[str], straight: Straight, server: Server, tmp_path: Path
) -> None:
    run = go_on(straight["fsdp2"], tmp_path)
    mine = [*args, FSDP, f"runs_dir={tmp_path / 'runs'}"]
    aside = str(run.path / "checkpoints" / ".000004.tmp")
    ended = finish(begin_ranks(server, 2, mine, tmp_path, at={rank: (at, aside)}))
    assert [code for code, *_ in ended] == [-signal.SIGKILL if one == rank else 1 for one in (0, 1)], ended
    assert [(step, find_damage(folder)) for step, folder in run.checkpoints.saved()] == [(2, None)]
    ended = finish(begin_ranks(server, 2, mine, tmp_path))
    assert [code for code, *_ in ended] == [0, 0], ended
    assert [lasting(row) for row in run.rows()] == [lasting(row) for row in straight["fsdp2"].rows()]
    assert not [path for path in run.checkpoints.folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_of_one_process_ends_all_in_one_line(
    rank: int, args: list[str], straight: Straight, server: Server, tmp_path: Path
) -> None:
    run = go_on(straight["fsdp2"], tmp_path)
    mine = [*args, FSDP, f"runs_dir={tmp_path / 'runs'}"]
    ended = finish(begin_ranks(server, 2, mine, tmp_path, limit={rank: 14_000}))
    assert [code for code, *_ in ended] == [1, 1], ended
    where = "" if rank == 0 else " (process 2 of 2)"
    line = (
        f"error: cannot write checkpoint {run.path}/checkpoints/000004: File too large{where}; earlier checkpoints are "
        "intact: raise the limit of a file (`ulimit -f`) and run the same command again\n"
    )
    assert ended[0][2].endswith(line)
    assert "Traceback" not in ended[0][2]
    assert ended[1][1:] == ("", "")
    assert [(step, find_damage(folder)) for step, folder in run.checkpoints.saved()] == [(2, None)]
    assert [code for code, *_ in finish(begin_ranks(server, 2, mine, tmp_path))] == [0, 0]
    assert [lasting(row) for row in run.rows()] == [lasting(row) for row in straight["fsdp2"].rows()]


@pytest.mark.slow
def test_asking_one_to_stop_stops_all(args: list[str], straight: Straight, server: Server, tmp_path: Path) -> None:
    run = go_on(straight["fsdp2"], tmp_path)
    mine = [*args, FSDP, f"runs_dir={tmp_path / 'runs'}"]
    started = begin_ranks(server, 2, mine, tmp_path)
    wait_for(lambda: run.rows()[-1]["step"] >= 3, started)
    started[1].send_signal(signal.SIGTERM)
    ended = finish(started)
    assert {code for code, *_ in ended} <= {143, 0}, ended
    assert [code for code, *_ in finish(begin_ranks(server, 2, mine, tmp_path))] == [0, 0]
    assert [lasting(row) for row in run.rows()] == [lasting(row) for row in straight["fsdp2"].rows()]


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_server_gets_weights_that_are_shared_out(ahead: int, args: list[str], server: Server, tmp_path: Path) -> None:
    """Each update's once, also where layers stay whole after a forward pass as that of the held-out texts.

    An evaluation and the next batch are of the same weights. With `ahead` nothing samples by those after step 3.
    """
    student = next(word for word in args if word.startswith("model.student.path=")).partition("=")[2]
    runs, pushes = list[Run](), list[int]()
    for layout in ("one", "fsdp2"):
        state, place, (size, more) = Served(Weights(student)), tmp_path / layout, LAYOUTS[layout]
        place.mkdir()
        with serve(state) as address:
            by_server = [
                *("rollout=vllm_server", f"rollout.server={address}", f"rollout.ahead={ahead}"),
                *("eval=vllm", "eval.sampling.mode=server", f"eval.sampling.server={address}"),
            ]
            often = ["heldout.every=1", "loop.save_every=4", "hardware.reshard_after_forward=false"]
            mine = [*args, *more, *by_server, *often, f"runs_dir={place / 'runs'}"]
            ended = finish(begin_ranks(server, size, mine, place))
        assert [code for code, *_ in ended] == [0] * size, ended
        runs.append(the_run(place / "runs"))
        calls = [body["method"] for where, body in state.asked if where == "/collective_rpc"]
        pushes.append(calls.count("reload_weights"))
    one, two = runs
    trained = [row for row in two.rows() if row["step"]]
    assert [row.get("rollout/staleness", 0) for row in trained] == [0, *[ahead] * 3]
    assert max(row["rollout/push_gap"] for row in trained) < 1e-5
    same(two, one)
    assert results(two) == results(one)
    assert pushes == [5 - ahead] * 2
