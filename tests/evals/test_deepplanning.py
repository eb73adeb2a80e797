"""DeepPlanning by command: the sample is solved by gold, failed by a random model, asked of a server, learned from."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.agents.stub import Stub, stub  # noqa: F401 - a fixture
from tests.agents.toy import build_model, build_tokenizer
from tests.cli.conftest import Done, call
from tests.deepplanning.conftest import archives, data  # noqa: F401 - fixtures
from tipx.config import build, load
from tipx.deepplanning.pull import pull
from tipx.errors import ConfigError
from tipx.evals.deepplanning import APART
from tipx.evals.exam import Exam, problems_fingerprint
from tipx.evals.start import name_served_model
from tipx.runs.directory import Run

Tipx = Callable[..., Done]
PLAIN = ("hardware.device=cpu",)
SHORT = ("backend.max_new_tokens=4", "max_turns=2", "backend.batch_size=2")
HARD = "hard_constraint_rate"
OFFICIAL = "[shopping_l1,shopping_l3]"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pair that reads texts of any length: a token is a byte."""
    folder = tmp_path_factory.mktemp("models")
    for seed, role in enumerate(("teacher", "student")):
        build_model(seed, positions=10**6).save_pretrained(folder / role)
        build_tokenizer().save_pretrained(folder / role)
    return folder


@pytest.fixture
def tipx(tmp_path: Path) -> Tipx:
    return lambda *words: call(tmp_path, *words)


