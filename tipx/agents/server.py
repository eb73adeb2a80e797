"""An agent behind an OpenAI-compatible server: text in, text and parsed calls out. For evaluation alone: no token ids.

The server applies its own chat template, parses calls itself and counts the tokens; what it does not say is not known.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from typing import Any

from pydantic import field_validator
from pydantic_core import PydanticCustomError

from tipx.agents.episode import Episode
from tipx.agents.remote import Remote, RequestRefused, without_password
from tipx.agents.replies import Completion, Said, Served, Usage
from tipx.agents.rules import Rules
from tipx.agents.task import Message, Task
from tipx.agents.wire import Wire
from tipx.errors import ConfigError, TipxError
from tipx.noise import Noise
from tipx.spec import Count, Few, Retries, Seconds, Temperature, TopP, Words, spec
from tipx.types import StopReason

SEEDS = 2**31


@spec
class ServedAgents(Rules):
    """Turns by a model behind an OpenAI-compatible server.

    A turn is not asked for more tokens than the server's window has left, where both are known. An episode ends as
    `context` where the server finds its text too long, also for half as many. A call that the server hands on as text
    is malformed; the error then comes as a user's message, since there is no call to answer. With `malformed=text`
    the conversation goes on without the calls of such a turn.
    """

    server: Words
    """The server's address, with or without /v1."""
    model: Words | None
    """The name under which the server has the model. null is the first that it names."""
    key_env: Words | None
    """Name of the environment variable that holds the server's key; the key itself is never stored. null: it wants
    none."""
    temperature: Temperature
    """Sampling temperature. 0 is greedy."""
    top_p: TopP
    """Samples from the likeliest tokens that have this probability together. 1 is off."""
    turn_tokens: Count
    """Tokens that one turn may have."""
    batch_size: Few
    """Episodes played at once: requests that the server gets in parallel."""
    timeout_s: Seconds
    """Seconds that a turn may take before its request is made again."""
    retries: Retries
    """Times that a request without an answer is made again, after 1 second and then twice as long each time."""
    extra: dict[str, Any]
    """Further fields of each request, handed on as they are, as {chat_template_kwargs: {enable_thinking: false}}."""

    @field_validator("extra")
    @classmethod
    def _json(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What JSON has no words for cannot be sent."""
        try:
            json.dumps(given, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise PydanticCustomError("path", "expected what JSON can hold ({said})", {"said": str(error)}) from error
        return given

    @property
    def shown(self) -> str:
        """The server's address as it may be shown and stored."""
        return without_password(self.server)

    def served(self) -> str:
        """The name of the model that is asked. The server is asked once; raises ConfigError if it does not answer."""
        return self.offer.id

    @cached_property
    def offer(self) -> Served:
        """The model, and its window if the server says one. A server need not list its models if one is named."""
        try:
            there = self.remote().models().data
        except RequestRefused as error:
            if self.model is None or error.status not in (404, 405):
                raise
            there = []
        if self.model is not None:
            return next((one for one in there if one.id == self.model), Served(id=self.model))
        if not there:
            raise ConfigError(f"eval.sampling.server: {self.shown!r} serves no model; give eval.sampling.model=NAME")
        return there[0]

    def remote(self) -> Remote:
        return Remote(self.server, self.key_env, self.timeout_s, self.retries, self.batch_size)

    def as_they_end(self, tasks: Sequence[Task], rows: Sequence[int], noise: Noise) -> Iterator[tuple[int, Episode]]:
        """(place in `tasks`, episode) of each task; draws are keyed by `rows`.

        Raises ConfigError where the server is not there or refuses a request, and RunFailed where it stays without an
        answer; the other episodes then end with the turn that they are at.
        """
        episodes = [Episode(task, row) for task, row in zip(tasks, rows, strict=True)]
        seeds = [int(draw * SEEDS) for draw in noise.draw_rows(rows, 1)[:, 0].tolist()]
        model, remote = self.offer, self.remote()
        with remote.open() as wire, ThreadPoolExecutor(max_workers=self.batch_size) as pool:
            going = {
                pool.submit(self.run_to_end, remote, wire, model, episode, seed): place
                for place, (episode, seed) in enumerate(zip(episodes, seeds, strict=True))
            }
            try:
                for done in as_completed(going):
                    done.result()
                    yield going[done], episodes[going[done]]
            finally:
                wire.halt()

    def run_to_end(self, remote: Remote, wire: Wire, model: Served, episode: Episode, seed: int) -> None:
        """All turns of an episode, or those until it is halted. Where one fails, no other begins a turn."""
        try:
            while episode.stop is None and not remote.halted.is_set():
                self.turn(remote, wire, model, episode, seed)
        except TipxError:
            remote.halted.set()
            raise

    def turn(self, remote: Remote, wire: Wire, model: Served, episode: Episode, seed: int) -> None:
        """One turn, and what it leads to."""
        room, limit = self.room(episode, model.max_model_len)
        if room < 1:
            episode.end(limit)
            return
        made = remote.complete(wire, self.request(model, episode, seed, room))
        if made is None and room > 1:
            # What came after the last turn is not counted yet, so there may be less room than was asked for.
            limit = "context"
            made = remote.complete(wire, self.request(model, episode, seed, room // 2))
        if made is None:
            episode.end("context")
            return
        self.hear(episode, made, limit)

    def room(self, episode: Episode, window: int | None) -> tuple[int, StopReason]:
        """Tokens that the next turn may have, and the limit that says so; what the server does not count is 0."""
        limits: list[tuple[int, StopReason]] = [
            (self.turn_tokens, "length"),
            (self.max_new_tokens - episode.sampled, "tokens"),
        ]
        limits += [(most - episode.known, "context") for most in (self.context, window) if most is not None]
        return min(limits, key=lambda limit: limit[0])

    def request(self, model: Served, episode: Episode, seed: int, room: int) -> dict[str, Any]:
        """What is asked for: a turn of at most `room` tokens. Each turn has a seed of its own."""
        return {
            "model": model.id,
            "messages": episode.messages,
            "tools": episode.task.tools,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": room,
            "seed": (seed + episode.turns) % SEEDS,
        } | self.extra

    def hear(self, episode: Episode, made: Completion, limit: StopReason) -> None:
        """A turn, and what it leads to: tool results, a user's message, or the end. `limit` is what may have cut it."""
        choice = made.choices[0]
        usage = made.usage or Usage()
        episode.count(usage.completion_tokens, usage.total_tokens)
        episode.say(choice.message.content)
        episode.messages[-1] |= choice.message.thoughts
        if choice.finish_reason == "length":
            episode.end(limit)
            return
        answers = self.answer(episode, choice.message.calls(episode.task.tools))
        episode.messages += addressed(episode.messages[-1], choice.message, answers, episode.turns)
        if not answers or episode.turns == self.max_turns:
            episode.end("turns" if answers else "eos")


def addressed(turn: Message, said: Said, answers: Sequence[Message], number: int) -> Sequence[Message]:
    """Answers as a server takes them: one for each call of `turn`, which is given its calls; else a user's message.

    The last answer is that of all calls which were not run.
    """
    if not answers or answers[0]["role"] != "tool":
        return answers
    if not said.requests:
        return [{"role": "user", "content": "\n".join(answer["content"] for answer in answers)}]
    turn["tool_calls"] = [one.again(f"call_{number}_{i}") for i, one in enumerate(said.requests)]
    last = len(answers) - 1
    return [answers[min(i, last)] | {"tool_call_id": one["id"]} for i, one in enumerate(turn["tool_calls"])]
