"""Servers that mean harm, or are something else: each ends in a line in time, or in a turn that is none."""

import gzip
import json
import signal
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tenacity import wait_none

from tests.agents.stub import Make, Play, Stub, played
from tests.agents.toy import CountTo
from tipx.agents import remote
from tipx.errors import TipxError

Handler = Callable[[socket.socket], None]
TIMEOUT_S = 0.7
SLACK_S = 3.0
"""Beside the deadline: other tests run at the same time."""
DRIPS_S = 8.0
"""How long a server goes on if nobody hangs up."""
DEEP = "[" * 100_000
NAME = "a hostile server"
TLS_ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


@dataclass
class Hostile:
    """A server that answers every request for a turn by `handler`, and names its models as any does."""

    handler: Handler | None = None
    models: Handler | None = None
    going: bool = True
    address: str = ""

    def serve(self, listening: socket.socket) -> None:
        while self.going:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.one, args=(connection,), daemon=True, name=NAME)
            thread.start()

    def one(self, connection: socket.socket) -> None:
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    part = connection.recv(65536)
                    if not part:
                        return
                    head += part
                    if head[:1] == b"\x16":  # a client that speaks TLS
                        break
                ask = self.models if b"/v1/models" in head else self.handler
                (ask or raw(http(json.dumps({"data": [{"id": "m"}]}))))(connection)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.2)
                while connection.recv(65536):
                    pass
            except OSError:
                return


