"""Agents behind a chat server, by a stub of one: what is asked, what is counted, and what is said when it refuses."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.agents.toy import TOOL, CountTo
from tipx.agents.episode import Episode
from tipx.agents.server import ServedAgents
from tipx.errors import ConfigError
from tipx.noise import Noise

Reply = tuple[int, Any]
Play = Callable[..., list[Episode]]


class Stub:
    """Answers a conversation by its number of assistant turns: first a call, then words."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.script: Sequence[Any] = ()

    def answer(self, place: str, body: dict[str, Any], key: str | None) -> Reply:
        self.asked.append((place, body, key))
        if place == "/v1/models":
            return 200, {"data": [{"id": "the-model"}]}
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        said = self.script[turn] if turn < len(self.script) else "End."
        if isinstance(said, tuple):
            return said
        message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if not isinstance(said, str):
            message["tool_calls"] = [
                {"id": f"call-{i}", "type": "function", "function": {"name": name, "arguments": text}}
                for i, (name, text) in enumerate(said)
            ]
        usage = {"completion_tokens": 7, "total_tokens": 100 + 10 * turn}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


@pytest.fixture
def stub() -> Iterator[tuple[Stub, str]]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            status, reply = state.answer(self.path, body, self.headers.get("Authorization"))
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = respond

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def play(stub: tuple[Stub, str]) -> Play:
    def of(*tasks: CountTo, **changed: Any) -> list[Episode]:
        plain: dict[str, Any] = {
            **dict.fromkeys(("context", "max_parallel_calls", "tool_response_max_chars", "model", "key_env")),
            "max_turns": 8,
            "max_new_tokens": 100,
            "malformed": "tell",
            "server": stub[1],
            "temperature": 0.0,
            "top_p": 1.0,
            "turn_tokens": 50,
            "batch_size": 2,
            "timeout_s": 20.0,
            "extra": {},
        }
        return ServedAgents(**(plain | changed)).play(tasks, range(len(tasks)), Noise(0))

    return of


def test_a_conversation(stub: tuple[Stub, str], play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    stub[0].script = [[("add", '{"by": 2}'), ("add", '{"by": 1}')], "At 3.", "Yes, 3."]
    (episode,) = play(CountTo(3), key_env="MY_KEY", extra={"chat_template_kwargs": {"enable_thinking": True}})
    assert episode.scores == {"reached": 1, "said": 1, "whole": 1}
    assert (episode.stop, episode.turns, episode.calls, episode.sampled, episode.known) == ("eos", 3, 2, 21, 120)
    models, first, second, third = stub[0].asked
    assert models[0] == "/v1/models"
    assert {key for _, _, key in stub[0].asked} == {"Bearer sesame"}
    assert first[1] | {"seed": 0} == {
        "model": "the-model",
        "messages": CountTo(3).messages,
        "tools": [TOOL],
        "temperature": 0.0,  # sent, though it is false in Python
        "top_p": 1.0,
        "max_tokens": 50,
        "seed": 0,
        "chat_template_kwargs": {"enable_thinking": True},
    }
    assert [m["role"] for m in third[1]["messages"]] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert [m.get("tool_call_id") for m in second[1]["messages"]] == [None, None, "call-0", "call-1"]
    assert second[1]["messages"][1]["tool_calls"][1]["function"] == {"name": "add", "arguments": '{"by": 1}'}


def test_arguments_that_are_no_json_are_answered(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", "{by: 1}"), ("add", "[1]")]]
    (episode,) = play(CountTo(1))
    assert (episode.malformed, episode.calls, episode.stop) == (2, 0, "eos")
    assert all("tool call not understood" in m["content"] for m in episode.messages if m["role"] == "tool")


def test_limits(stub: tuple[Stub, str], play: Play) -> None:
    call = [("add", '{"by": 1}')]
    stub[0].script = [call] * 9
    assert [(e.stop, e.turns) for e in play(CountTo(1), max_turns=2)] == [("turns", 2)]
    assert [(e.stop, e.turns) for e in play(CountTo(1), max_new_tokens=14)] == [("tokens", 2)]
    assert stub[0].asked[-1][1]["max_tokens"] == 7  # what is left
    assert [(e.stop, e.turns) for e in play(CountTo(1), context=105)] == [("context", 2)]
    stub[0].script = [call, (400, {"message": "This model's maximum context length is 100 tokens"})]
    assert [(e.stop, e.turns) for e in play(CountTo(1))] == [("context", 1)]
    cut = {"message": {"content": "To"}, "finish_reason": "length"}
    stub[0].script = [(200, {"choices": [cut], "usage": None})]
    assert [(e.stop, e.turns, e.sampled) for e in play(CountTo(1))] == [("length", 1, 0)]


def test_episodes_at_once_are_apart(stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [[("add", '{"by": 2}')]]
    episodes = play(*(CountTo(goal) for goal in range(1, 6)))
    assert [e.scores["reached"] for e in episodes] == [0, 1, 0, 0, 0]
    assert len({body["seed"] for place, body, _ in stub[0].asked if "chat" in place}) > 5


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_refuses(status: int, stub: tuple[Stub, str], play: Play) -> None:
    stub[0].script = [(status, {"error": "no such tool parser"})]
    with pytest.raises(ConfigError, match=rf"refused /v1/chat/completions with {status}.*no such tool parser.*hermes"):
        play(CountTo(1))


def test_no_server(play: Play) -> None:
    with pytest.raises(ConfigError, match=r"eval.sampling.server: no answer from 'http://127.0.0.1:9'"):
        play(CountTo(1), server="http://127.0.0.1:9", model="x")
