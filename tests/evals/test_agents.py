"""A benchmark of tasks: the headline's mean over tasks, the best of k, and trajectories by how they ended."""

import json
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tests.agents.toy import CountBenchmark, CountTo, save
from tests.conftest import make_hardware
from tipx.agents.calls import Call, HermesCalls
from tipx.agents.script import Script
from tipx.config import build, load
from tipx.display.tables import result_table
from tipx.errors import ConfigError, ModelError
from tipx.evals import Evaluation
from tipx.evals.exam import Exam
from tipx.evals.runner import Subject, evaluate_exam
from tipx.evals.start import evaluate_target
from tipx.models.locate import resolve_model_path
from tipx.models.pair import ModelSource, Template
from tipx.processes import World
from tipx.stats.estimates import best_at_k, pass_at_k
from tipx.train.start import train_run

FOUR = CountBenchmark(name="count", size=4, asks=1)
CHAT = Template(chat=True, instruction="", thinking=None)
Eval = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("agent") / "student", seed=2)


@pytest.fixture(scope="module")
def subject(folder: Path) -> Subject:
    source = ModelSource(path=str(folder), revision=None, dtype="float32", attn=None, keep_layers=None)
    return Subject(source.load("student", torch.device("cpu")), source.load_tokenizer("student"))


@pytest.fixture
def world() -> World:
    return make_hardware().start("no")


def how(*overrides: str, turns: tuple[tuple[str, ...], ...] | None = None) -> Evaluation:
    given_ = ["eval=agent", "n=2", "eval.sampling.backend.max_new_tokens=24", "eval.sampling.max_new_tokens=60"]
    made: Evaluation = build(load([*given_, *overrides], "eval")).how
    if turns is None:
        return made
    script = Script(turns=turns, max_new_tokens=2000, batch_size=3)
    return replace(made, sampling=replace(made.sampling, backend=script, max_new_tokens=1000))


def adds(goal: int) -> str:
    return HermesCalls().write([Call("add", {"by": goal})])


# Four tasks of two trajectories: reached 1 1, 1 0, 0 0, 0 0.
BY_HAND = (
    *((adds(1), "1"), (adds(1), "1", "1"), (adds(2),), ("2",)),
    *(("<tool_call>", "?"), ("3",), (adds(5),), ("x" * 5000,)),
    *((adds(1),), (), (adds(3),), ()),  # greedy
)


def test_by_hand(subject: Subject, world: World, tmp_path: Path) -> None:
    result = evaluate_exam(
        subject, Exam(FOUR, how("eval.greedy=true", turns=BY_HAND), 0, CHAT), tmp_path / "out", world
    )
    assert result["mean"] == 0.375  # (1 + 1/2 + 0 + 0) / 4
    # Deviations 5/8, 1/8, -3/8, -3/8: sample variance 44/64 / 3.
    assert result["mean_se"] == pytest.approx(math.sqrt(44 / 64 / 3 / 4))
    assert result["best_at"] == {"1": 0.375, "2": 0.5}
    assert result["outcomes"] == {"eos": 7, "length": 0, "tokens": 1, "context": 0, "turns": 0}
    assert (result["clipped_ratio"], result["longest"]) == (1 / 8, subject.model.config.max_position_embeddings)
    assert result["mean_malformed"] == 1 / 8
    assert result["mean_calls"] == 4 / 8
    assert result["metrics"]["reached"] == {"mean": result["mean"], "se": result["mean_se"]}
    assert result["metrics"]["whole"]["mean"] == 7 / 8
    assert result["slices"]["odd"] == {"tasks": 2, "mean": 0.5, "mean_se": 0.5}
    assert result["slices"]["even"]["mean"] == 0.25
    # The worse slice of each run: run 0 has 1/2 and 1/2, run 1 has 1/2 and 0.
    assert result["aggregate"] == {"worst_slice": 0.25, "of": 4}
    assert result["greedy_aggregate"] == {"worst_slice": 0.0, "of": 4}
    assert (result["greedy"], result["greedy_outcomes"]["eos"]) == (0.5, 4)
    assert (result["benchmark"], result["problems"], result["n"], result["partial"]) == ("count", 4, 2, False)


