"""A model folder is asked as its benchmark is asked, in its own dtype, within what it reads; the result says how."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tests.conftest import save_model
from tipx.config import load, resolve, with_benchmark_choices
from tipx.errors import ConfigError

Tipx = Callable[..., Any]
BOX = "\nPlease reason step by step, and put your final answer within \\boxed{}."
CHAT = "q : {{ messages[0]['content'] }} a :"
SHORT = ["n=1", "hardware.device=cpu", "eval.sampling.max_new_tokens=4"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the test's own."""
    return save_model(tmp_path / "model", seed=2)


@pytest.fixture
def table(tmp_path: Path) -> list[str]:
    """The overrides of a benchmark of two problems."""
    rows = [{"problem": "tom has 3 .", "answer": "3"}, {"problem": "ann has 4 . mia has 5 .", "answer": "9"}]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["benchmark=math500", "benchmark.size=2", f"eval.path={tmp_path / 'two.jsonl'}"]


def written(done: Any, what: str) -> Path:
    """The file that a command says it wrote."""
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith(f"{what} ")]
    return Path(line.split(maxsplit=1)[1])


def result(done: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(written(done, "result").read_text())
    return facts


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- how it is asked --------------------------------------------------------------------------------------------------


def test_the_benchmark_says_how_it_is_asked() -> None:
    fair = ["eval=sampled_long", "template=boxed_auto"]
    for name in ("math500", "aime24", "aime25", "gsm8k", "paper_math"):
        assert with_benchmark_choices([f"benchmark={name}"]) == [*fair, f"benchmark={name}"]
    # The embedded task is asked as the embedded pair was taught, and tasks by agents.
    assert with_benchmark_choices([]) == ["eval=sampled_16", "template=plain"]
    for name in ("tiny_agent", "deepplanning", "deepplanning_sample", "deepplanning_travel"):
        assert with_benchmark_choices([f"benchmark={name}"])[:2] == ["eval=agent", "template=plain"]
    # What is typed stays.
    typed = ["benchmark=math500", "template=chat", "eval.n=3"]
    assert with_benchmark_choices(typed) == ["eval=sampled_long", *typed]
    tree = resolve(load(with_benchmark_choices(["benchmark=math500"]), "eval"))
    assert (tree["eval"]["n"], tree["eval"]["sampling"]["max_new_tokens"], tree["template"]["chat"]) == (
        16,
        8192,
        "auto",
    )


def test_a_benchmark_of_ones_own_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "conf" / "benchmark").mkdir(parents=True)
    file = tmp_path / "conf" / "benchmark" / "mine.yaml"
    file.write_text("# Mine\ndefaults: [gsm8k, _self_]\nname: mine\nasked: {eval: sampled}\n")
    conf = tmp_path / "conf"
    assert with_benchmark_choices(["benchmark=mine"], conf) == ["eval=sampled", "benchmark=mine"]
    file.write_text("# Mine\ndefaults: [gsm8k, _self_]\nname: mine\nasked: 3\n")
    with pytest.raises(ConfigError, match=r"benchmark.asked: expected choices, as {eval: sampled_long, template"):
        with_benchmark_choices(["benchmark=mine"], conf)


def test_it_is_no_part_of_a_run() -> None:
    for words in ([], ["benchmark=tiny_agent"], ["benchmark=deepplanning_travel"]):
        tree = resolve(load(words))
        assert "'asked'" not in repr(tree)


@pytest.mark.parametrize("chat", [True, False])
def test_through_the_chat_template_where_there_is_one(chat: bool, model: Path, table: list[str], tipx: Tipx) -> None:
    if chat:
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.chat_template = CHAT
        tokenizer.save_pretrained(model)
    done = tipx("eval", "model", *table, *SHORT)
    found = result(done)
    assert found["template"] == {"chat": chat, "instruction": BOX, "thinking": None}
    assert (found["temperature"], found["top_p"], found["top_k"], found["dtype"]) == (1.0, 1.0, 0, "float32")
    way = "through the chat template" if chat else "as plain text"
    line = f'asked    {way}, with "{BOX.strip()}", temperature 1, top-p 1, top-k off, up to 4 new tokens, float32'
    assert line in done.out.splitlines()
    assert line in done.err.splitlines()  # before the hours that it may take


@pytest.mark.usefixtures("model")
def test_answers_that_were_cut_are_a_warning(table: list[str], tipx: Tipx) -> None:
    done = tipx("eval", "model", *table, *SHORT)
    cut = result(done)["clipped_ratio"]
    assert cut > 0.05
    said = (
        f"warning: math500: {cut:.0%} of the answers were cut by the length limit, and count as wrong; raise eval.samp"
    )
    assert said in done.err


# --- what it reads ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("model")
def test_more_than_the_model_reads_is_refused_before_the_first_answer(
    table: list[str], tipx: Tipx, tmp_path: Path
) -> None:
    # By hand: "ann has 4 . mia has 5 ." are 8 words, "tom has 3 ." 4; the model reads 256.
    plain = ["template=plain", "n=1", "hardware.device=cpu"]
    done = tipx("eval", "model", *table, *plain, "eval.sampling.max_new_tokens=249")
    line = (
        "error: math500: problem '1' has 8 tokens, with eval.sampling.max_new_tokens=249 more than the 256 the model "
        "reads; type eval.sampling.max_new_tokens=248"
    )
    assert (done.code, done.err.splitlines()[-1]) == (2, line)
    assert not list(tmp_path.glob("runs/eval/*/*"))
    assert tipx("eval", "model", *table, *plain, "eval.sampling.max_new_tokens=248", "eval.greedy=false").code == 0


