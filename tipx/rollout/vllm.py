"""Rollouts by vLLM: an engine on the trainer's own device, or a server. Token ids go in and token ids come out.

Text is never encoded again, and the engine's log-probability of each sampled token comes back with it: engine and
trainer compute the same distribution by different kernels, and what lies between them is logged (`metrics.mismatch`).

Written against vLLM 0.33; `tests/rollout/test_vllm.py` compares the calls with the installed package's signatures.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, runtime_checkable

import httpx
import torch
from pydantic import model_validator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.errors import ConfigError, RunFailed
from tipx.files.untrusted import brings_code
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import collect
from tipx.rollout.hf import eos_ids
from tipx.spec import Count, Open01, PathText, Seconds, Temperature, TopP, Whole, Words, conflict, spec
from tipx.text.token_ids import count_rows
from tipx.types import Rollout

INSTALL = "pip install 'tipx[vllm]', or sample with transformers: rollout=hf"
DEV = "start it with VLLM_SERVER_DEV_MODE=1, which opens the calls that change weights"
SEEDS = 2**31
NEVER = -100.0
"""The lowest bias of a logit that a server takes."""
MOST_BIASES = 1024
"""Of a request; with more of them vLLM's engine fails."""
Answer = tuple[list[int], list[float]]
"""Sampled token ids, and the engine's log-probability of each, nats."""


@runtime_checkable
class Engine(Protocol):
    """What both ways of running vLLM can do. `held`: it is awake, with the weights it is to have."""

    held: bool

    def sync(self, model: PreTrainedModel) -> None:
        """Take over the model's weights, and forget what was cached under others."""
        ...

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]: ...

    def rest(self) -> None:
        """Give the device's memory back until the next `sync`."""
        ...


@spec
class VLLMRollouts:
    """Sampling by vLLM: an engine in this process, or a server."""

    temperature: Temperature
    """Sampling temperature. 0 is greedy. The loss is always at temperature 1."""
    top_p: TopP
    """Samples from the likeliest tokens that have this probability together. 1 is off."""
    top_k: Whole
    """Samples from so many likeliest tokens. 0 is off."""
    max_new_tokens: Count
    """Tokens of a response (of one turn, for agents). A response that reaches it is counted as truncated."""
    batch_size: Count
    """Prompts that are handed over at once; the engine batches them as it likes."""
    mode: Literal["colocate", "server"]
    """colocate: an engine on the trainer's own device. server: a running `vllm serve`."""
    server: Words
    """With mode=server: its address."""
    sync_dir: PathText | None
    """With mode=server: a folder that both can reach, for the student's weights. null is the system's own for
    temporary files."""
    timeout_s: Seconds
    """With mode=server: seconds that one answer may take."""
    memory: Open01
    """With mode=colocate: share of the GPU's memory for weights and KV cache."""
    max_length: Count | None
    """With mode=colocate: tokens of prompt and response together. null is the model's own limit."""
    sleep: bool
    """With mode=colocate: whether the engine gives its memory back while the student trains."""
    ahead: Literal[0, 1]
    """With mode=server: batches that are sampled ahead. 1 samples the next one while the student trains on this one, so
    each is one update older than with 0. It counts in training only."""

    @model_validator(mode="after")
    def _fits(self) -> "VLLMRollouts":
        if self.ahead and self.mode == "colocate":
            raise conflict(
                "ahead=1 needs mode=server (rollout=vllm_server): an engine on the trainer's own device cannot sample "
                "while it trains"
            )
        return self

    @property
    def records_states(self) -> bool:
        return False

    @property
    def gives_logprobs(self) -> bool:
        return True

    @property
    def machine(self) -> "VLLMRollouts":
        """These settings without those of sampling: training and evaluation share one engine."""
        return replace(self, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=1, batch_size=1, ahead=0)

    def __call__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest) -> Rollout:
        with self.awake(model) as live:
            return self.sample(live, model, tokenizer, request)

    @contextmanager
    def awake(self, model: PreTrainedModel) -> Iterator[Engine]:
        """The engine with the model's weights. Inside another `awake` it has them, and stays awake: for many turns."""
        live = engine(self.machine, model.name_or_path, brings_code(model))
        if live.held:
            yield live
            return
        live.sync(model)
        live.held = True
        try:
            yield live
        finally:
            live.held = False
        live.rest()

    def sample(
        self, live: Engine, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, request: RolloutRequest
    ) -> Rollout:
        """Responses, `batch_size` prompts handed over at once."""
        eos, prompts, limits = eos_ids(model, tokenizer), request.prompts, request.limits_within(self.max_new_tokens)
        known = count_rows(tokenizer)
        unknown = range(known, model.get_output_embeddings().weight.shape[0])
        answers: list[Answer] = []
        for start in range(0, len(prompts), self.batch_size):
            some = slice(start, start + self.batch_size)
            # One seed a row, so that a response does not depend on what it is batched with.
            draws_R = request.noise.draw_rows(request.rows[some], 1)[:, 0]
            params = [
                self.params(eos, unknown, int(draw * SEEDS), n)
                for draw, n in zip(draws_R.tolist(), limits[some], strict=True)
            ]
            answers += live.generate(prompts[some], params)
        if any(token >= known for ids, _ in answers for token in ids):
            raise RunFailed(
                f"rollout: the engine sampled a token that the tokenizer has not; it has {known}, the model's head "
                f"{known + len(unknown)} rows, and vLLM can exclude {MOST_BIASES}; type rollout=hf"
            )
        rollout = collect(prompts, [ids for ids, _ in answers], eos, model.device)
        logprobs = [p for (_, own), n in zip(answers, rollout.lengths, strict=True) for p in own[:n]]
        return replace(rollout, logprobs_N=torch.tensor(logprobs, device=model.device))

    def params(self, eos: Sequence[int], unknown: Sequence[int], seed: int, limit: int) -> dict[str, Any]:
        """Everything that shapes sampling, also what a server's defaults would fill from the model's own file.

        `unknown` are ids that the head has and the tokenizer has not: they are excluded, unless they are too many.
        """
        bias = {"logit_bias": dict.fromkeys(unknown, NEVER)} if 0 < len(unknown) <= MOST_BIASES else {}
        return bias | {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "max_tokens": limit,
            "stop_token_ids": list(eos),
            "seed": seed,
            "logprobs": 0,  # of the sampled token alone
        }


