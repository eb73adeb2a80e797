"""An agent behind an OpenAI-compatible server: text in, text and parsed calls out. For evaluation alone: no token ids.

The server applies its own chat template, parses calls itself and counts the tokens; what it does not say is not known.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, cast

import httpx
from pydantic import Field

from tipx.agents.calls import Call, Malformed, checked, parsed
from tipx.agents.episode import Episode
from tipx.agents.rules import Rules
from tipx.agents.task import Task
from tipx.errors import ConfigError
from tipx.noise import Noise
from tipx.spec import Count, NonNegative, Positive, spec
from tipx.types import StopReason

SEEDS = 2**31
REASONS: dict[str, StopReason] = {"length": "length"}


@spec
class ServedAgents(Rules):
    """Turns of at most `turn_tokens` by the model that `server` serves as `model` (null: the first it names).

    `batch_size` episodes are played at once. `key_env` names the environment variable that holds the server's key, and
    `extra` is added to each request as it is. `context` is the server's own affair: an episode ends where it refuses a
    text as too long.
    """

    server: str
    model: str | None
    key_env: str | None
    temperature: NonNegative
    top_p: Annotated[float, Field(gt=0, le=1)]
    turn_tokens: Count
    batch_size: Count
    timeout_s: Positive
    extra: dict[str, Any]

    def play(self, tasks: Sequence[Task], rows: Sequence[int], noise: Noise) -> list[Episode]:
        """An episode for each task, to its end; raises ConfigError when the server does not answer."""
        episodes = [Episode(task, row) for task, row in zip(tasks, rows, strict=True)]
        key = os.environ.get(self.key_env or "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with httpx.Client(base_url=self.server, timeout=self.timeout_s, headers=headers) as client:
            name = self.model or self.ask(client, "GET", "/v1/models", None)["data"][0]["id"]
            draws = [int(draw * SEEDS) for draw in noise.rows(rows, 1)[:, 0].tolist()]
            with ThreadPoolExecutor(max_workers=self.batch_size) as pool:
                list(pool.map(lambda one: self.run_to_end(client, name, *one), zip(episodes, draws, strict=True)))
        return episodes

    def run_to_end(self, client: httpx.Client, name: str, episode: Episode, seed: int) -> None:
        while episode.stop is None:
            self.turn(client, name, episode, seed)

    def turn(self, client: httpx.Client, name: str, episode: Episode, seed: int) -> None:
        """One turn, and what it leads to."""
        room = min(self.turn_tokens, self.max_new_tokens - episode.sampled)
        if room < 1 or (self.context is not None and episode.known >= self.context):
            episode.end("tokens" if room < 1 else "context")
            return
        body = {
            "model": name,
            "messages": episode.messages,
            "tools": episode.task.tools,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": room,
            "seed": (seed + episode.turns) % SEEDS,
        } | self.extra
        made = self.ask(client, "POST", "/v1/chat/completions", body)
        if made is None:
            episode.end("context")
            return
        message, usage = made["choices"][0]["message"], made.get("usage") or {}
        episode.sampled += int(usage.get("completion_tokens") or 0)
        episode.known = int(usage.get("total_tokens") or 0)
        calls = [served_call(one["function"]) for one in message.get("tool_calls") or []]
        episode.say(message.get("content") or "")
        if made["choices"][0].get("finish_reason") == "length":
            episode.end("length" if room == self.turn_tokens else "tokens")
            return
        if message.get("tool_calls"):
            episode.messages[-1]["tool_calls"] = message["tool_calls"]
        answers = self.answer(episode, calls)
        ids = [one.get("id") or str(i) for i, one in enumerate(message.get("tool_calls") or [])]
        for i, answer in enumerate(answers):
            if answer["role"] == "tool":
                answer["tool_call_id"] = ids[min(i, len(ids) - 1)]
        episode.messages += answers
        if not answers or episode.turns == self.max_turns:
            episode.end("turns" if answers else "eos")

    def ask(self, client: httpx.Client, method: str, place: str, body: dict[str, Any] | None) -> Any:
        """The server's answer; None where it refuses a text as too long. Raises ConfigError for any other refusal."""
        try:
            response = client.request(method, place, json=body)
        except httpx.HTTPError as error:
            raise ConfigError(
                f"eval.sampling.server: no answer from {self.server!r} ({type(error).__name__}: {error}); give its "
                "address: eval.sampling.server=http://host:8000"
            ) from error
        if response.status_code == 400 and "context" in response.text and body is not None:
            return None
        if response.is_error:
            raise ConfigError(
                f"eval.sampling.server: {self.server!r} refused {place} with {response.status_code}: "
                f"{response.text:.200}; for `vllm serve` add --enable-auto-tool-choice --tool-call-parser hermes"
            )
        return response.json()


def served_call(function: dict[str, Any]) -> Call | Malformed:
    """A call as a server hands it on: a name, and arguments as JSON text."""
    name, text = str(function.get("name")), function.get("arguments") or "{}"
    value = parsed(text if isinstance(text, str) else json.dumps(text))
    return value if isinstance(value, Malformed) else checked(name, cast("Any", value))
