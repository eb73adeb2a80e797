"""A stand-in for vLLM with its signatures, as an engine in the process and as a server.

It computes with weights of its own, which are random until they are reloaded: if the student's did not reach it, its
log-probabilities would be others than the trainer's.
"""

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tipx.rollout.vllm import engine


class Weights:
    """A model with weights of its own, and what it was asked."""

    def __init__(self, path: str) -> None:
        torch.manual_seed(99)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).eval()
        self.reloads = 0

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        assert not unexpected
        assert set(missing) <= {"lm_head.weight"}  # tied
        self.reloads += 1

    @torch.no_grad()
    def sample(
        self, prompt: Sequence[int], seed: int, limit: int, stop: Sequence[int], bias: Mapping[Any, float] | None
    ) -> tuple[list[int], list[float]]:
        generator, ids, own = torch.Generator().manual_seed(seed), list(prompt), []
        for _ in range(limit):
            logits_V = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
            log_p_V = logits_V.log_softmax(-1)
            for biased, value in (bias or {}).items():
                logits_V[int(biased)] += value
            token = int(torch.multinomial(logits_V.softmax(-1), 1, generator=generator))
            ids.append(token)
            own.append(float(log_p_V[token]))
            if token in stop:
                break
        return ids[len(prompt) :], own


@dataclass
class SamplingParams:
    """The fields of vLLM's that are used, with their defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    seed: int | None = None
    logprobs: int | None = None
    logit_bias: dict[int, float] | None = None
    detokenize: bool = True


class LLM:
    """The calls of vLLM's that are used."""

    made: list["LLM"] = []  # noqa: RUF012 - the test looks at what was made

    def __init__(
        self,
        model: str,
        *,
        skip_tokenizer_init: bool = False,
        gpu_memory_utilization: float = 0.92,
        **kwargs: Any,
    ) -> None:
        self.weights, self.asleep, self.caches, self.kwargs = Weights(model), set[str](), 0, kwargs
        LLM.made.append(self)

    def generate(
        self, prompts: Sequence[Any], sampling_params: Sequence[SamplingParams], *, use_tqdm: bool = True
    ) -> list[Any]:
        assert not self.asleep
        outputs = []
        for prompt, p in zip(prompts, sampling_params, strict=True):
            ids, own = self.weights.sample(
                prompt["prompt_token_ids"], p.seed, p.max_tokens, p.stop_token_ids, p.logit_bias
            )
            logprobs = [{token: SimpleNamespace(logprob=value)} for token, value in zip(ids, own, strict=True)]
            outputs.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids), logprobs=logprobs)]))
        return outputs

    def collective_rpc(
        self, method: str, timeout: float | None = None, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> list[None]:
        assert method == "reload_weights"
        assert "weights" not in self.asleep
        self.weights.load(dict(kwargs["weights_iterator"]))
        return [None]

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        self.caches += 1
        return True

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        self.asleep = {"weights", "kv_cache"}
        if level == 2:
            torch.nn.init.zeros_(self.weights.model.get_input_embeddings().weight)

    def wake_up(self, tags: list[str] | None = None) -> bool:
        self.asleep -= set(tags or self.asleep)
        return not self.asleep


@dataclass
class Served:
    """What a server was asked, and with which weights it answers."""

    weights: Weights
    dev: bool = True
    asked: list[tuple[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, place: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            self.asked.append((place, body))
            if place == "/v1/models":
                return 200, {"data": [{"id": "the-student"}]}
            if place == "/v1/completions":
                how = (body.get(name) for name in ("prompt", "seed", "max_tokens", "stop_token_ids", "logit_bias"))
                ids, own = self.weights.sample(*how)
                logprobs = {"token_logprobs": own}
                return 200, {"choices": [{"text": "?", "token_ids": ids, "logprobs": logprobs}]}
            if self.dev and place == "/collective_rpc":
                self.weights.load(load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors"))
                return 200, {"results": [None]}
            return (200, None) if self.dev and place == "/reset_prefix_cache" else (404, {"detail": "Not Found"})


@contextmanager
def serve(state: Served) -> Iterator[str]:
    """The address at which it answers; afterwards no engine and no connection to it is left over."""
    clients: list[httpx.Client] = []

    class Noted(httpx.Client):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            clients.append(self)

    class Handler(BaseHTTPRequestHandler):
        def respond(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status, body = state.answer(method, self.path, json.loads(self.rfile.read(size)) if size else None)
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.respond("GET")

        def do_POST(self) -> None:
            self.respond("POST")

        def log_message(self, *args: object) -> None:
            pass

    class Listening(ThreadingHTTPServer):
        request_queue_size = 128  # connections of a whole batch at once

    server = Listening(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    engine.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "Client", Noted)
        yield f"http://127.0.0.1:{server.server_port}"
    for client in clients:
        client.close()
    engine.cache_clear()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def in_its_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`import vllm` gives the stand-in; no engine is left over, before or after."""
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")  # put back afterwards
    engine.cache_clear()
    LLM.made.clear()
    yield
    engine.cache_clear()