def only(folder: Path) -> dict[str, Any]:
    """The one result there is."""
    (file,) = folder.glob("runs/eval/*/*/result.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_gold_trajectories_solve_the_sample(tipx: Tipx, models: Path, tmp_path: Path) -> None:
    done = tipx("eval", str(models / "student"), "benchmark=deepplanning_sample", "eval=agent_gold", "n=1", *PLAIN)
    assert done.code == 0, done.err
    assert APART in " ".join(done.out.split())
    result = only(tmp_path)
    assert (result["benchmark"], result["problems"], result["mean"]) == ("deepplanning_sample", 12, 1.0)
    found = result["aggregate"]
    assert (found["avg_acc"], found["sample/case_acc"], found["shopping/weighted_average_case_score"]) == (1, 1, 1)
    assert (found["sample/hard_constraint_rate"], found["sample/commonsense_score"]) == (1, 1)
    assert (found["shopping/extra_products"], found["sample/parse_failures"], found["shopping/valid"]) == (0, 0, 1)
    assert result["metrics"]["extra_products"]["mean"] == result["mean_malformed"] == result["clipped_ratio"] == 0
    assert (result["plan_parse"], result["headline"], result["data"]) == ("rules", "case", None)
    assert len(result["scores"]) == 12


def test_a_random_model_solves_nothing_and_breaks_nothing(tipx: Tipx, models: Path, tmp_path: Path) -> None:
    words = ["benchmark=deepplanning", "benchmark.slices=[sample]", "benchmark.split=train", "eval=agent", "n=2"]
    headline = f"benchmark.headline={HARD}"
    limits = [f"eval.sampling.{one}" for one in SHORT]
    done = tipx("eval", str(models / "student"), *words, headline, *limits, "limit=2", *PLAIN)
    assert done.code == 0, done.err
    result = only(tmp_path)
    # Whoever says what, the sample's results bear its name.
    assert (result["benchmark"], result["headline"], result["mean"]) == (
        "deepplanning_sample",
        HARD,
        0,
    )
    assert result["best_at"] == {"1": 0, "2": 0}
    assert sum(result["outcomes"].values()) == 4


def test_a_server_is_asked(tipx: Tipx, stub: tuple[Stub, str], tmp_path: Path) -> None:  # noqa: F811
    _, address = stub
    words = ["benchmark=deepplanning_sample", "eval=agent_chat", f"eval.sampling.server={address}", "n=1"]
    done = tipx("eval", "the-model", *words, *PLAIN)
    assert done.code == 0, done.err
    result = only(tmp_path)
    assert (result["mean"], result["outcomes"]["eos"]) == (0, 12)
    # Purchases are asked about twice.
    assert result["mean_turns"] == 1.5
    assert result["mean_text_length"] == 105


def test_what_a_server_does_not_count_is_null(tipx: Tipx, stub: tuple[Stub, str], tmp_path: Path) -> None:  # noqa: F811
    state, address = stub
    state.usage = False
    words = ["benchmark=deepplanning_sample", "eval=agent_chat", f"eval.sampling.server={address}", "n=1", "limit=2"]
    done = tipx("eval", "the-model", *words, *PLAIN)
    assert (done.code, "not counted by the server" in done.out) == (0, True)
    result = only(tmp_path)
    assert [result[key] for key in ("mean_length", "mean_text_length", "tokens_per_s")] == [None] * 3
    # How often it is tried again decides no answer, so this is there already.
    state.asked.clear()
    assert tipx("eval", "the-model", *words, "eval.sampling.retries=0", *PLAIN).code == 0
    assert [place for place, *_ in state.asked] == ["/v1/models"]


def test_a_server_that_breaks_down_is_no_mistake_of_the_user(tipx: Tipx, stub: tuple[Stub, str]) -> None:  # noqa: F811
    state, address = stub
    state.first = [(500, b"Out of memory")] * 99
    server = [f"eval.sampling.server={address}", "eval.sampling.retries=0"]
    done = tipx("eval", "the-model", "benchmark=deepplanning_sample", "eval=agent_chat", *server, "limit=1", *PLAIN)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "Out of memory; tries: 1; see the server's log" in done.err


def test_two_models_behind_one_address_have_two_results(tipx: Tipx, stub: tuple[Stub, str], tmp_path: Path) -> None:  # noqa: F811
    state, address = stub
    words = ["benchmark=deepplanning_sample", "eval=agent_chat", f"eval.sampling.server={address}", "limit=1"]
    for name in ("the-model", "another", "another"):
        state.models = (200, {"data": [{"id": name}]})
        assert tipx("eval", "mine", *words, *PLAIN).code == 0
    results = [json.loads(file.read_text()) for file in tmp_path.glob("runs/eval/mine-*/*/result.json")]
    assert sorted((r["agent"]["model"], r["server"]) for r in results) == [("another", address), ("the-model", address)]
    job = build(load(words, "eval"))
    with pytest.raises(ConfigError, match=r"'RUN' is a run, and what is behind .* is not known to be its student"):
        name_served_model(job, "RUN", Run(tmp_path))


def test_a_server_that_breaks_down_costs_what_it_did_not_answer(
    tipx: Tipx,
    stub: tuple[Stub, str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, address = stub
    sampling = [f"eval.sampling.{one}" for one in (f"server={address}", "retries=0", "batch_size=1")]
    words = ["benchmark=deepplanning_sample", "benchmark.slices=[sample_travel]", "eval=agent_chat", *sampling]
    whole = state.answer
    with monkeypatch.context() as broken:
        broken.setattr(state, "answer", lambda *asked: (500, {}) if len(state.bodies) == 2 else whole(*asked))
        done = tipx("eval", "mine", *words, *PLAIN)
    assert (done.code, len(done.err.splitlines()), "answered /v1/chat/completions with 500" in done.err) == (1, 1, True)
    done = tipx("eval", "mine", *words, *PLAIN)
    assert done.code == 0, done.err
    result = only(tmp_path)
    assert (result["answers_before"], len(state.bodies)) == (2, result["problems"])


def test_without_data_one_line_says_what_to_type(tipx: Tipx, models: Path, tmp_path: Path) -> None:
    for words in (["eval", str(models / "student"), "benchmark=deepplanning"], ["train", "data=deepplanning_travel"]):
        done = tipx(*words, f"eval.path={tmp_path}", "eval=agent", *PLAIN)
        assert (done.code, len(done.err.splitlines())) == (2, 1)
        assert f"tipx data pull deepplanning eval.path={tmp_path}" in done.err
        assert "slices=[sample]" in done.err


def test_two_steps_on_two_sample_tasks(tipx: Tipx, models: Path, tmp_path: Path) -> None:
    pair = [f"model.{role}.path={models / role}" for role in ("teacher", "student")]
    tasks = ["data=deepplanning_travel", "data.slices=[sample]", "benchmark=deepplanning_travel"]
    limits = [f"rollout.{one}" for one in (*SHORT[::2], "max_turns=1")]
    loop = [
        "loop.steps=2",
        "loop.prompts=2",
        "loop.max_prompt_tokens=20000",
        "loop.eval_every=0",
        "loop.sample_every=0",
    ]
    sample = "benchmark.slices=[sample_travel]"
    done = tipx("train", *pair, *tasks, sample, "rollout=agent", *limits, *loop, "hardware.micro_batch=1", *PLAIN)
    assert done.code == 0, done.err
    (path,) = (tmp_path / "runs" / "solo").iterdir()
    run = Run(path)
    assert run.finished
    for row in run.rows():
        assert row["train/applied"]
        assert row["agent/hard_constraint_rate"] == row["agent/score"] == 0
    guard = run.provenance()["guard"]
    # The split holds a test task apart, so none is left out.
    assert (guard["checked"]["deepplanning_travel_sample"], guard["dropped"]["deepplanning_travel_sample"]) == (1, [])


def test_tasks_of_the_benchmark_are_not_trained_on(tipx: Tipx, models: Path) -> None:
    pair = [f"model.{role}.path={models / role}" for role in ("teacher", "student")]
    tasks = ["data=deepplanning_travel", "data.slices=[sample]", "benchmark=deepplanning_sample", "rollout=agent"]
    done = tipx("train", *pair, *tasks, *PLAIN)
    assert (done.code, "problems of a benchmark" in done.err) == (2, True)


def test_what_a_result_says_of_official_data(data: Path) -> None:  # noqa: F811
    list(pull(str(data)))
    words = ["benchmark=deepplanning", f"benchmark.slices={OFFICIAL}", "eval=agent", f"eval.path={data}"]
    job = build(load(words, "eval"))
    benchmark = job.benchmark
    said = benchmark.remarks(job.how)
    assert said["data"]["archives"]["database_level3.tar.gz"]["cases"] == 20
    assert [note.split(":")[0] for note in said["notes"]] == [
        "plan_parse=rules",
        "wording=own",
        "max_turns=50, max_new_tokens=24576 for all of a task",
        "shopping's second part goes on with the conversation of the first, thinking included",
        "part of the benchmark",
    ]
    assert len(benchmark.load(str(data))) == 70
    (data / "deepplanning.json").unlink()
    assert "data of unknown revision" in benchmark.remarks(job.how)["notes"][-1]


def test_other_answers_or_another_headline_are_another_benchmark(data: Path) -> None:  # noqa: F811
    list(pull(str(data)))
    plain = ["benchmark=deepplanning", f"benchmark.slices={OFFICIAL}"]
    case, exact = (build(load([*plain, *more], "eval")).benchmark for more in ([], ["benchmark.headline=exact"]))
    before = problems_fingerprint(case.load(str(data)))
    assert problems_fingerprint(exact.load(str(data))) != before
    file = data / "database_level1" / "case_1" / "validation_cases.json"
    file.write_text(
        json.dumps(json.loads(file.read_text()) | {"ground_truth_coupons": {"VIP: ¥200 off every ¥1,000": 1}})
    )
    assert problems_fingerprint(case.load(str(data))) != before


def test_other_archives_are_another_result(data: Path) -> None:  # noqa: F811
    list(pull(str(data)))
    job = build(load(["benchmark=deepplanning", "benchmark.slices=[shopping_l3]", "eval=agent"], "eval"))
    how = replace(job.eval, path=str(data))

    def folder_with(part: str, sha256: str) -> str:
        file = data / "deepplanning.json"
        noted = json.loads(file.read_text())
        noted["archives"][f"database_{part}"]["sha256"] = sha256
        file.write_text(json.dumps(noted))
        return Exam(job.benchmark, how, 0, job.template).folder_name

    before = Exam(job.benchmark, how, 0, job.template).folder_name
    assert folder_with("level1.tar.gz", "0" * 64) == before
    assert folder_with("level3.tar.gz", "0" * 64) != before
