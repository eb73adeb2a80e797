"""vLLM, by a stand-in with its signatures: weights are taken over, ids stay ids, and log-probabilities are compared."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.conftest import save_model
from tests.rollout.stand_in import LLM, SamplingParams, Served, Weights, in_its_place, serve
from tests.rows import undeclared
from tipx.config import build, load
from tipx.errors import ConfigError, RunFailed
from tipx.evals.start import evaluate_target
from tipx.models.pair import ModelSource
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout import vllm as vllm_rollouts
from tipx.rollout.vllm import VLLMRollouts
from tipx.train.start import train_run

Overrides = Callable[..., list[str]]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LLM]]:
    with in_its_place(monkeypatch):
        yield LLM


@pytest.fixture
def served(pair_dir: Path) -> Iterator[tuple[Served, str]]:
    state = Served(Weights(str(pair_dir / "student")))
    with serve(state) as address:
        yield state, address


def rollouts(*more: str) -> VLLMRollouts:
    made = build(load(["rollout=vllm", "rollout.max_new_tokens=9", *more])).rollout
    assert isinstance(made, VLLMRollouts)
    return made


@pytest.fixture
def student(pair_dir: Path) -> tuple[PreTrainedModel, Any]:
    source = ModelSource(path=str(pair_dir / "student"), revision=None, dtype="float32", attn=None, keep_layers=None)
    return source.load("student", torch.device("cpu")), source.load_tokenizer("student")


PROMPTS = [[3, 4, 5], [6], [7, 8, 3, 4], [5, 5], [9]]


def ask(noise: Noise, rows: Sequence[int] = range(5)) -> RolloutRequest:
    """For a response to the prompt of each row."""
    return RolloutRequest(prompts=[PROMPTS[row] for row in rows], rows=rows, noise=noise)


@pytest.mark.parametrize("sleep", ["true", "false"])
def test_a_colocated_engine_samples_from_the_current_student(
    sleep: str, vllm: type[LLM], student: tuple[PreTrainedModel, Any]
) -> None:
    how, (model, tokenizer) = rollouts(f"rollout.sleep={sleep}", "rollout.batch_size=2"), student
    first = how(model, tokenizer, ask(Noise(0)))
    (llm,) = vllm.made
    assert llm.kwargs["load_format"] == "dummy"
    assert llm.kwargs["trust_remote_code"] is False
    assert llm.kwargs["enable_sleep_mode"] == (sleep == "true")
    assert first.prompt_ids == tuple(map(tuple, PROMPTS))
    assert first.lengths == [int(n) for n in first.valid_BT.sum(-1)]
    check(model, first)
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.5)
    second = how(model, tokenizer, ask(Noise(0)))
    check(model, second)
    again = how(model, tokenizer, ask(Noise(0)))
    assert torch.equal(again.response_BT, second.response_BT)
    # Unchanged weights are not sent again, unless sleep has thrown them away.
    assert llm.weights.reloads == llm.caches == (3 if sleep == "true" else 2)
    assert llm.asleep == ({"weights", "kv_cache"} if sleep == "true" else set())
    assert len(vllm.made) == 1


def check(model: PreTrainedModel, rollout: Any) -> None:
    """The engine's log-probabilities are the model's own of the same ids."""
    own = []
    for prompt, row_T, n in zip(rollout.prompt_ids, rollout.response_BT, rollout.lengths, strict=True):
        ids = [*prompt, *row_T[:n].tolist()]
        with torch.no_grad():
            log_p_LV = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own += [log_p_LV[i - 1, ids[i]] for i in range(len(prompt), len(ids))]
    torch.testing.assert_close(rollout.logprobs_N, torch.stack(own), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("vllm")
def test_a_row_s_draw_does_not_depend_on_its_batch(student: tuple[PreTrainedModel, Any]) -> None:
    whole = rollouts()(*student, ask(Noise(0)))
    part = rollouts("rollout.batch_size=1")(*student, ask(Noise(0), [2, 3]))
    n = part.lengths[0]
    assert torch.equal(part.response_BT[0, :n], whole.response_BT[2, :n])
    other = rollouts()(*student, ask(Noise(0, 1)))
    assert not torch.equal(other.response_BT, whole.response_BT)


def test_a_server_samples_from_the_current_student(
    served: tuple[Served, str], student: tuple[PreTrainedModel, Any], tmp_path: Path
) -> None:
    state, place = served
    how, (model, tokenizer) = (
        rollouts("rollout=vllm_server", f"rollout.server={place}", f"rollout.sync_dir={tmp_path}"),
        student,
    )
    check(model, how(model, tokenizer, ask(Noise(0))))
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.5)
    check(model, how(model, tokenizer, ask(Noise(0))))
    check(model, how(model, tokenizer, ask(Noise(0, 1))))
    assert state.weights.reloads == 2
    assert not list(tmp_path.iterdir())
    requests = [body for asked, body in state.asked if asked == "/v1/completions"]
    assert sorted(body["prompt"] for body in requests[:5]) == sorted(PROMPTS)
    # What a server would otherwise fill from the model's own generation config.
    assert all(body["repetition_penalty"] == 1.0 and body["top_k"] == 0 for body in requests)
    assert {body["model"] for body in requests} == {"the-student"}


@pytest.mark.usefixtures("vllm")
def test_a_run_logs_what_lies_between_engine_and_trainer(overrides: Overrides) -> None:
    more = ["rollout=vllm", "rollout.max_new_tokens=9", "loop.steps=2"]
    run, _ = train_run(overrides(*more), fresh=False, config_dir=None)
    for row in run.rows():
        assert undeclared(row) == {}
        assert 0 <= row["rollout/mismatch_abs_mean"] <= row["rollout/mismatch_abs_max"] < 1e-4
        assert abs(row["rollout/mismatch_kl"]) <= row["rollout/mismatch_abs_mean"]


def test_no_package_no_server_no_permission(
    served: tuple[Served, str], student: tuple[PreTrainedModel, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, place = served
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"vLLM is not installed .* pip install 'tipx\[vllm\]', or .* rollout=hf"):
        rollouts()(*student, ask(Noise(0)))
    gone = rollouts("rollout=vllm_server", "rollout.server=http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"rollout.server: no answer from 'http://127.0.0.1:9' .* `vllm serve MODEL`"):
        gone(*student, ask(Noise(0)))
    state.dev = False
    closed = rollouts("rollout=vllm_server", f"rollout.server={place}")
    with pytest.raises(ConfigError, match=r"has no /collective_rpc; start it with VLLM_SERVER_DEV_MODE=1"):
        closed(*student, ask(Noise(0)))


CALLS: dict[str, tuple[str, ...]] = {
    "__init__": (
        *("model", "load_format", "skip_tokenizer_init", "gpu_memory_utilization", "max_model_len"),
        "enable_sleep_mode",
    ),
    "generate": ("prompts", "sampling_params", "use_tqdm"),
    "collective_rpc": ("method", "timeout", "args", "kwargs"),
    "reset_prefix_cache": (),
    "sleep": ("level",),
    "wake_up": ("tags",),
}


def accepts(function: Any, names: Sequence[str]) -> bool:
    parameters = inspect.signature(function).parameters
    return set(names) <= parameters.keys() or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize("name", CALLS)
def test_the_stand_in_accepts_what_is_called(name: str) -> None:
    assert accepts(getattr(LLM, name), CALLS[name])


def test_the_installed_vllm_accepts_what_is_called() -> None:
    real = pytest.importorskip("vllm", reason="vLLM is not installed: its signatures were not compared")
    for name, parameters in CALLS.items():
        assert accepts(getattr(real.LLM, name), parameters), name
    assert set(SamplingParams.__dataclass_fields__) <= set(inspect.signature(real.SamplingParams).parameters)


def test_an_evaluation_can_sample_by_it(vllm: type[LLM], overrides: Overrides) -> None:
    run, _ = train_run(overrides("loop.steps=1"), fresh=False, config_dir=None)
    args = ["eval=vllm", "n=2", "limit=3", "eval.sampling.max_new_tokens=9", f"runs_dir={run.path.parent.parent}"]
    ((result, _, _),) = evaluate_target(run.path.name, args, None)
    (llm,) = vllm.made
    assert llm.weights.reloads > 0
    assert (result["problems"], result["n"], result["max_new_tokens"]) == (3, 2, 9)
    assert sum(result["outcomes"].values()) == 6


@pytest.mark.usefixtures("vllm")
def test_only_ids_of_the_tokenizer_are_asked_for(
    student: tuple[PreTrainedModel, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(student[1])
    wide = ModelSource(
        path=str(save_model(tmp_path / "wide", 3, vocab=3 * size)),
        revision=None,
        dtype="float32",
        attn=None,
        keep_layers=None,
    ).load("student", torch.device("cpu"))
    how = rollouts()
    made = how(wide, student[1], ask(Noise(0)))
    assert max(made.response_BT[made.valid_BT]) < size
    assert len(set(made.response_BT[made.valid_BT].tolist())) > 3
    params = how.params([1], range(size, size + 2), 3, 4)
    assert json.loads(json.dumps(params))["logit_bias"] == {str(size): -100.0, str(size + 1): -100.0}
    assert "logit_bias" not in how.params([1], range(size, size), 3, 4)
    # vLLM's engine fails with more.
    assert len(how.params([1], range(1024), 3, 4)["logit_bias"]) == 1024
    assert "logit_bias" not in how.params([1], range(1025), 3, 4)
    monkeypatch.setattr(vllm_rollouts, "MOST_BIASES", 1)
    with pytest.raises(RunFailed, match=rf"it has {size}, the model's head {3 * size} rows, .* exclude 1; type"):
        how(wide, student[1], ask(Noise(1)))
