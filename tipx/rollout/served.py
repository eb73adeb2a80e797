"""vLLM servers: waiting for them, giving them weights, and noticing when they are no longer what they were."""

import hashlib
import logging
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import torch
from filelock import FileLock, Timeout
from transformers import AutoConfig, PreTrainedModel

from tipx.errors import ConfigError, RunFailed
from tipx.files.atomic import disk_errors
from tipx.files.untrusted import brings_code, printable_text
from tipx.rollout.colocated import check_lengths
from tipx.rollout.engines import SAME, Answer, Dtype, Engine, mean_gap
from tipx.rollout.inspection import Shape, compare_shapes, count_layers, list_shapes
from tipx.rollout.weights_folder import FILES, save_merged, take_part, write_weights

log = logging.getLogger(__name__)

DEV_PLACES = ("/server_info", "/collective_rpc", "/reset_prefix_cache")
DEV = "start it with VLLM_SERVER_DEV_MODE=1, which opens the calls that change weights"
ADDRESS = "give its address: rollout.server=http://host:8000"
AGAIN = "the same command continues from the last checkpoint"
CONTACT_S = 10.0
"""Seconds for a connection, and for an answer that needs no work."""
POLL_S = 1.0
"""Seconds between two looks whether a server is up."""
LOSSES = 5
"""Times that a server may go away while one batch is sampled."""
T = TypeVar("T")


class ServerLost(Exception):
    """A server did not answer, or can not: it is down, starts, or its engine died. The text says what came."""


class OtherModel(ConfigError):
    """A server's model is not of the student's shape."""


class Endpoint:
    """One server: requests, and what it said of itself."""

    def __init__(self, address: str, timeout_s: float, wait_s: float) -> None:
        self.address = re.sub(r"//[^/@]*@", "//", address)  # a name and password that stand in it are not shown
        self.timeout_s, self.wait_s = timeout_s, wait_s
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        try:
            base = address.rstrip("/").removesuffix("/v1")
            self.client = httpx.Client(
                base_url=base, timeout=httpx.Timeout(timeout_s, connect=CONTACT_S), limits=limits
            )
        except (httpx.InvalidURL, ValueError, OSError) as error:
            raise ConfigError(f"rollout.server: {self.address!r} is no address; {ADDRESS}") from error
        self.name, self.longest, self.met = "", 0, False

    def call(self, method: str, place: str, body: dict[str, Any] | None = None, limit_s: float | None = None) -> Any:
        """The answer to one request. Raises ServerLost, RunFailed for a slow one, ConfigError where it refuses."""
        came = f"{self.address!r} {method} {place}"
        try:
            timeout = httpx.USE_CLIENT_DEFAULT if limit_s is None else httpx.Timeout(limit_s)
            response = self.client.request(method, place, json=body, timeout=timeout)
        except httpx.ReadTimeout as error:
            if limit_s is not None:
                raise ServerLost(f"{came}: no answer in {limit_s:g} s") from error
            raise RunFailed(
                f"rollout.server: {came}: no answer in rollout.timeout_s={self.timeout_s:g}; raise it, or see what the "
                f"server does; {AGAIN}"
            ) from error
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise ConfigError(f"rollout.server: {self.address!r} cannot be asked ({error}); {ADDRESS}") from error
        except httpx.HTTPError as error:
            raise ServerLost(f"{came}: {type(error).__name__}: {error}") from error
        text = printable_text(" ".join(response.text.split()))
        if response.status_code >= 500:
            raise ServerLost(f"{came}: {response.status_code}: {text:.200}")
        if response.status_code == 404 and place.startswith(DEV_PLACES):
            raise ConfigError(f"rollout.server: {self.address!r} has no {place}; {DEV}")
        if response.is_error:
            raise ConfigError(f"rollout.server: {came} was refused with {response.status_code}: {text:.300}")
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise ConfigError(
                f"rollout.server: {self.address!r} answers, but not as vLLM does ({text:.60}); {ADDRESS}"
            ) from error

    def wait(self) -> None:
        """Until it is up, `wait_s` seconds at most; raises ConfigError, or RunFailed where it was up before."""
        end, told = time.monotonic() + self.wait_s, False
        while True:
            try:
                self.call("GET", "/health", limit_s=CONTACT_S)
            except ServerLost as error:
                if time.monotonic() >= end:
                    text = f"rollout.server: no answer for rollout.wait_s={self.wait_s:g} s ({error})"
                    if self.met:
                        raise RunFailed(f"{text}; start it again; {AGAIN}") from error
                    raise ConfigError(f"{text}; start it with `vllm serve MODEL`, or {ADDRESS}") from error
                if not told:
                    log.warning("waiting up to %g s for the vLLM server (%s)", self.wait_s, error)
                told = True
                time.sleep(POLL_S)
            else:
                return

    def meet(self, student: "Student") -> None:
        """Learn what it serves, once it is up. Raises ConfigError unless the student's weights fit into its model."""
        self.wait()
        with understood(self.address):
            card = self.call("GET", "/v1/models")["data"][0]
            self.name, self.longest = str(card["id"]), int(card["max_model_len"])
            facts = self.call("GET", "/server_info?config_format=json")["vllm_config"]
            dtype = str(facts["model_config"]["dtype"]).removeprefix("torch.")
            quantization = facts["model_config"]["quantization"]
            on_cpu = facts["device_config"]["device"] == "cpu"
            in_parts = bool(facts["scheduler_config"]["enable_chunked_prefill"])
            shapes = self.call("POST", "/collective_rpc", {"method": "get_model_inspection"})["results"][0]
        wrong = compare_shapes(str(shapes), student.shapes)
        if quantization is not None:
            wrong.append(f"its weights are quantized ({quantization})")
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise OtherModel(
                f"rollout.server: {self.address!r} serves {self.name!r}, which is not the student: {wrong[0]}{more}; "
                "nothing was pushed"
            )
        if dtype != student.dtype:
            raise ConfigError(
                f"rollout.server: {self.address!r} computes in {dtype}, the student in {student.dtype}; start it "
                f"with --dtype {student.dtype}, or type rollout.dtype={dtype}"
            )
        if on_cpu and in_parts:
            raise ConfigError(
                f"rollout.server: {self.address!r} is on a CPU, where vLLM fails if it reads the prompt of a seeded "
                "response in parts; start it with --no-enable-chunked-prefill"
            )
        self.met = True

    def complete(self, prompt: Sequence[int], settings: dict[str, Any]) -> dict[str, Any]:
        """The one choice of a completion."""
        body = {"model": self.name, "prompt": list(prompt), "return_token_ids": True, **settings}
        with understood(self.address):
            choice: dict[str, Any] = self.call("POST", "/v1/completions", body)["choices"][0]
            return choice

    def sample(self, prompt: Sequence[int], settings: dict[str, Any]) -> Answer:
        with understood(self.address):
            choice = self.complete(prompt, settings)
            return [int(i) for i in choice["token_ids"]], [float(p) for p in choice["logprobs"]["token_logprobs"]]

    def score(self, ids: Sequence[int]) -> list[float]:
        """Log-probability of each token but the first, nats."""
        with understood(self.address):
            steps = self.complete(ids, {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0})["prompt_logprobs"]
            return [float(step[str(token)]["logprob"]) for step, token in zip(steps[1:], ids[1:], strict=True)]

    def reload(self, folder: Path) -> None:
        """Let it read its weights anew, and forget what was cached under others."""
        # A read that takes longer than a request may is still one.
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        self.call("POST", "/collective_rpc", body)
        done = self.call("POST", "/reset_prefix_cache")
        if isinstance(done, dict) and done.get("success") is False:
            raise RunFailed(
                f"rollout.server: {self.address!r} answers requests of others: its cache cannot be emptied after a "
                f"push; let it serve this run alone; {AGAIN}"
            )


