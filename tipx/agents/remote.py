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
from tipx.agents.wire import GivenUp, ServerResponse, Unusable, Wire
from tipx.errors import ConfigError, RunFailed

Shape = TypeVar("Shape", bound=BaseModel)

CONTACT_S = 20.0
"""Seconds for a connection, and for the first answer of a server: what says nothing for so long is not there."""
LONGEST_S = 60.0
"""Seconds between two tries, at most."""
BACKOFF = wait_exponential_jitter(initial=1, max=LONGEST_S)
READ_BYTES = 10_000
"""Of an answer that is no turn, to see what it says."""
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


class RequestRefused(ConfigError):
    """The server answered, with a status that the same request would have again."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class TooLong(Exception):
    """The server cannot read a text of this length."""


def clean(text: str) -> str:
    """In one line, and without what a terminal would take for a command."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def without_password(address: str) -> str:
    """An address without what stands before the @ of its host; where the password is no part of an address, neither."""
    return re.sub(r"^(\w+://)?(?:[^/]*@|[^/:]*:(?!\d*/).*@)", r"\1", address, flags=re.DOTALL)


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

    @property
    def shown(self) -> str:
        """The address without the name and password that may stand in it: no message and no file holds them."""
        return without_password(self.address)

    def open(self) -> Wire:
        """What requests are made by; raises ConfigError if there cannot be one."""
        base = self.address.rstrip("/").removesuffix("/v1")
        # The whole request has a deadline, which each part of it is within.
        timeout = httpx.Timeout(None, connect=min(self.timeout_s, CONTACT_S))
        limits = httpx.Limits(max_connections=self.connections)
        headers = self.headers()
        try:
            client = httpx.AsyncClient(base_url=base, timeout=timeout, limits=limits, headers=headers)
        except httpx.InvalidURL as error:
            raise ConfigError(
                f"eval.sampling.server: {self.shown!r} is no address{self.why(error)}; {ADDRESS}"
            ) from error
        except (ValueError, OSError, ImportError) as error:
            # What httpx reads from the environment.
            remedy = "see HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"
            raise ConfigError(
                f"eval.sampling.server: no client for {self.shown!r}{self.why(error)}; {remedy}"
            ) from error
        return Wire(client, self.halted)

    def why(self, error: Exception) -> str:
        """What a library says, in brackets, unless it may hold a password."""
        return "" if self.shown != self.address else f" ({clean(str(error))})"

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
        with self.open() as wire:
            try:
                return self.ask(wire, "GET", "/v1/models", None, Models)
            except Unanswered as error:
                raise ConfigError(f"eval.sampling.server: {error.came}; {ADDRESS}") from error

    def complete(self, wire: Wire, body: dict[str, Any]) -> Completion | None:
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
            return tries(self.ask, wire, "POST", "/v1/chat/completions", body, Completion)
        except TooLong:
            return None
        except Unanswered as error:
            made = f"tries: {tries.statistics['attempt_number']}"
            raise RunFailed(f"eval.sampling.server: {error.came}; {made}; {error.remedy}") from error

    def ask(self, wire: Wire, method: str, place: str, body: dict[str, Any] | None, shape: type[Shape]) -> Shape:
        """The answer to one request. Raises Unanswered, TooLong, or ConfigError where the request is refused."""
        response = self.send(wire, method, place, body)
        status, text = response.status, clean(response.body[:READ_BYTES].decode("utf-8", "replace"))
        came = f"{self.shown!r} answered {place} with {status}: {text:.200}"
        if status in BUSY or status >= 500:
            after = response.headers.get("Retry-After", "")
            remedy = "see the server's log, or lower eval.sampling.batch_size"
            raise Unanswered(came, remedy, float(after) if re.fullmatch(r"\d{1,9}", after) else 0)
        if status in (400, 413, 422) and body is not None and TOO_LONG.search(text):
            raise TooLong
        if not 200 <= status < 300:
            raise RequestRefused(f"eval.sampling.server: {came}; {self.hint(status, text)}", status)
        try:
            return read(response.body, shape)
        except ValueError as error:
            raise Unanswered(f"{came} ({error})", f"expected an OpenAI-compatible server; {ADDRESS}") from error

    def send(self, wire: Wire, method: str, place: str, body: dict[str, Any] | None) -> ServerResponse:
        """The response, whatever it says. Raises Unanswered, or ConfigError for what cannot be an address."""
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        came = f"no answer from {self.shown!r} to {place}"
        # A first contact is to be short, whatever a turn may take.
        deadline_s = self.timeout_s if body is not None else min(self.timeout_s, CONTACT_S)
        try:
            return wire.ask(method, place, content, deadline_s)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ValueError) as error:
            # ValueError: a name of a host, or a port, that no resolver takes.
            text = f"eval.sampling.server: {self.shown!r} cannot be asked{self.why(error)}; {ADDRESS}"
            raise ConfigError(text) from error
        except TimeoutError as error:
            remedy = f"raise eval.sampling.timeout_s={self.timeout_s:g}"
            raise Unanswered(f"{came} in {deadline_s:g} s", remedy) from error
        except GivenUp as error:
            raise Unanswered(f"{came}: given up", "run the same command again") from error
        except Unusable as error:
            raise Unanswered(f"{came} that can be read: {error}", "see what stands before the server") from error
        except httpx.RequestError as error:
            text = f"{came} ({type(error).__name__}: {clean(str(error))})"
            raise Unanswered(text, f"does it still run? {ADDRESS}") from error

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
