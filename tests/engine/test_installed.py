"""The installed vLLM takes every call that tipx makes, and its stand-in has nothing that the real one has not."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import LLM, EngineArgs, SamplingParams
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

from tests.rollout import stand_in
from tipx.config import build, load
from tipx.models.pair import ModelSource
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.vllm import VLLMRollouts

METHODS = [name for name, value in vars(stand_in.LLM).items() if inspect.isfunction(value)]
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_call(name: str, *args: Any, **kwargs: Any) -> None:
    """Raises TypeError where the real method would."""
    inspect.signature(getattr(LLM, name)).bind(None, *args, **kwargs)
    if name == "__init__":  # hands all that it does not name to EngineArgs
        named = inspect.signature(LLM).parameters.keys()
        inspect.signature(EngineArgs).bind(**{key: value for key, value in kwargs.items() if key not in named})
    if name == "collective_rpc":  # calls a worker's method, and this one calls the runner's
        inspect.signature(getattr(GPUModelRunner, args[0])).bind(None, *kwargs.get("args", ()), **kwargs["kwargs"])


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The methods of the engine that were called; each call is held against the real one's signature."""
    names = set[str]()

    def check_first(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: stand_in.LLM, *args: Any, **kwargs: Any) -> Any:
            check_call(name, *args, **kwargs)
            names.add(name)
            return call(self, *args, **kwargs)

        return checked

    for name in METHODS:
        monkeypatch.setattr(stand_in.LLM, name, check_first(name, getattr(stand_in.LLM, name)))
    return names


def test_the_engine_takes_what_is_called(called: set[str], pair_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = build(load(["rollout=vllm", "rollout.max_new_tokens=5"])).rollout
    source = ModelSource(path=str(pair_dir / "student"), revision=None, dtype="float32", attn=None, keep_layers=None)
    model, tokenizer = source.load("student", torch.device("cpu")), source.load_tokenizer("student")
    with stand_in.in_its_place(monkeypatch):
        how(model, tokenizer, RolloutRequest(prompts=[[3, 4], [5]], rows=range(2), noise=Noise(0)))
    assert called >= {"__init__", "generate", "collective_rpc", "reset_prefix_cache", "sleep", "wake_up"}


def test_a_wrong_call_is_found() -> None:
    with pytest.raises(TypeError, match="no_such_setting"):
        check_call("__init__", model="m", no_such_setting=1)
    with pytest.raises(TypeError, match="weights"):
        check_call("collective_rpc", "reload_weights", kwargs={"weights": []})


def test_a_server_takes_what_is_asked() -> None:
    how = build(load(["rollout=vllm_server"])).rollout
    assert isinstance(how, VLLMRollouts)
    asked = {"model", "prompt", "return_token_ids", *how.params([1], range(5, 7), seed=3, limit=4)}
    assert asked <= CompletionRequest.model_fields.keys()


@pytest.mark.parametrize("name", METHODS)
def test_the_stand_in_s_methods_are_the_real_ones(name: str) -> None:
    assert_within(inspect.signature(getattr(stand_in.LLM, name)), inspect.signature(getattr(LLM, name)))


def test_the_stand_in_s_sampling_parameters_are_the_real_ones() -> None:
    assert_within(inspect.signature(stand_in.SamplingParams), inspect.signature(SamplingParams))


def assert_within(own: inspect.Signature, real: inspect.Signature) -> None:
    """Each named parameter of the stand-in is the real one's, with its default if it has any."""
    for name, parameter in own.parameters.items():
        if parameter.kind in NAMED:
            assert real.parameters[name].kind == parameter.kind, name
            assert parameter.default in (parameter.empty, real.parameters[name].default), name