def test_samples_hold_the_whole_trajectory(subject: Subject, world: World, tmp_path: Path) -> None:
    result = evaluate_exam(subject, Exam(FOUR, how(turns=BY_HAND), 0, CHAT), tmp_path / "out", world)
    lines = (tmp_path / "out" / "samples.jsonl").read_text().splitlines()
    samples: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [(s["id"], s["sample"]) for s in samples] == [(f"count/{t}", i) for t in range(1, 5) for i in range(2)]
    one = samples[0]
    assert [m["role"] for m in one["messages"]] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert one["messages"][2]["content"] == '{"value": 1}'
    assert one["prompt"].endswith("To 1!<|im_end|>\n<|im_start|>assistant\n")
    assert (one["value"], one["scores"]["reached"], one["turns"], one["stop"]) == (1, 1, 3, "eos")
    assert samples[-1]["stop"] == samples[-1]["outcome"] == "tokens"
    assert sum(result["outcomes"].values()) == len(samples)
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result


def test_sampled_trajectories_do_not_depend_on_batches(subject: Subject, world: World, tmp_path: Path) -> None:
    results = []
    for size in (1, 5):
        one = how(f"eval.sampling.backend.batch_size={size}", "eval.greedy=true")
        assert Exam(FOUR, one, 0, CHAT).folder_name == Exam(FOUR, how("eval.greedy=true"), 0, CHAT).folder_name
        results.append(evaluate_exam(subject, Exam(FOUR, one, 0, CHAT), tmp_path / str(size), world))
    assert (tmp_path / "1" / "samples.jsonl").read_text() == (tmp_path / "5" / "samples.jsonl").read_text()
    assert results[0]["outcomes"] == results[1]["outcomes"]


def test_other_settings_never_share_a_folder() -> None:
    base = how()
    others = [
        how("eval.sampling.max_turns=3"),
        how("eval.sampling.max_new_tokens=61"),
        how("eval.sampling.backend.max_new_tokens=25"),
        how("eval.sampling.backend.temperature=0.5"),
        how("eval.sampling.malformed=text"),
        how("eval.sampling.max_parallel_calls=1"),
        how("rollout/calls@eval.sampling.calls=xml"),
        how(turns=BY_HAND),
        how("n=3"),
    ]
    assert len({Exam(FOUR, one, 0, CHAT).folder_name for one in [base, *others]}) == 1 + len(others)
    assert Exam(FOUR, base, 0, CHAT).folder_name != Exam(replace(FOUR, size=3), base, 0, CHAT).folder_name


def test_tasks_need_an_agent(subject: Subject, world: World, tmp_path: Path) -> None:
    plain = build(load(["n=1"], "eval")).how
    with pytest.raises(ConfigError, match=r"eval: 'count/1' is a task with tools.*set eval=agent"):
        evaluate_exam(subject, Exam(FOUR, plain, 0, CHAT), tmp_path / "out", world)


def test_a_model_that_cannot_hold_the_tasks_is_refused(subject: Subject, world: World, tmp_path: Path) -> None:
    exam = Exam(FOUR, how(), 0, CHAT)
    for template, said in (
        (None, "needs a chat template"),
        ("{{ messages[0].content }}", "does not show the model its"),
    ):
        tokenizer = deepcopy(subject.tokenizer)
        tokenizer.chat_template = template
        with pytest.raises(ModelError, match=said):
            evaluate_exam(replace(subject, tokenizer=tokenizer), exam, tmp_path / "out", world)
    small = AutoTokenizer.from_pretrained(resolve_model_path("embedded:agent/student", "float32", ""))
    with pytest.raises(ModelError, match=r"of the \d+ tokens of task 'count/1' are '<unk>' to its tokenizer"):
        evaluate_exam(replace(subject, tokenizer=small), exam, tmp_path / "out", world)
    assert not (tmp_path / "out").exists()
    # Some families call their end-of-text token unknown, and a prompt may well hold it.
    named = deepcopy(subject.tokenizer)
    named.unk_token, named.chat_template = named.eos_token, named.eos_token + named.chat_template
    evaluate_exam(replace(subject, tokenizer=named), exam, tmp_path / "out", world)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.data())
