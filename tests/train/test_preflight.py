"""What does not fit together is found before the first step, and no check cries without a reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GenerationConfig

from tests.conftest import save_model
from tipx.config import build, load
from tipx.errors import ModelError
from tipx.models.pair import ModelSource
from tipx.train import preflight
from tipx.train.preflight import (
    CHECKS,
    Finding,
    check_room,
    count_weights,
    examine_facts,
    gather_facts,
    raise_first_error,
)
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A student of the test's own, to be changed."""
    return save_model(tmp_path / "mine", 3)


def found(overrides: Overrides, *more: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine_facts(gather_facts(build(load(overrides(*more)))))}


def levels(overrides: Overrides, *more: str) -> dict[str, str]:
    return {check: f.level for check, f in found(overrides, *more).items() if f.level != "ok"}


def ends_at(folder: Path, *ids: int) -> None:
    GenerationConfig(eos_token_id=list(ids)).save_pretrained(folder)


def chats(folder: Path, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)


def test_the_embedded_pair_has_nothing_to_say_about() -> None:
    findings = examine_facts(gather_facts(build(load(["data.size=64"]))))
    assert {finding.level for finding in findings} == {"ok"}
    assert len({finding.check for finding in findings}) == len(CHECKS) == 14


def test_paddings_of_the_vocabulary_are_no_matter(overrides: Overrides, tmp_path: Path) -> None:
    wide = save_model(tmp_path / "wide", 3, vocab=80)
    finding = found(overrides, f"model.student.path={wide}")["vocabulary"]
    assert (finding.level, finding.text) == (
        "ok",
        "one tokenizer of 67 tokens; heads of 80 and 67 rows, compared on the first 67",
    )


def test_models_that_end_at_other_tokens(overrides: Overrides, student: Path) -> None:
    mine = f"model.student.path={student}"
    assert levels(overrides, mine) == {}
    ends_at(student, 1, 5)  # 1 is the tokenizer's own
    finding = found(overrides, mine)["endings"]
    tokens = AutoTokenizer.from_pretrained(student).convert_ids_to_tokens([1, 5])
    assert finding.level == "warning"
    assert f"the student ends a response at {' or '.join(tokens)}, the teacher at {tokens[0]} (a Base" in finding.text
    assert finding.text.endswith("set eos_token_id in the student's generation_config.json to [1]")


