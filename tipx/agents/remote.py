"""Requests to a server: what is tried again, and what is said when there is no answer."""

import json
import os
import re
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)

from tipx.agents.replies import Completion, Models, read
from tipx.errors import ConfigError, RunFailed

Shape = TypeVar("Shape", bound=BaseModel)

CONTACT_S = 20.0
"""Seconds for a connection, and for the first answer of a server: what says nothing for so long is not there."""
LONGEST_S = 60.0
"""Seconds between two tries, at most."""
BACKOFF = wait_exponential_jitter(initial=1, max=LONGEST_S)
BUSY = (408, 425, 429)
TOO_LONG = re.compile(
    r"context.?(length|window|size|limit)|exceed.{0,80}context|max_model_len|too (long|large)|maximum.{0,80}tokens",
    re.IGNORECASE | re.DOTALL,
)
ADDRESS = "give its address: eval.sampling.server=http://host:8000"


class Unanswered(Exception):
    """There was no answer, and there may be one to the same request: `came` is what came, `remedy` what to do."""

    def __init__(self, came: str, remedy: str, wait_s: float = 0) -> None:
        super().__init__(came)
        self.came, self.remedy, self.wait_s = came, remedy, wait_s


class Refused(ConfigError):
    """The server answered, with a status that the same request would have again."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class TooLong(Exception):
    """The server cannot read a text of this length."""


def pause(state: RetryCallState) -> float:
    """Seconds until the next try: twice as many each time, and no fewer than the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    wanted = error.wait_s if isinstance(error, Unanswered) else 0
    return max(BACKOFF(state), min(wanted, LONGEST_S))


@dataclass(frozen=True)
class Remote:
    """The server at `address`. A request has `timeout_s` seconds and `retries` further tries, none once `halted`."""

    address: str
    key_env: str | None
    timeout_s: float
    retries: int
    connections: int = 1
    halted: Event = field(default_factory=Event)

    def open(self) -> httpx.Client:
        """A client; raises ConfigError if there cannot be one."""
        base = self.address.rstrip("/").removesuffix("/v1")
        timeout = httpx.Timeout(self.timeout_s, connect=min(self.timeout_s, CONTACT_S))
        limits = httpx.Limits(max_connections=self.connections)
        try:
            return httpx.Client(base_url=base, timeout=timeout, limits=limits, headers=self.headers())
        except httpx.InvalidURL as error:
            raise ConfigError(f"eval.sampling.server: {self.address!r} is no address ({error}); {ADDRESS}") from error

    def headers(self) -> dict[str, str]:
        """What shows that we may ask. Raises ConfigError for a variable that holds no key."""
        if self.key_env is None:
            return {}
        key = os.environ.get(self.key_env, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            what = "is not set" if not key else "holds no key: expected printable ASCII"
            raise ConfigError(f"eval.sampling.key_env: the environment variable {self.key_env} {what}; export it")
        return {"Authorization": f"Bearer {key}"}

    def models(self) -> Models:
        """What it serves, by one request. Raises ConfigError where there is no answer, or none that can be read."""
        with self.open() as client:
            client.timeout = httpx.Timeout(min(self.timeout_s, CONTACT_S))
            try:
                return self.ask(client, "GET", "/v1/models", None, Models)
            except Unanswered as error:
                raise ConfigError(f"eval.sampling.server: {error.came}; {ADDRESS}") from error

    def complete(self, client: httpx.Client, body: dict[str, Any]) -> Completion | None:
        """The next turn; None where the text is too long for the server.

        Raises RunFailed where no try is answered, and ConfigError where the request is refused.
        """
        tries = Retrying(
            retry=retry_if_exception_type(Unanswered),
            stop=stop_after_attempt(self.retries + 1) | stop_when_event_set(self.halted),
            wait=pause,
            sleep=sleep_using_event(self.halted),
            reraise=True,
        )
        try:
            return tries(self.ask, client, "POST", "/v1/chat/completions", body, Completion)
        except TooLong:
            return None
        except Unanswered as error:
            made = f"tries: {tries.statistics['attempt_number']}"
            raise RunFailed(f"eval.sampling.server: {error.came}; {made}; {error.remedy}") from error

    def ask(
        self, client: httpx.Client, method: str, place: str, body: dict[str, Any] | None, shape: type[Shape]
    ) -> Shape:
        """The answer to one request. Raises Unanswered, TooLong, or ConfigError where the request is refused."""
        response = self.send(client, method, place, body)
        status, text = response.status_code, " ".join(response.text.split())
        came = f"{self.address!r} answered {place} with {status}: {text:.200}"
        if status in BUSY or status >= 500:
            after = response.headers.get("Retry-After", "")
            remedy = "see the server's log, or lower eval.sampling.batch_size"
            raise Unanswered(came, remedy, float(after) if re.fullmatch(r"\d{1,9}", after) else 0)
        if status in (400, 413, 422) and body is not None and TOO_LONG.search(text):
            raise TooLong
        if not response.is_success:
            raise Refused(f"eval.sampling.server: {came}; {self.hint(status, text)}", status)
        try:
            return read(response.content, shape)
        except ValueError as error:
            raise Unanswered(f"{came} ({error})", f"expected an OpenAI-compatible server; {ADDRESS}") from error

    def send(self, client: httpx.Client, method: str, place: str, body: dict[str, Any] | None) -> httpx.Response:
        """The response, whatever it says. Raises Unanswered, or ConfigError for what cannot be an address."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            return client.request(method, place, content=content, headers={"Content-Type": "application/json"})
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ConfigError(f"eval.sampling.server: {self.address!r} cannot be asked ({error}); {ADDRESS}") from error
        except httpx.RequestError as error:
            slow = isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout)
            reason = f"{type(error).__name__}: {error}"
            came = f"no answer from {self.address!r} to {place} ({reason})"
            remedy = f"raise eval.sampling.timeout_s={self.timeout_s:g}" if slow else f"does it still run? {ADDRESS}"
            raise Unanswered(came, remedy) from error

    def hint(self, status: int, text: str) -> str:
        """What to do about a refusal."""
        if status in (401, 403):
            if self.key_env is None:
                return "give eval.sampling.key_env=NAME, the environment variable with its key"
            return f"the key in {self.key_env} (eval.sampling.key_env) is not accepted"
        if status == 404 and "model" in text.lower():
            return "give eval.sampling.model=NAME, or null for the first it serves"
        if status == 400 and "tool" in text.lower():
            return "for `vllm serve` add --enable-auto-tool-choice --tool-call-parser hermes"
        if status in (400, 413, 422):
            return "see eval.sampling.extra and the server's log"
        return ADDRESS
