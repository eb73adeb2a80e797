"""Rollouts by vLLM: an engine on the trainer's own device, or servers. Token ids go in and token ids come out.

Text is never encoded again, and the engine's log-probability of each sampled token comes back with it: engine and
trainer compute the same distribution by different kernels, and what lies between them is logged (`metrics.mismatch`).

`make test-engine` runs this with the real package.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from pydantic import model_validator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tipx.errors import ConfigError, RunFailed
from tipx.rollout import RolloutRequest
from tipx.rollout.collect import collect
from tipx.rollout.colocated import OWN, Colocated, check_package
from tipx.rollout.engines import TOLERANCES, Answer, Dtype, Engine, computing_dtype, find_engine
from tipx.rollout.hf import eos_ids
from tipx.rollout.served import Served
from tipx.sharding import compute_device
from tipx.spec import (
    Auto,
    Count,
    Few,
    Open01,
    PathText,
    Positive,
    Seconds,
    Temperature,
    TopP,
    Whole,
    Words,
    conflict,
    spec,
)
from tipx.text.token_ids import count_rows
from tipx.types import Rollout

SEEDS = 2**31
NEVER = -100.0
"""The lowest bias of a logit that a server takes."""
NAMED = (
    *("dtype", "gpu_memory_utilization", "max_model_len", "enforce_eager", "tensor_parallel_size"),
    *("enable_prefix_caching", "max_num_seqs"),
)
"""Arguments of `vllm.LLM` that have a key of their own."""
MOST_BIASES = 1024
"""Of a request; with more of them vLLM's engine fails."""


def samples_by_engine(how: object) -> bool:
    """Whether rollouts, or an agent's turns, come from an engine with weights of its own, not from the model itself."""
    return isinstance(getattr(how, "backend", how), VLLMRollouts)


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
    server: Words | list[Words]
    """With mode=server: its address, or those of several that answer a part of the prompts each."""
    sync_dir: PathText | None
    """With mode=server: a folder that both can reach, for the student's weights. null is the system's own for
    temporary files."""
    timeout_s: Seconds
    """With mode=server: seconds that one answer may take."""
    wait_s: Seconds
    """With mode=server: seconds to wait for a server that is not up yet, or went away."""
    tolerance: Positive | Auto
    """Largest gap between the log-probabilities of engine and trainer after a push, mean over fixed tokens, nats.
    Beyond it the run stops. auto: 0.002 in float32, 0.05 in float16, 0.15 in bfloat16."""
    dtype: Dtype | Auto
    """Type in which the engine computes. auto: that in which the student is trained."""
    gpu_memory_utilization: Open01
    """With mode=colocate: share of the device's memory for weights and KV cache."""
    max_model_len: Count | None
    """With mode=colocate: tokens of prompt and response together. null is the model's own limit."""
    enforce_eager: bool | Auto
    """With mode=colocate: true compiles nothing and captures no graphs. auto: true on a CPU, where compiling takes
    minutes."""
    tensor_parallel_size: Few
    """With mode=colocate: devices over which a model is split. More than 1 needs one training process."""
    enable_prefix_caching: bool | None
    """With mode=colocate: whether a prompt is read once for all of its responses. null leaves it to vLLM."""
    max_num_seqs: Count | None
    """With mode=colocate: sequences that are sampled at once. null leaves it to vLLM."""
    engine: dict[str, Any]
    """With mode=colocate: any other argument of `vllm.LLM`, by its name."""
    sleep: bool
    """With mode=colocate: whether the engine gives its memory back while the student trains, where vLLM can."""
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
        for name in self.engine:
            if self.mode == "server":
                flag = f"--{name.replace('_', '-')}"
                raise conflict(f"a server has its options from its own command line: vllm serve MODEL {flag}")
            if name in NAMED:
                raise conflict(f"{name} is a key of its own, beside `engine`")
            if name in OWN:
                raise conflict(f"{name} is set by tipx; leave it out")
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
        live = self.find_engine(model)
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

    def check(self) -> str:
        """What will sample, in words. Raises ConfigError for what is known to fail, before a model is loaded."""
        if self.mode == "server":
            return f"vLLM at {self.server if isinstance(self.server, str) else ', '.join(self.server)}"
        if self.tensor_parallel_size > 1 and torch.distributed.is_initialized():
            raise ConfigError(
                "rollout.tensor_parallel_size: more than 1 needs one training process, and there are "
                f"{torch.distributed.get_world_size()}; type rollout.tensor_parallel_size=1, or rollout=vllm_server"
            )
        return f"vLLM {check_package(self.engine)} in this process"

    def find_engine(self, model: PreTrainedModel) -> Engine:
        """The process's engine for models of this shape, started if it is not there yet."""
        trained_in = computing_dtype(model)
        dtype = trained_in if self.dtype == "auto" else self.dtype
        rounding = max(TOLERANCES[dtype], TOLERANCES[trained_in])
        tolerance = rounding if self.tolerance == "auto" else self.tolerance
        shape = model.config.to_json_string(use_diff=False)

        def start() -> Engine:
            if self.mode == "server":
                addresses = [self.server] if isinstance(self.server, str) else self.server
                return Served(addresses, dtype, tolerance, self.sync_dir, timeout_s=self.timeout_s, wait_s=self.wait_s)
            options = self.engine_options(on_cpu=compute_device(model).type == "cpu")
            return Colocated(model, dtype, tolerance, options, sleep=self.sleep)

        return find_engine(f"{self.machine!r} {shape}", start)

    def engine_options(self, *, on_cpu: bool) -> dict[str, Any]:
        """Arguments of `vllm.LLM` that a user chooses; null is left out.

        On a CPU vLLM 0.32 fails where it reads the prompt of a seeded response in parts: it would set that random
        generator back, and torch's for a CPU cannot be.
        """
        options = {name: getattr(self, name) for name in NAMED if name != "dtype"} | self.engine
        if self.enforce_eager == "auto":
            options["enforce_eager"] = on_cpu
        if on_cpu:
            options = {"enable_chunked_prefill": False} | options
        return {name: value for name, value in options.items() if value is not None}

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
        device = compute_device(model)
        rollout = collect(prompts, [ids for ids, _ in answers], eos, device)
        logprobs = [p for (_, own), n in zip(answers, rollout.lengths, strict=True) for p in own[:n]]
        return replace(rollout, logprobs_N=torch.tensor(logprobs, device=device))

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
            "ignore_eos": True,  # of the engine's own model, or of a server's tokenizer
            "seed": seed,
            "logprobs": 0,  # of the sampled token alone
        }


def check_one_engine(backends: Mapping[str, VLLMRollouts]) -> None:
    """Raises ConfigError where parts of a run, by their keys, ask for different engines: a process has one."""
    (key, first), *others = backends.items()
    for other_key, other in others:
        for field in fields(first):
            here, there = getattr(first.machine, field.name), getattr(other.machine, field.name)
            if here != there:
                raise ConfigError(
                    f"{key}.{field.name}={here} and {other_key}.{field.name}={there}: training and evaluation share "
                    f"one engine; type {other_key}.{field.name}={here}"
                )