@pytest.fixture(scope="module")
def tally() -> Iterator[Counter[str]]:
    """Servers by kind; shown with -s."""
    count: Counter[str] = Counter()
    yield count
    rows = [f"{kind:<22}{number:>7}\n" for kind, number in sorted(count.items())]
    sys.stdout.write("".join(["\nkind                  servers\n", *rows]))


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        state = Hostile(address=f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = threading.Thread(target=state.serve, args=(listening,), daemon=True)
        thread.start()
        yield state
        state.going = False
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def http(body: str | bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    data = body.encode() if isinstance(body, str) else body
    # `one` hangs up after each answer. Unsaid, the client may send its next request down a connection that is ending.
    given = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def raw(data: bytes) -> Handler:
    return lambda connection: connection.sendall(data)


def said(text: str) -> Handler:
    return raw(http(text))


def drips(start: bytes, drop: bytes, every_s: float = 0.1) -> Handler:
    def handle(connection: socket.socket) -> None:
        connection.sendall(start)
        end = time.monotonic() + DRIPS_S
        while time.monotonic() < end:
            time.sleep(every_s)
            connection.sendall(drop)

    return handle


def floods(start: bytes, part: bytes) -> Handler:
    def handle(connection: socket.socket) -> None:
        connection.sendall(start)
        end = time.monotonic() + DRIPS_S
        while time.monotonic() < end:
            connection.sendall(part)

    return handle


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def turn(message: str, usage: str = '{"completion_tokens": 1, "total_tokens": 9}') -> str:
    return f'{{"choices": [{{"message": {message}, "finish_reason": "stop"}}], "usage": {usage}}}'


def calling(arguments: str) -> str:
    return turn(f'{{"tool_calls": [{{"id": "c", "function": {{"name": "add", "arguments": {arguments}}}}}]}}')


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = turn('{"content": "End."}')
ZEROS = bytes(80 * 2**20)

# What the servers do, by kind; all of these are a line.
LINES: dict[str, dict[str, Callable[[], Handler]]] = {
    "slow": {
        "silence": lambda: drips(b"", b""),
        "status, byte by byte": lambda: drips(b"H", b"T"),
        "headers, byte by byte": lambda: drips(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        "headers without end": lambda: drips(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
        "body, byte by byte": lambda: drips(http(b"", Content_Length="1000000"), b" "),
        "chunks, byte by byte": lambda: drips(CHUNKED, b"1\r\n \r\n"),
        "no body": lambda: drips(http(b"", Content_Length="10"), b""),
        "continue, slowly": lambda: drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "continue, fast": lambda: floods(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 50),
        "a key-value body that stops": lambda: drips(http(GOOD[:30].encode(), Content_Length="500"), b""),
    },
    "large": {
        "gzip bomb": lambda: raw(http(gzip.compress(ZEROS, 1), Content_Encoding="gzip")),
        "deflate bomb": lambda: raw(http(zlib.compress(ZEROS, 1), Content_Encoding="deflate")),
        "gzip bomb as an error": lambda: raw(http(gzip.compress(ZEROS, 1), "500 No", Content_Encoding="gzip")),
        "plain": lambda: raw(http(ZEROS)),
        "chunks without end": lambda: floods(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
        "one header": lambda: raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 10**6 + b"\r\n\r\n{}"),
        "many headers": lambda: raw(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10**5 + b"\r\n{}"),
        "a chunk of 16 exabytes": lambda: drips(CHUNKED + b"ffffffffffffffff\r\n", b" "),
        "a length of 20 digits": lambda: drips(http(b"", Content_Length="9" * 20), b" "),
    },
    "encodings": {
        "brotli": lambda: raw(http(GOOD, Content_Encoding="br")),
        "unheard of": lambda: raw(http(GOOD, Content_Encoding="\x1b[31mred")),
        "gzip twice": lambda: raw(http(gzip.compress(gzip.compress(GOOD.encode())), Content_Encoding="gzip, gzip")),
        "gzip that is none": lambda: raw(http(GOOD, Content_Encoding="gzip")),
        "gzip cut short": lambda: raw(http(gzip.compress(GOOD.encode())[:-9], Content_Encoding="gzip")),
    },
    "no HTTP": {
        "nothing": lambda: raw(b""),
        "a reset": lambda: resets,
        "HTTP/0.9": lambda: raw(b"<html>Hello</html>"),
        "SSH": lambda: raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        "TLS": lambda: raw(TLS_ALERT),
        "HTTP/2": lambda: raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "noise": lambda: raw(bytes(range(256)) * 10),
        "status of letters": lambda: raw(b"HTTP/1.1 abc OK\r\n\r\n"),
        "status 999": lambda: raw(http(b"", "999 ?")),
        "other protocol": lambda: raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    },
    "framing": {
        "shorter than it says": lambda: raw(http(GOOD, Content_Length="9999")),
        "longer than it says": lambda: raw(http(GOOD, Content_Length="10")),
        "a negative length": lambda: raw(http(GOOD, Content_Length="-5")),
        "a length of letters": lambda: raw(http(GOOD, Content_Length="abc")),
        "two lengths": lambda: raw(http(GOOD, content_length="3")),
        "chunks of letters": lambda: raw(CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n"),
        "chunks cut short": lambda: raw(CHUNKED + b"5\r\nab"),
        "no content": lambda: raw(http(b"", "204 No Content")),
        "empty": lambda: raw(http(b"")),
    },
    "redirects": {
        "another host": lambda: raw(http(b"", "302 Found", Location="http://192.0.2.1/v1/chat/completions")),
        "itself": lambda: raw(http(b"", "307 Again", Location="/v1/chat/completions")),
        "a file": lambda: raw(http(b"", "301 Moved", Location="file:///etc/passwd")),
        "noise": lambda: raw(http(b"", "308 Moved", Location="http://[\x00")),
    },
    "JSON": {
        "deep": lambda: said(DEEP),
        "deep objects": lambda: said('{"a":' * 100_000),
        "deep and whole": lambda: said('{"choices": ' + "[" * 900 + "]" * 900 + "}"),
        "NaN": lambda: said(turn('{"content": "x"}', '{"total_tokens": NaN}')),
        "infinite": lambda: said(turn('{"content": "x"}', '{"total_tokens": 1e999}')),
        "many digits": lambda: said(turn('{"content": "x"}', f'{{"total_tokens": {"9" * 5000}}}')),
        "negative tokens": lambda: said(turn('{"content": "x"}', '{"completion_tokens": -1, "total_tokens": 1}')),
        "true tokens": lambda: said(turn('{"content": "x"}', '{"completion_tokens": true, "total_tokens": 1}')),
        "more tokens than there are": lambda: said(turn('{"content": "x"}', f'{{"total_tokens": {10**18}}}')),
        "NUL": lambda: raw(http(b"\0" * 100)),
        "no UTF-8": lambda: raw(http(b"\xff\xfe\xfa" * 50)),
        "UTF-16": lambda: raw(http(GOOD.encode("utf-16"))),
        "empty choices": lambda: said('{"choices": []}'),
        "a number": lambda: said("1e400"),
        "deep arguments": lambda: said(calling('{"by": ' + "[" * 200 + "]" * 200 + "}")),
    },
    "texts": {
        "terminal commands": lambda: raw(http(b"\x1b]0;owned\x07\x1b[2J\x9b31m", "500 \x1b[2J")),
        "many lines": lambda: raw(http(b"a\nb\r\nc\x0bd\x0ce\x85f" * 50, "400 Bad")),
        "a long one": lambda: raw(http(b"context" * 10**6, "404 No")),
        "wait for a century": lambda: raw(http(b"", "429 Busy", Retry_After="999999999")),
        "wait for a word": lambda: raw(http(b"", "503 Busy", Retry_After="\xff")),
    },
}
# These are turns: what is wrong in them is the model's.
TURNS: dict[str, Callable[[], str]] = {
    "deep arguments as text": lambda: calling(json.dumps(DEEP)),
    "infinite arguments": lambda: calling(json.dumps('{"by": 1e999}')),
    "NaN in arguments": lambda: calling(json.dumps('{"by": NaN}')),
    "many digits in arguments": lambda: calling(json.dumps(f'{{"by": {"9" * 5000}}}')),
    "half a pair": lambda: turn('{"content": "\\ud83d"}'),
    "a long text": lambda: turn(json.dumps({"content": "x" * 10**6})),
    "many calls": lambda: turn(json.dumps({"tool_calls": [None] * 1000})),
}


def ends_in_a_line(play: Callable[[], object], address: str) -> str:
    """Its text; it must come in time."""
    start = time.monotonic()
    with pytest.raises(TipxError) as caught:
        play()
    line = str(caught.value)
    assert time.monotonic() - start < TIMEOUT_S + SLACK_S
    assert line.startswith("eval.sampling.server: ")
    assert line.isprintable()
    assert len(line) < 1000
    assert address in line
    return line


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind in LINES for case in LINES[kind]])
def test_each_is_a_line(kind: str, case: str, hostile: Hostile, play: Play, tally: Counter[str]) -> None:
    hostile.handler = LINES[kind][case]()
    large = case in ("gzip bomb", "deflate bomb", "gzip bomb as an error", "plain", "chunks without end")
    asked = {"server": hostile.address, "timeout_s": 20.0 if large else TIMEOUT_S, "retries": 0}
    line = ends_in_a_line(lambda: play(CountTo(1), **asked), hostile.address)
    assert "raise eval.sampling.timeout_s=0.7" in line or kind != "slow"
    assert "64 MiB" in line or not large
    tally[kind] += 1


@pytest.mark.parametrize(
    "case", ["slow/body, byte by byte", "large/gzip bomb", "no HTTP/TLS", "redirects/another host"]
)
def test_so_is_a_first_contact(case: str, hostile: Hostile, agents: Make, tally: Counter[str]) -> None:
    kind, _, name = case.partition("/")
    hostile.models = LINES[kind][name]()
    ends_in_a_line(agents(server=hostile.address, timeout_s=TIMEOUT_S, retries=0).served, hostile.address)
    tally["first contact"] += 1


@pytest.mark.parametrize("case", TURNS)
def test_a_turn_may_be_wrong(case: str, hostile: Hostile, play: Play, tally: Counter[str]) -> None:
    answers = iter([said(TURNS[case]())])

    def handle(connection: socket.socket) -> None:
        next(answers, said(GOOD))(connection)

    hostile.handler = handle
    (episode,) = play(CountTo(1), server=hostile.address, timeout_s=20.0, retries=0)
    assert episode.stop == "eos"
    assert json.dumps(episode.messages, allow_nan=False).encode()
    tally["turns"] += 1


def test_a_plain_port_that_is_asked_by_tls(hostile: Hostile, play: Play, tally: Counter[str]) -> None:
    hostile.handler = hostile.models = raw(http(b"", "400 Bad Request"))
    address = hostile.address.replace("http:", "https:")
    ends_in_a_line(lambda: play(CountTo(1), server=address, timeout_s=TIMEOUT_S, retries=0), address)
    tally["no HTTP"] += 1


@pytest.mark.parametrize(
    "address", ["http://" + "a" * 100, "http://a..b", "http://h:99999", "http://\u0627-.x", "http://[::1"]
)
def test_an_address_that_is_none(address: str, play: Play, tally: Counter[str]) -> None:
    ends_in_a_line(lambda: play(CountTo(1), server=address, timeout_s=TIMEOUT_S, retries=0), address[:20])
    tally["addresses"] += 1


def test_no_message_holds_a_password(hostile: Hostile, stub: tuple[Stub, str], play: Play, agents: Make) -> None:
    hostile.handler = raw(http(b"", "400 Bad"))
    plain = hostile.address.removeprefix("http://")
    line = ends_in_a_line(lambda: play(CountTo(1), server=f"http://me:sec%40ret@{plain}", retries=0), plain)
    assert "sec" not in line
    with pytest.raises(TipxError) as caught:
        play(CountTo(1), server="http://me:sec/ret@host:1")
    assert "ret" not in str(caught.value).replace("retries", "")
    assert agents(server=f"http://me:secret@{plain}/v1").shown == f"{hostile.address}/v1"
    # They are still sent.
    play(CountTo(1), server=stub[1].replace("://", "://me:secret@"))
    assert {key for _, _, key in stub[0].asked} == {"Basic bWU6c2VjcmV0"}


@pytest.mark.parametrize("what", ["a request", "a wait"])
def test_an_interrupt_ends_all_requests(
    what: str, hostile: Hostile, agents: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BACKOFF", wait_none() if what == "a request" else lambda _: 60)
    hostile.handler = drips(b"", b"") if what == "a request" else raw(http(b"", "503 Busy"))
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    before = {*threading.enumerate(), timer}
    one = agents(server=hostile.address, timeout_s=60.0, retries=5, batch_size=8)
    start = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        played(one, [CountTo(1)] * 20, range(20))
    assert time.monotonic() - start < 2.5
    assert [one for one in threading.enumerate() if one not in before and one.name != NAME] == []