def test_a_run_that_evaluates_is_refused_too(overrides: Callable[..., list[str]], tipx: Tipx) -> None:
    words = overrides("loop.eval_last=true", "eval.sampling.max_new_tokens=250", "eval.limit=2")
    done = tipx("train", *words)
    assert done.code == 2
    assert "with eval.sampling.max_new_tokens=250 more than the 256 the model reads" in done.err


# --- its own dtype ----------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(model: Path) -> Path:
    """The model, saved in bfloat16."""
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    return model


@pytest.mark.usefixtures("narrow")
def test_the_dtype_is_the_folders_own_and_can_be_set(table: list[str], tipx: Tipx) -> None:
    own, typed = (tipx("eval", "model", *table, *SHORT, *more) for more in ([], ["dtype=float32"]))
    assert (result(own)["dtype"], result(typed)["dtype"]) == ("bfloat16", "float32")
    a, b = (written(done, "result") for done in (own, typed))
    assert a != b
    refused = tipx("compare", str(a), str(b))
    assert refused.code == 2
    assert "dtype is 'bfloat16' and 'float32'; evaluate both alike" in refused.err
    assert tipx("compare", str(a), str(a)).code == 0


def test_a_configuration_that_says_no_dtype(narrow: Path, table: list[str], tipx: Tipx) -> None:
    config = json.loads((narrow / "config.json").read_text())
    del config["dtype"]
    (narrow / "config.json").write_text(json.dumps(config))
    assert result(tipx("eval", "model", *table, *SHORT))["dtype"] == "bfloat16"  # by its weights
    (narrow / "config.json").write_text(json.dumps(config | {"dtype": "float64"}))
    done = tipx("eval", "model", *table, *SHORT)
    assert (done.code, done.err) == (
        2,
        "error: dtype: 'model' has its weights in float64; type dtype=float32 or dtype=bfloat16 or dtype=float16\n",
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_and_its_export_give_the_same_answers(
    dtype: str, trained: tuple[Path, list[str], Any], tipx: Tipx, tmp_path: Path
) -> None:
    if dtype == "float32":
        shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    else:
        words = [*trained[1], "model.student.dtype=bfloat16", "loop.steps=2", "loop.eval_every=0"]
        assert tipx("train", *words).code == 0
    (run,) = (tmp_path / "runs" / "paper").iterdir()
    assert tipx("export", run.name, "exported").code == 0
    same = ["benchmark=arithmetic", "limit=6", "n=4", "eval.greedy=false", "eval.sampling.max_new_tokens=10"]
    same += ["template.instruction=' .'"]
    answers = []
    for target in (run.name, "exported"):
        done = tipx("eval", target, *same)
        assert result(done)["dtype"] == dtype
        lines = written(done, "samples").read_text().splitlines()
        answers.append([json.loads(line)["response"] for line in lines])
    assert len(answers[0]) == 24
    assert answers[0] == answers[1]


# --- the model card's sampling ----------------------------------------------------------------------------------------


def test_sampling_as_the_model_card_says(model: Path, table: list[str], tipx: Tipx) -> None:
    done = tipx("eval", "model", *table, *SHORT, "sampling=model_card")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the generation_config.json of 'model' says no temperature, top_p or top_k; type sampling=eval" in done.err
    GenerationConfig(
        eos_token_id=1, do_sample=True, temperature=0.6, top_p=0.95, top_k=20, repetition_penalty=1.05
    ).save_pretrained(model)
    found = result(tipx("eval", "model", *table, *SHORT, "sampling=model_card"))
    assert (found["temperature"], found["top_p"], found["top_k"]) == (0.6, 0.95, 20)
    assert found["notes"] == ["the model card's repetition_penalty=1.05 is not applied"]
    # Without it nothing of the card counts.
    found = result(tipx("eval", "model", *table, *SHORT))
    assert (found["temperature"], found["top_p"], found["top_k"], "notes" in found) == (1.0, 1.0, 0, False)
    done = tipx("eval", "model", *table, *SHORT, "sampling=model_card", "eval.sampling.top_p=0.5")
    assert (done.code, done.err) == (
        2,
        "error: eval.sampling.top_p=0.5 and sampling=model_card: two say how answers are sampled; leave one out\n",
    )


# --- what a run was trained on ----------------------------------------------------------------------------------------


def test_an_evaluation_looks_again_at_what_was_trained_on(
    overrides: Callable[..., list[str]], table: list[str], tipx: Tipx, tmp_path: Path
) -> None:
    texts = ["tom has 3 .", *[f"mia has {i} {i} ." for i in range(7)]]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    words = [word for word in overrides("loop.steps=2", "guard.enabled=false") if not word.startswith("data.size")]
    done = tipx("train", *words, "data=file", f"data.path={tmp_path / 'train.jsonl'}")
    assert done.code == 0, done.err
    (run,) = tmp_path.glob("runs/solo/*")
    done = tipx("eval", run.name, *table, *SHORT)
    assert result(done)["trained_on"] == ["0"]
    said = "warning: math500: 1 of 2 problems are prompts that the run was trained on"
    assert said in done.err
    again = tipx("eval", run.name, *table, *SHORT)
    assert "already evaluated" in again.err
    assert said in again.err
    (tmp_path / "train.jsonl").unlink()
    gone = tipx("eval", run.name, *table, *SHORT)
    assert gone.code == 0
    assert "warning: math500: not known whether its problems were trained on (data.path: cannot read " in gone.err