def test_models_that_share_no_ending(overrides: Overrides, student: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(7)
    tokenizer.save_pretrained(student)
    ends_at(student, 7)
    finding = found(overrides, f"model.student.path={student}")["endings"]
    assert finding.level == "error"


def test_chat_templates(overrides: Overrides, student: Path, tmp_path: Path) -> None:
    teacher = save_model(tmp_path / "its", 4)
    chat = ["model.template.chat=true", f"model.student.path={student}", f"model.teacher.path={teacher}"]
    with pytest.raises(ModelError, match=r"model.template.chat=true: the tokenizer has no chat template; take an Inst"):
        found(overrides, *chat)
    chats(student, "q : {{ messages[0]['content'] }} a :")
    assert "the teacher's tokenizer has none" in found(overrides, *chat)["chat template"].text
    chats(teacher, "q : {{ messages[-1]['content'] }} a :")  # other words, the same prompt
    assert levels(overrides, *chat) == {}
    chats(teacher, "q : {{ messages[0]['content'] }} . a :")
    finding = found(overrides, *chat)["chat template"]
    assert finding.level == "warning"
    assert "they differ: student 'a :', teacher '. a :'; both see the student's" in finding.text


def test_what_does_not_fit_the_context(overrides: Overrides) -> None:
    longest = max(map(len, gather_facts(build(load(overrides()))).prompts))
    assert levels(overrides, f"rollout.max_new_tokens={256 - longest}") == {}
    finding = found(overrides, f"rollout.max_new_tokens={257 - longest}")["context"]
    assert finding.level == "error"
    assert finding.text == (
        f"rollout.max_new_tokens={257 - longest}: with the longest prompt of {longest} tokens that is more than the "
        "256 the student can read; lower it, or loop.max_prompt_tokens"
    )


def test_prompts_that_are_left_out(overrides: Overrides) -> None:
    finding = found(overrides, "loop.max_prompt_tokens=25")["prompts"]
    assert finding.level == "warning"
    assert finding.text.startswith("left out ")
    assert "of 32 prompts, empty or longer than loop.max_prompt_tokens=25 (" in finding.text


def test_what_is_measured_on_is_not_trained_on(overrides: Overrides, tmp_path: Path) -> None:
    for name, texts in (("train", ["Tom has  1 .", "ann has 2 ."]), ("held", ["tom has 1 .", "mia has 3 ."])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    files = ["data=file", f"data.path={tmp_path}/train.jsonl"]
    files += ["heldout=file", f"heldout.texts.path={tmp_path}/held.jsonl"]
    args = [o for o in overrides(*files) if not o.startswith("data.size")]
    (finding,) = [f for f in examine_facts(gather_facts(build(load(args)))) if f.level != "ok"]
    assert (finding.check, finding.level) == ("held-out texts", "warning")
    assert finding.text == "1 of 2 heldout.texts are training prompts too"


def test_held_out_texts_that_are_left_out_are_counted(overrides: Overrides, tmp_path: Path) -> None:
    texts = [
        {"prompt": "mia has 3 .", "a": 45},
        {"prompt": "mia has 4 .", "a": ""},
        {"prompt": "mia has 5 .", "a": "now"},
    ]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    more = ["heldout=file", f"heldout.texts.path={tmp_path}/held.jsonl", "heldout.texts.answer_field=a"]
    finding = found(overrides, *more)["held-out texts"]
    assert (finding.level, finding.text) == (
        "warning",
        "none of 3 is a training prompt; 1 of 3 are left out: they have no token to score",
    )


def test_an_error_stops_and_the_first_is_told() -> None:
    said = [Finding("a", "warning", "one"), Finding("b", "error", "two"), Finding("c", "error", "three")]
    with pytest.raises(ModelError, match=r"^two$"):
        raise_first_error(said)
    raise_first_error(said[:1])


def test_a_run_shows_and_keeps_its_warnings(
    overrides: Overrides, student: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends_at(student, 1, 5)
    run, _ = train_run(overrides(f"model.student.path={student}", "loop.steps=1"), fresh=False, config_dir=None)
    kept = json.loads((run.path / "preflight.json").read_text())
    assert [row["check"] for row in kept if row["level"] == "warning"] == ["endings"]
    assert "warning: endings: model: the student ends a response at" in " ".join(capsys.readouterr().err.split())


def test_a_run_stops_before_weights_are_loaded(
    overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tipx.models.pair.ModelSource.load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(ModelError, match=r"rollout\.max_new_tokens=999"):
        train_run(overrides("rollout.max_new_tokens=999"), fresh=False, config_dir=None)
    assert not list((tmp_path / "runs").glob("*/*"))


def test_a_check_of_ones_own(overrides: Overrides, monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(facts: Any) -> Finding:
        return Finding("mine", "warning", f"{len(facts.prompts)} prompts")

    monkeypatch.setattr(preflight, "CHECKS", (*CHECKS, mine))
    assert found(overrides)["mine"].text == "32 prompts"


def test_layers_to_keep_are_there(overrides: Overrides) -> None:
    assert found(overrides)["layers"].text == "all are kept"
    assert found(overrides, "model.student.keep_layers=[0]")["layers"].text == "kept: 1 of the student's 1"
    finding = found(overrides, "model.student.keep_layers=[0-9]")["layers"]
    assert finding.level == "error"
    assert finding.text.startswith("model.student.keep_layers=[0-9]: the model has layers 0 to 0, not 9")


def test_a_student_in_float16_is_refused(overrides: Overrides) -> None:
    assert found(overrides, "model.teacher.dtype=float16")["precision"].level == "ok"
    finding = found(overrides, "model.student.dtype=float16")["precision"]
    assert finding.level == "error"
    assert finding.text.startswith("model.student.dtype=float16: ")
    assert "type model.student.dtype=float32 loop.precision=bf16" in finding.text
    with pytest.raises(ModelError, match=r"model\.student\.dtype=float16"):
        train_run(overrides("model.student.dtype=float16"), fresh=False, config_dir=None)


@pytest.mark.parametrize(("dtype", "lr", "level"), [("bfloat16", 1e-6, "warning"), ("float32", 1e-6, "ok")])
def test_whether_the_weights_can_move_is_said_and_logged(
    dtype: str, lr: float, level: str, overrides: Overrides, capsys: pytest.CaptureFixture[str]
) -> None:
    args = overrides(f"model.student.dtype={dtype}", f"optim.lr={lr}", "loop.steps=2", "optim.schedule=constant")
    run, _ = train_run(args, fresh=False, config_dir=None)
    kept = json.loads((run.path / "preflight.json").read_text())
    (finding,) = [one for one in kept if one["check"] == "movement"]
    assert finding["level"] == level
    shares = [row["train/weights_changed_frac"] for row in run.rows() if row["step"]]
    # Norms of 1 cannot move in bfloat16, matrices of 0.02 hardly. The first step warms up.
    assert shares[0] == 0
    assert (0 < shares[1] < 0.03) if dtype == "bfloat16" else (shares[1] > 0.5)
    warned = "warning: movement: a step of optim.lr=1e-06 can move 2.2% of the student's bfloat16 weights" in (
        capsys.readouterr().err
    )
    assert warned == (level == "warning")


@pytest.mark.parametrize(
    ("words", "processes", "copies"),
    [
        ([], 1, (0, 4)),
        (["hardware.strategy=fsdp"], 4, (1 / 4, 1)),
        (["hardware.strategy=fsdp", "hardware.fsdp_size=2"], 4, (1 / 2, 2)),
        (["hardware.strategy=fsdp", "model.teacher.offload=cpu"], 4, (0, 1)),
        (["model.student.lora.r=2"], 1, (0, 1)),
    ],
)
def test_what_no_step_can_do_without_must_fit(
    words: list[str], processes: int, copies: tuple[float, float], overrides: Overrides
) -> None:
    facts = gather_facts(build(load(overrides("hardware.device=cpu", *words))))
    weights = [
        count_weights(side.config, facts.exp.model.student, "student") for side in (facts.teacher, facts.student)
    ]
    least = int(sum(4 * count * times for count, times in zip(weights, copies, strict=True)))
    assert check_room(facts, processes, least + 4).level == "ok"
    found = check_room(facts, processes, least - 4)
    assert found.level == "error"
    assert "name a layout that fits" in found.text


def test_a_student_that_is_pruned_needs_less_room(overrides: Overrides, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "three", seed=5, layers=3)
    facts = gather_facts(build(load(overrides(f"model.student.path={folder}", "model.student.keep_layers=[0]"))))
    student = facts.exp.model.student
    pruned, whole = (
        count_weights(facts.student.config, replace(student, keep_layers=keep), "student")
        for keep in (student.keep_layers, None)
    )
    assert pruned < whole
    assert facts.student.config.num_hidden_layers == 3


def test_training_is_refused_before_weights_are_loaded_where_states_do_not_fit(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tipx.processes.machine_memory", lambda: 2**10)
    monkeypatch.setattr(ModelSource, "load", None)
    with pytest.raises(ModelError, match=r"hardware: weights, gradients and Adam take .* GiB of each process"):
        train_run(overrides(), fresh=False, config_dir=None)
