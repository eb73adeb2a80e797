"""vLLM, by a stand-in with its signatures: weights are taken over, ids stay ids, and log-probabilities are compared."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.conftest import save_model
from tests.rollout.stand_in import LLM, Served, Weights, in_its_place, serve
from tests.rows import undeclared
from tipx.adapters import trained_parameters
from tipx.config import build, load
from tipx.errors import ConfigError, RunFailed, TipxError
from tipx.evals.start import evaluate_target
from tipx.models.lora import LoRA
from tipx.models.pair import ModelSource, Student
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout import vllm as vllm_rollouts
from tipx.rollout.engines import close_engines, open_engines
from tipx.rollout.inspection import list_shapes
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


def test_samples_lie_where_the_student_computes(vllm: type[LLM], student: tuple[PreTrainedModel, Any]) -> None:
    """The weights of one that is offloaded rest elsewhere."""
    how, (model, tokenizer) = rollouts(), student
    live = how.find_engine(model)
    model.to("meta").compute_device = torch.device("cpu")
    made = how.sample(live, model, tokenizer, ask(Noise(0)))
    assert made.response_BT.device.type == made.logprobs_N.device.type == "cpu"
    close_engines()
    how.find_engine(model)
    assert vllm.made[-1].kwargs["enforce_eager"] is True


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


@pytest.fixture
def adapted(pair_dir: Path) -> tuple[PreTrainedModel, Any]:
    """A student with adapters that have learned something."""
    lora = LoRA(r=4, lora_alpha=32, target_modules="all-linear", use_rslora=False, seed=0)
    settings: dict[str, Any] = {"revision": None, "dtype": "float32", "attn": None, "keep_layers": None}
    source = Student(path=str(pair_dir / "student"), lora=lora, **settings)
    model = source.load("student", torch.device("cpu"))
    with torch.no_grad():
        for parameter in trained_parameters(model):
            parameter.add_(0.2)
    return model, source.load_tokenizer("student")


def test_an_engine_samples_from_merged_adapters(vllm: type[LLM], adapted: tuple[PreTrainedModel, Any]) -> None:
    how, (model, tokenizer) = rollouts("rollout.sleep=false"), adapted
    check(model, how(model, tokenizer, ask(Noise(0))))
    with torch.no_grad():
        trained_parameters(model)[1].mul_(-2.0)  # one matrix of an adapter is enough to be pushed again
    check(model, how(model, tokenizer, ask(Noise(0))))
    (llm,) = vllm.made
    assert llm.weights.reloads == 2


def test_a_server_samples_from_merged_adapters(
    served: tuple[Served, str], adapted: tuple[PreTrainedModel, Any], tmp_path: Path
) -> None:
    how, (model, tokenizer) = (
        rollouts("rollout=vllm_server", f"rollout.server={served[1]}", f"rollout.sync_dir={tmp_path}"),
        adapted,
    )
    check(model, how(model, tokenizer, ask(Noise(0))))
    assert dict(list_shapes(model)) == dict(list_shapes(served[0].weights.model))


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
    close_engines()
    assert not list(tmp_path.iterdir())
    requests = [body for asked, body in state.asked if asked == "/v1/completions" and "seed" in body]
    assert sorted(body["prompt"] for body in requests[:5]) == sorted(PROMPTS)
    # What a server would otherwise fill from the model's own generation config.
    assert all(body["repetition_penalty"] == 1.0 and body["top_k"] == 0 for body in requests)
    assert all(body["ignore_eos"] for body in requests)  # of the server's own tokenizer
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
    with pytest.raises(ConfigError, match=r"vLLM is not installed .* pip install 'tipx\[vllm\]' .* rollout=hf"):
        rollouts()(*student, ask(Noise(0)))
    gone = rollouts("rollout=vllm_server", "rollout.server=http://127.0.0.1:9", "rollout.wait_s=0.1")
    with pytest.raises(ConfigError, match=r"no answer for rollout.wait_s=0.1 s .* `vllm serve MODEL`"):
        gone(*student, ask(Noise(0)))
    state.dev = False
    closed = rollouts("rollout=vllm_server", f"rollout.server={place}")
    with pytest.raises(ConfigError, match=r"has no /server_info.*; start it with VLLM_SERVER_DEV_MODE=1"):
        closed(*student, ask(Noise(0)))


def test_a_device_without_sleep_is_said(
    student: tuple[PreTrainedModel, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with in_its_place(monkeypatch, sleeps=False):
        rollouts()(*student, ask(Noise(0)))
        (llm,) = LLM.made
        assert (llm.kwargs["enable_sleep_mode"], llm.asleep) == (False, set())
    assert "starting vLLM 0.33.0 in float32, which stays awake: vLLM cannot sleep on this device" in caplog.text


def test_the_engine_gets_the_student_as_it_is(vllm: type[LLM], tmp_path: Path) -> None:
    """Pruned, and in its own precision: not what its name says."""
    folder = str(save_model(tmp_path / "deep", 3, layers=3))
    source = ModelSource(path=folder, revision=None, dtype="bfloat16", attn=None, keep_layers=[0, 2])
    model, tokenizer = source.load("student", torch.device("cpu")), source.load_tokenizer("student")
    rollouts("rollout.tolerance=0.3", "rollout.max_num_seqs=7", "+rollout.engine.kv_cache_dtype=fp8")(
        model, tokenizer, ask(Noise(0))
    )
    (llm,) = vllm.made
    assert llm.weights.model.config.num_hidden_layers == 2
    named = {"dtype": "bfloat16", "enforce_eager": True, "tensor_parallel_size": 1, "max_num_seqs": 7}
    assert llm.kwargs["enable_chunked_prefill"] is False
    assert named | {"kv_cache_dtype": "fp8"} == {key: llm.kwargs.get(key) for key in [*named, "kv_cache_dtype"]}
    assert not {"max_model_len", "enable_prefix_caching"} & llm.kwargs.keys()  # left to vLLM


def test_a_run_trained_in_bfloat16_is_sampled_in_it(
    vllm: type[LLM], student: tuple[PreTrainedModel, Any], tmp_path: Path
) -> None:
    with open_engines(tmp_path / "vllm.log", "bfloat16"):
        rollouts()(*student, ask(Noise(0)))
    (llm,) = vllm.made
    assert llm.kwargs["dtype"] == "bfloat16"
    assert (tmp_path / "vllm.log").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+rollout.engine.kv_cache_dtyp=fp8"], "rollout.engine.kv_cache_dtyp: .* did you mean kv_cache_dtype"),
        (["+rollout.engine.dtype=half"], "dtype is a key of its own, beside `engine`"),
        (["+rollout.engine.load_format=auto"], "load_format is set by tipx; leave it out"),
        (["rollout.mode=server", "+rollout.engine.max_loras=2"], "command line: vllm serve MODEL --max-loras"),
        (["eval=vllm", "loop.eval_every=1", "rollout.max_model_len=99"], "max_model_len=99 and .*: training and eval"),
    ],
)
@pytest.mark.usefixtures("vllm")
def test_wrong_settings_are_found_before_a_model_is_loaded(words: list[str], said: str, overrides: Overrides) -> None:
    with pytest.raises(TipxError, match=said):
        train_run(overrides("rollout=vllm", "rollout.max_new_tokens=9", *words), fresh=False, config_dir=None)


def test_a_missing_or_old_package_is_found_before_a_model_is_loaded(
    vllm: type[LLM], overrides: Overrides, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = overrides("rollout=vllm", "rollout.max_new_tokens=9")
    monkeypatch.setattr(sys.modules["vllm"], "__version__", "0.20.1")
    with pytest.raises(TipxError, match=r"vLLM 0\.20\.1 is installed, tipx needs 0\.31 or newer; pip install"):
        train_run(words, fresh=False, config_dir=None)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(TipxError, match=r"vLLM is not installed .*pip install 'tipx\[vllm\]'"):
        train_run(words, fresh=False, config_dir=None)
    assert not vllm.made


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "RuntimeError: operator torchvision::nms"),
        ("import no_such_package", "No module named 'no_such_package'"),
    ],
)
def test_a_package_that_breaks_is_one_line(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: Overrides
) -> None:
    (tmp_path / "vllm.py").write_text(source)
    with in_its_place(monkeypatch):
        monkeypatch.delitem(sys.modules, "vllm")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(TipxError, match=f"the installed vLLM cannot be imported .*{said}.*pip uninstall torchv"):
            train_run(overrides("rollout=vllm", "rollout.max_new_tokens=9"), fresh=False, config_dir=None)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("Head size 24 is not supported"), r"heads of this size \(it takes 32, .*; type rollout=hf"),
        (ValueError("No available memory for the cache blocks"), r"rollout\.gpu_memory_utilization"),
        (RuntimeError("Boom\n  at line 3"), r"\(RuntimeError: Boom at line 3\); see rollout.engine and the log"),
    ],
)
def test_an_engine_that_does_not_start_is_one_line(
    error: Exception,
    said: str,
    vllm: type[LLM],
    student: tuple[PreTrainedModel, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(vllm, "__init__", fail)
    with pytest.raises(ConfigError, match=f"the engine did not start .*{said}"):
        rollouts()(*student, ask(Noise(0)))


@pytest.mark.usefixtures("vllm")
def test_a_far_engine_is_warned_of_once(
    overrides: Overrides, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One that samples from another distribution than it says for the fixed tokens."""
    sample = Weights.sample

    def far(self: Weights, *args: Any) -> Any:
        ids, own = sample(self, *args)
        return ids, [p + 0.5 for p in own]

    monkeypatch.setattr(Weights, "sample", far)
    more = ["rollout=vllm", "rollout.max_new_tokens=9", "loop.steps=2"]
    train_run(overrides(*more), fresh=False, config_dir=None)
    said = "warning: the engine's log-probabilities of the tokens it sampled are 0.5 nats from the trainer's"
    assert capfd.readouterr().err.count(said) == 1


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
