"""A stand-in for vLLM with its signatures, as an engine in the process and as a server.

It computes with weights of its own, which are random until they are reloaded: if the student's did not reach it, its
log-probabilities would be others than the trainer's.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tipx.rollout.engines import close_engines, score_tokens


class Weights:
    """A model with weights of its own, and what it was asked."""

    def __init__(self, path: str) -> None:
        torch.manual_seed(99)
        self.model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path)).eval()
        self.longest: int = self.model.config.max_position_embeddings
        self.reloads = 0

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        """Every weight, a tied LM head too: vLLM keeps the one that it has, if it is not given."""
        self.model.load_state_dict(weights)
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

    def score(self, ids: Sequence[int]) -> list[float]:
        """Log-probability of each token but the first."""
        return score_tokens(self.model, ids)

    def inspect(self) -> str:
        """As vLLM prints it."""
        c = self.model.config
        return f"""{c.architectures}()(
  (model): Qwen3Model()(
    (embed_tokens): VocabParallelEmbedding(num_embeddings={c.vocab_size}, embedding_dim={c.hidden_size}, \
org_vocab_size={c.vocab_size}, tp_size=1)
    (layers): ModuleList()(
      (0-{c.num_hidden_layers - 1}): {c.num_hidden_layers} x Qwen3DecoderLayer()(
        (mlp): Qwen2MLP()(
          (gate_up_proj): MergedColumnParallelLinear(in_features={c.hidden_size}, \
output_features={2 * c.intermediate_size}, bias=False, tp_size=1, gather_output=False)
          (act_fn): SiluAndMul()
        )
        (input_layernorm): RMSNorm(hidden_size={c.hidden_size}, eps=1e-06)
      )
    )
  )
)"""


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
    prompt_logprobs: int | None = None
    ignore_eos: bool = False
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
        config = SimpleNamespace(max_model_len=kwargs.get("max_model_len", self.weights.longest))
        self.llm_engine = SimpleNamespace(model_config=config, engine_core=SimpleNamespace(shutdown=lambda: None))
        LLM.made.append(self)

    def generate(
        self, prompts: Sequence[Any], sampling_params: Sequence[SamplingParams], *, use_tqdm: bool = True
    ) -> list[Any]:
        assert not self.asleep
        outputs = []
        for prompt, p in zip(prompts, sampling_params, strict=True):
            given = prompt["prompt_token_ids"]
            ids, own = self.weights.sample(given, p.seed or 0, p.max_tokens, p.stop_token_ids or (), p.logit_bias)
            first = [] if p.prompt_logprobs is None else [None, *said(given[1:], self.weights.score(given))]
            sampled = SimpleNamespace(token_ids=tuple(ids), logprobs=said(ids, own))
            outputs.append(SimpleNamespace(outputs=[sampled], prompt_logprobs=first))
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


def said(ids: Sequence[int], logprobs: Sequence[float]) -> list[dict[int, Any]]:
    return [{token: SimpleNamespace(logprob=value)} for token, value in zip(ids, logprobs, strict=True)]


@dataclass
class EngineArgs:
    """Some of vLLM's."""

    dtype: str = "auto"
    kv_cache_dtype: str = "auto"


@dataclass
class Served:
    """What a server was asked, and with which weights it answers.

    `fail`, if set, is called first, with the place that is asked: it may raise, or give another answer.
    """

    weights: Weights
    dev: bool = True
    dtype: str = "float32"
    in_parts: bool = False
    fail: Callable[[str], tuple[int, Any] | None] = lambda _: None
    asked: list[tuple[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, place: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            self.asked.append((place, body))
            return self.fail(place) or self.known(place, body) or (404, {"detail": "Not Found"})

    def known(self, place: str, body: Any) -> tuple[int, Any] | None:  # noqa: PLR0911 - one for each place
        """The answer of a server that works."""
        if place == "/health":
            return 200, None
        if place == "/v1/models":
            return 200, {"data": [{"id": "the-student", "max_model_len": self.weights.longest}]}
        if place == "/v1/completions":
            names = ("prompt", "seed", "max_tokens", "stop_token_ids", "logit_bias")
            prompt, seed, limit, stop, bias = (body.get(name) for name in names)
            ids, own = self.weights.sample(prompt, seed or 0, limit, stop or (), bias)
            choice = {"text": "?", "token_ids": ids, "logprobs": {"token_logprobs": own}}
            if "prompt_logprobs" in body:
                pairs = zip(prompt[1:], self.weights.score(prompt), strict=True)
                choice["prompt_logprobs"] = [None, *({str(token): {"logprob": p}} for token, p in pairs)]
            return 200, {"choices": [choice]}
        if not self.dev:
            return None
        if place.startswith("/server_info"):
            facts = {
                "model_config": {"dtype": f"torch.{self.dtype}", "quantization": None},
                "device_config": {"device": "cpu"},
                "scheduler_config": {"enable_chunked_prefill": self.in_parts},
            }
            return 200, {"vllm_config": facts}
        if place == "/collective_rpc" and body["method"] == "get_model_inspection":
            return 200, {"results": [self.weights.inspect()]}
        if place == "/collective_rpc":
            files = sorted(Path(body["kwargs"]["weights_path"]).glob("*.safetensors"))
            self.weights.load({name: value for file in files for name, value in load_file(file).items()})
            return 200, {"results": [None]}
        return (200, {"success": True}) if place == "/reset_prefix_cache" else None


@contextmanager
def serve(state: Served) -> Iterator[str]:
    """The address at which it answers."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            try:
                status, body = state.answer(method, self.path, json.loads(self.rfile.read(size)) if size else None)
            except ConnectionAbortedError:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
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
    close_engines()
    yield f"http://127.0.0.1:{server.server_port}"
    close_engines()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def in_its_place(monkeypatch: pytest.MonkeyPatch, *, sleeps: bool = True) -> Iterator[None]:
    """`import vllm` gives the stand-in; no engine is left over, before or after."""
    platform = SimpleNamespace(is_sleep_mode_available=lambda: sleeps)
    undone = {"destroy_model_parallel": lambda: None, "destroy_distributed_environment": lambda: None}
    names = {
        "vllm": {"LLM": LLM, "SamplingParams": SamplingParams, "EngineArgs": EngineArgs, "__version__": "0.33.0"},
        "vllm.platforms": {"current_platform": platform},
        "vllm.distributed": {},
        "vllm.distributed.parallel_state": undone,
    }
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for variable in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CONFIGURE_LOGGING", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(variable, "1")  # put back afterwards
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    close_engines()
    LLM.made.clear()
    yield
    close_engines()
