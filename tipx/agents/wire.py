"""HTTP requests of many threads, made by one: each has a deadline for all of it, and a bound on what comes back.

A timeout of a socket says how long may pass between two bytes, so a server that sends one now and then holds a request
for ever; and the threads of a pool cannot be interrupted. A task of an event loop can be cancelled.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType
from typing import Self

import httpx

MOST_BYTES = 64 * 2**20
"""Of an answer, decoded."""
CLOSING_S = 1.0
"""Seconds that connections may take to be closed."""
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Unusable(Exception):
    """An answer that cannot be read: too large, or in an encoding that nobody asked for."""


class GivenUp(Exception):
    """The request was halted."""


@dataclass(frozen=True)
class ServerResponse:
    """What a server sent, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Makes requests by `client` in a thread of its own, from `with` to its end, or until `halted`."""

    def __init__(self, client: httpx.AsyncClient, halted: Event) -> None:
        self.client, self.halted = client, halted
        self.loop = asyncio.new_event_loop()
        self.thread = Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def ask(self, method: str, place: str, content: bytes | None, deadline_s: float) -> ServerResponse:
        """The answer; raises TimeoutError, Unusable, GivenUp, or what httpx raises."""
        try:
            return asyncio.run_coroutine_threadsafe(self.answer(method, place, content, deadline_s), self.loop).result()
        except CancelledError as error:
            raise GivenUp from error

    async def answer(self, method: str, place: str, content: bytes | None, deadline_s: float) -> ServerResponse:
        if self.halted.is_set():
            raise CancelledError
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        async with (
            asyncio.timeout(deadline_s),
            self.client.stream(method, place, content=content, headers=headers) as response,
        ):
            coding = response.headers.get("Content-Encoding", "")
            return ServerResponse(response.status_code, response.headers, await decoded(response.aiter_raw(), coding))

    def halt(self) -> None:
        """Give up what is asked, and what will be."""
        self.halted.set()
        self.loop.call_soon_threadsafe(self.cancel)

    def cancel(self) -> list[asyncio.Task[ServerResponse]]:
        """The requests in flight, which end soon. To be called in the loop."""
        tasks = asyncio.all_tasks(self.loop) - {asyncio.current_task(self.loop)}
        for task in tasks:
            task.cancel()
        return list(tasks)

    async def close(self) -> None:
        await asyncio.gather(*self.cancel(), return_exceptions=True)
        try:
            async with asyncio.timeout(CLOSING_S):
                await self.client.aclose()
        except TimeoutError:
            return  # the sockets end with the process


async def decoded(parts: AsyncIterator[bytes], coding: str) -> bytes:
    """A body; raises Unusable for one that is too large, that is cut short, or whose encoding is not known."""
    coding = coding.strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise Unusable(f"an answer in the encoding {coding!r:.40}, expected gzip, deflate or none")
    inflater = None if coding in ("", "identity") else zlib.decompressobj(GZIP_OR_ZLIB)
    body = bytearray()
    async for part in parts:
        try:
            body += part if inflater is None else inflater.decompress(part, MOST_BYTES + 1 - len(body))
        except zlib.error as error:
            raise Unusable(f"an answer that is no {coding} ({error})") from error
        if len(body) > MOST_BYTES:
            raise Unusable(f"an answer of more than {MOST_BYTES >> 20} MiB")
    if inflater is not None and not inflater.eof:
        raise Unusable(f"an answer that is no {coding} (cut short)")
    return bytes(body)