def test_the_best_of_k_is_the_mean_over_draws(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    draws = list(combinations(values, k))
    assert best_at_k(values, k) == pytest.approx(sum(map(max, draws)) / len(draws))
    right = [float(v > 0.5) for v in values]
    assert best_at_k(right, k) == pytest.approx(pass_at_k(len(right), int(sum(right)), k))
    with pytest.raises(ValueError, match="need 1 <= k"):
        best_at_k(values, len(values) + 1)


# --- by command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for group, target in (("benchmark", "CountBenchmark\nname: count"), ("data", "CountPrompts")):
        (tmp_path / "own" / group).mkdir(parents=True)
        text = f"# Counting\n_target_: tests.agents.toy.{target}\nsize: 4\nasks: 1\n"
        (tmp_path / "own" / group / "count.yaml").write_text(text)
    return tmp_path / "own"


def test_gold_trajectories_score_one(folder: Path, own: Path, tmp_path: Path) -> None:
    overrides = ["benchmark=count", "eval=agent_gold", "n=1", f"runs_dir={tmp_path / 'runs'}", "hardware.device=cpu"]
    ((result, out, worked),) = evaluate_target(str(folder), overrides, own)
    assert (result["mean"], result["outcomes"]["eos"], worked) == (1.0, 4, True)
    assert (out / "samples.jsonl").is_file()
    table = result_table(result)
    shown = dict(zip(*(list(map(str, column.cells)) for column in table.columns), strict=True))
    assert shown["mean@1"].startswith("1.000")
    assert shown["reached"] == "1.000 ± 0.000"
    assert shown["mean calls"] == "2.00"
    assert shown["ended by a limit"] == "0.0%"


def test_a_run_that_is_evaluated_while_it_trains_and_afterwards(folder: Path, own: Path, tmp_path: Path) -> None:
    teacher = save(tmp_path / "teacher", seed=1, hidden=24)
    limits = ("max_new_tokens=40", "backend.max_new_tokens=20", "max_turns=3")
    run, _ = train_run(
        [
            *(f"model.teacher.path={teacher}", f"model.student.path={folder}", f"runs_dir={tmp_path / 'runs'}"),
            *("data=count", "benchmark=count", "guard.enabled=false", "hardware.device=cpu", "rollout=agent"),
            *(f"rollout.{limit}" for limit in limits),
            *("eval=agent", *(f"eval.sampling.{limit}" for limit in limits)),
            *("loop.steps=1", "loop.prompts=2", "loop.eval_every=1", "loop.max_prompt_tokens=300"),
        ],
        fresh=False,
        config_dir=own,
    )
    assert [row["step"] for row in run.rows() if "eval/count/mean" in row] == [0, 1]
    # A run lends its sampling, which is another kind than the command's own.
    overrides = ["benchmark=count", "n=2", f"runs_dir={tmp_path / 'runs'}", "hardware.device=cpu"]
    ((result, _, _),) = evaluate_target(run.path.name, [*overrides, "+eval.sampling.max_turns=2"], own)
    assert result["agent"]["max_turns"] == 2
    assert result["agent"]["max_new_tokens"] == 40
    assert result["agent"]["turn"]["max_new_tokens"] == 20
    assert sum(result["outcomes"].values()) == 8
    assert CountTo(1).headline in result["metrics"]