@cache
def engine(how: VLLMRollouts, path: str, code: bool) -> Engine:  # noqa: FBT001 - a part of the cache's key
    """The process's one engine for these settings: it holds a device's memory, and takes a minute to start.

    `code`: it may run the Python that comes with the model.
    """
    return Server(how, path) if how.mode == "server" else Colocated(how, path, code=code)


def version(model: PreTrainedModel) -> tuple[int, int]:
    """Changes whenever a weight is written."""
    return id(model), sum(p._version for p in model.parameters())  # noqa: SLF001 - torch's own counter of writes


class Colocated:
    """An engine in this process."""

    def __init__(self, how: VLLMRollouts, path: str, *, code: bool) -> None:
        # In a process of its own the engine could not be handed tensors.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        try:
            from vllm import LLM, SamplingParams
        except ImportError as error:
            raise ConfigError(f"rollout=vllm: vLLM is not installed ({error}); {INSTALL}") from error
        # Under a launcher of many processes each has an engine of its own; vLLM would otherwise start workers for it.
        launched = {"distributed_executor_backend": "external_launcher"} if torch.distributed.is_initialized() else {}
        self.make: Any = SamplingParams
        self.how, self.synced, self.held = how, (0, -1), False
        self.llm: Any = LLM(
            model=path,
            trust_remote_code=code,
            load_format="dummy",  # the first `sync` brings the weights
            skip_tokenizer_init=True,
            gpu_memory_utilization=how.memory,
            max_model_len=how.max_length,
            enable_sleep_mode=how.sleep,
            **launched,
        )

    def sync(self, model: PreTrainedModel) -> None:
        if self.how.sleep:
            self.llm.wake_up(tags=["weights"])
        now = version(model)
        # Level 2 sleep throws the weights away.
        if self.how.sleep or now != self.synced:
            weights = ((name, value.detach()) for name, value in model.state_dict().items())
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            self.llm.reset_prefix_cache()
            self.synced = now
        if self.how.sleep:
            self.llm.wake_up(tags=["kv_cache"])

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts],
            [self.make(**one, detokenize=False) for one in params],
            use_tqdm=False,
        )
        answers = []
        for output in outputs:
            ids = list(output.outputs[0].token_ids)
            answers.append(
                (ids, [step[token].logprob for step, token in zip(output.outputs[0].logprobs, ids, strict=True)])
            )
        return answers

    def rest(self) -> None:
        if self.how.sleep:
            self.llm.sleep(level=2)


class Server:
    """A `vllm serve` elsewhere."""

    def __init__(self, how: VLLMRollouts, path: str) -> None:
        self.how, self.synced, self.held = how, (0, -1), False
        self.client = httpx.Client(base_url=how.server, timeout=how.timeout_s)
        self.name = self.call("GET", "/v1/models")["data"][0]["id"]

    def call(self, method: str, place: str, body: dict[str, Any] | None = None) -> Any:
        """Raises ConfigError when the server cannot be reached or refuses."""
        try:
            response = self.client.request(method, place, json=body)
        except httpx.HTTPError as error:
            raise ConfigError(
                f"rollout.server: no answer from {self.how.server!r} ({type(error).__name__}: {error}); start it with "
                "`vllm serve MODEL`, or give its address: rollout.server=http://host:8000"
            ) from error
        if response.status_code == 404:
            raise ConfigError(f"rollout.server: {self.how.server!r} has no {place}; {DEV}")
        if response.is_error:
            raise ConfigError(
                f"rollout.server: {self.how.server!r} refused {place} with {response.status_code}: {response.text:.200}"
            )
        return response.json() if response.content else None

    def sync(self, model: PreTrainedModel) -> None:
        if (now := version(model)) == self.synced:
            return
        with TemporaryDirectory(dir=self.how.sync_dir, prefix="tipx-weights-") as folder:
            model.save_pretrained(Path(folder))
            body = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            self.call("POST", "/collective_rpc", body)
        self.call("POST", "/reset_prefix_cache")
        self.synced = now

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        # A request each, since each has a seed of its own; the server batches them.
        with ThreadPoolExecutor(max_workers=len(prompts)) as pool:
            return list(pool.map(self.one, prompts, params))

    def one(self, prompt: Sequence[int], params: dict[str, Any]) -> Answer:
        body = {"model": self.name, "prompt": list(prompt), "return_token_ids": True, **params}
        choice = self.call("POST", "/v1/completions", body)["choices"][0]
        return list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"])

    def rest(self) -> None:
        """A server's memory is its own."""
