"""One request for a journey, as an agent is given it."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tipx.agents.task import Message
from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.environment import TravelEnvironment
from tipx.deepplanning.travel.prompts import Language, PromptTexts, words
from tipx.deepplanning.travel.scoring import HEADLINE
from tipx.deepplanning.travel.trip import Trip

Turn = str | list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TravelTask:
    """A task of `tipx.agents.task`; the tables are read when it starts, so that 240 tasks need no memory."""

    id: str
    slice: str
    query: str
    trip: Trip
    language: Language
    texts: PromptTexts
    database: Callable[[], Database]
    script: tuple[Turn, ...] | None = None
    headline: str = HEADLINE

    @property
    def answer(self) -> str:
        """What a plan is judged by besides the tables, as JSON."""
        return json.dumps(asdict(self.trip), sort_keys=True, ensure_ascii=False)

    @property
    def messages(self) -> list[Message]:
        return [{"role": "system", "content": self.texts.system}, {"role": "user", "content": self.query}]

    @property
    def tools(self) -> list[dict[str, Any]]:
        return self.texts.tools

    def start(self) -> TravelEnvironment:
        return TravelEnvironment(self.database(), self.trip, words(self.language))

    def gold(self) -> list[Turn] | None:
        return None if self.script is None else list(self.script)
