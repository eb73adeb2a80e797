"""A stub of a chat server, and agents that ask it."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tenacity import wait_none

from tipx.agents import remote
from tipx.agents.episode import Episode
from tipx.agents.server import ServedAgents
from tipx.agents.task import Task
from tipx.noise import Noise

Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]
Make = Callable[..., ServedAgents]
Play = Callable[..., list[Episode]]
CUT = (0, None)
"""A connection that ends without an answer."""


class Stub:
    """Answers a conversation by its number of assistant turns: words, calls, a whole message, or a reply as it is.

    `first` are replies to the first turns that are asked for; a body in bytes is sent as it is.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any], str | None]] = []
        self.script: Sequence[Any] = ()
        self.first: list[Reply] = []
        self.models: Reply = (200, {"data": [{"id": "the-model"}]})
        self.usage = True

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The turns that were asked for."""
        return [body for place, body, _ in self.asked if place == "/v1/chat/completions"]

    def answer(self, place: str, body: dict[str, Any], key: str | None) -> Reply:
        self.asked.append((place, body, key))
        if place != "/v1/chat/completions":
            return self.models if place == "/v1/models" else (404, {"detail": "Not Found"})
        if self.first:
            return self.first.pop(0)
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        said = self.script[turn] if turn < len(self.script) else "End."
        if isinstance(said, tuple):
            return said
        message: dict[str, Any] = {"role": "assistant", "content": said if isinstance(said, str) else None}
        if isinstance(said, dict):
            message |= said
        elif not isinstance(said, str):
            message["tool_calls"] = [
                {"id": f"call-{i}", "type": "function", "function": {"name": name, "arguments": text}}
                for i, (name, text) in enumerate(said)
            ]
        usage = {"completion_tokens": 7, "total_tokens": 100 + 10 * turn}
        reply = {"choices": [{"message": message, "finish_reason": "stop"}]}
        return 200, reply | ({"usage": usage} if self.usage else {})


@pytest.fixture
def stub() -> Iterator[tuple[Stub, str]]:
    state = Stub()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else {}
            status, reply, *more = state.answer(self.path, body, self.headers.get("Authorization"))
            if status == 0:
                self.close_connection = True
                return
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            for name, value in more[0].items() if more else ():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = respond

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def agents(stub: tuple[Stub, str], monkeypatch: pytest.MonkeyPatch) -> Make:
    """Agents of the stub, which do not wait between two tries."""
    monkeypatch.setattr(remote, "BACKOFF", wait_none())

    def of(**changed: Any) -> ServedAgents:
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
            "retries": 2,
            "extra": {},
        }
        return ServedAgents(**(plain | changed))

    return of


@pytest.fixture
def play(agents: Make) -> Play:
    return lambda *tasks, **changed: played(agents(**changed), tasks, range(len(tasks)))


def played(agents: ServedAgents, tasks: Sequence[Task], rows: Sequence[int]) -> list[Episode]:
    """Their episodes, in the order of the tasks."""
    ended = dict(agents.as_they_end(tasks, rows, Noise(0)))
    return [ended[place] for place in range(len(tasks))]