@contextmanager
def understood(address: str) -> Iterator[None]:
    """Turns an answer in which something is missing into a ConfigError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"rollout.server: {address!r} answers, but not as vLLM does ({type(error).__name__}: {error}); {ADDRESS}"
        ) from error


@dataclass(frozen=True)
class Student:
    """What is to be served: the shapes of its weights, and the type in which it computes."""

    shapes: Mapping[str, Shape]
    dtype: Dtype


class Served(Engine):
    """Servers that answer a part of the prompts each. One process of the run gives them weights.

    A batch is sampled anew where a server went away in it, or where it is not the same afterwards: one that starts
    again has the weights of its folder. So the weights of the last push stay on the disk until the next.
    """

    student: Student

    def __init__(
        self,
        addresses: Sequence[str],
        dtype: Dtype,
        tolerance: float,
        sync_dir: str | None,
        *,
        timeout_s: float,
        wait_s: float,
    ) -> None:
        super().__init__(dtype, tolerance)
        self.endpoints = [Endpoint(address, timeout_s, wait_s) for address in addresses]
        digest = hashlib.sha256("\n".join(sorted(addresses)).encode()).hexdigest()[:12]
        self.folder = Path(sync_dir or tempfile.gettempdir()).absolute() / f"tipx-weights-{digest}"
        self.lock = FileLock(f"{self.folder}.lock", timeout=0, thread_local=False)
        self.jitter = SAME
        launched = torch.distributed.is_initialized()
        self.is_main = not launched or torch.distributed.get_rank() == 0

    def push(self, model: PreTrainedModel) -> None:
        self.student = Student(dict(list_shapes(model)), self.dtype)
        if self.is_main:
            self.take_servers()
            try:
                self.retry(self.meet)
            except OtherModel as error:
                raise ConfigError(f"{error}; start it with the student: {self.serve_command(model)}") from error
            self.empty_folder()
            write_weights(model, self.folder, self.dtype)
            self.retry(self.give_weights)
        else:
            take_part(model)
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if not self.is_main:
            self.retry(self.meet)

    def prove(self, own: Sequence[float]) -> None:
        def attempt() -> None:
            try:
                super(Served, self).prove(own)
            except ServerLost:
                self.give_weights()
                raise

        self.retry(attempt)

    def take_servers(self) -> None:
        """Raises ConfigError where another run of this machine, or with this `sync_dir`, has them."""
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.lock.is_locked:
                self.lock.acquire()
        except Timeout as error:
            shown = " and ".join(repr(endpoint.address) for endpoint in self.endpoints)
            raise ConfigError(
                f"rollout.server: another run samples by {shown}, and would get this one's weights; give each run a "
                "server of its own, or wait until the other is done"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"rollout.sync_dir: {self.folder.parent} cannot be written ({error.strerror}); give a folder that this "
                "machine and the server can reach: rollout.sync_dir=/path"
            ) from error

    def serve_command(self, model: PreTrainedModel) -> str:
        """What serves the student. One without some of its layers has no folder yet, so it is written into one."""
        path, more = str(model.name_or_path), f"--dtype {self.dtype}"
        config = AutoConfig.from_pretrained(path, trust_remote_code=brings_code(model))
        if config.get_text_config().num_hidden_layers == count_layers(self.student.shapes):
            return f"`vllm serve {path} {more}`"
        folder = self.folder.with_name(self.folder.name.replace("weights", "student"))
        with disk_errors(folder):
            save_merged(model, folder)
        return f"`vllm serve {folder} --tokenizer {path} {more}` (layers were taken out, so it was written there)"

    def empty_folder(self) -> None:
        """The folder without the weights of the push before; other files in it stay."""
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            for file in self.folder.glob(FILES):
                file.unlink()

    def each(self, act: Callable[[Endpoint], T]) -> list[T]:
        """Does something with every server, at once."""
        with ThreadPoolExecutor(len(self.endpoints)) as pool:
            return list(pool.map(act, self.endpoints))

    def meet(self) -> None:
        """Learn what every server is, once it is up."""
        self.each(lambda endpoint: endpoint.meet(self.student))

    def give_weights(self) -> None:
        """Let every server read the folder."""
        self.meet()
        self.each(lambda endpoint: endpoint.reload(self.folder))

    def retry(self, act: Callable[[], T]) -> T:
        """What `act` gives; once more whenever a server goes away in it. Raises RunFailed after some times."""
        for _ in range(LOSSES):
            try:
                return act()
            except ServerLost as error:
                log.warning("rollout.server: lost (%s); trying again", error)
                came = str(error)
        raise RunFailed(
            f"rollout.server: lost {LOSSES} times in one step, the last time: {came}; see the server's log; {AGAIN}"
        )

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        remedy = "the server's --max-model-len"
        check_lengths(prompts, params, min(endpoint.longest for endpoint in self.endpoints), remedy)

        def attempt() -> list[Answer]:
            try:
                answers = self.sample(prompts, params)
                changed = self.find_changed()
            except ServerLost:
                self.give_weights()
                self.answered = self.score(self.ids)
                raise
            if changed is not None:
                raise ServerLost(
                    f"{changed.address!r} had other weights than it was given: it was started again, or another run "
                    "gave it its own"
                )
            return answers

        return self.retry(attempt)

    def sample(self, prompts: Sequence[Sequence[int]], params: Sequence[dict[str, Any]]) -> list[Answer]:
        """A request each, since each has a seed of its own; the servers batch them."""
        turns = [self.endpoints[place % len(self.endpoints)] for place in range(len(prompts))]
        pool = ThreadPoolExecutor(max_workers=len(prompts))
        try:
            return list(pool.map(Endpoint.sample, turns, prompts, params))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def find_changed(self) -> Endpoint | None:
        """A server that has no longer the weights that it was given; then all have them again.

        It says so by another answer about the fixed tokens. Some engines never say the same twice: with the weights
        given anew, their answer is as far from either of the two before. That distance is then taken for theirs.
        """
        before, now = self.answered, self.score(self.ids)
        gap = max(map(mean_gap, before, now))
        if gap <= self.jitter:
            return None
        self.give_weights()
        self.answered = self.score(self.ids)
        for endpoint, first, second, third in zip(self.endpoints, before, now, self.answered, strict=True):
            if not mean_gap(second, third) <= max(self.jitter, 2 * mean_gap(first, third)):
                return endpoint
        self.jitter = 2 * gap
        return None

    def score(self, ids: Sequence[int]) -> list[list[float]]:
        return self.each(lambda endpoint: endpoint.score(ids))

    def rest(self) -> None:
        """A server's memory is its own."""

    def close(self) -> None:
        for endpoint in self.endpoints:
            endpoint.client.close()
        if self.lock.is_locked:
            if self.folder.exists():
                self.empty_folder()
                with suppress(OSError):  # something else is in it
                    self.folder.rmdir()
            Path(self.lock.lock_file).unlink(missing_ok=True)
            self.lock.release()
