"""The world of one trajectory. It has no state: nine tools that only read, and one answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tipx.deepplanning.travel.database import Database
from tipx.deepplanning.travel.parse import Parsed, parse
from tipx.deepplanning.travel.scoring import score
from tipx.deepplanning.travel.tools import TOOLS, Words
from tipx.deepplanning.travel.trip import Trip

LONGEST_ARGUMENT = 1_000
"""Characters of an argument; a tool's answer may repeat it."""


@dataclass(frozen=True, slots=True)
class TravelEnvironment:
    """Tools over one task's tables; see `tipx.agents.task.Environment`."""

    database: Database
    trip: Trip
    words: Words

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """A tool's answer; what is wrong with the call, as JSON {"error": ...}."""
        tool = TOOLS.get(name)
        if tool is None:
            return error(f"no tool is named {name[:100]!r}; there are: {', '.join(TOOLS)}")
        lacking = [key for key in tool.required if key not in arguments]
        if lacking:
            return error(f"{name}: the argument {lacking[0]!r} is missing")
        given = {key: arguments[key] for key in (*tool.required, *tool.optional) if key in arguments}
        for key, value in given.items():
            if not isinstance(value, str):
                return error(f"{name}: {key} must be a string")
            if len(value) > LONGEST_ARGUMENT:
                return error(f"{name}: {key} is longer than {LONGEST_ARGUMENT} characters")
        try:
            answer = tool.run(self.database, self.words, given)
        except ValueError as broken:  # a cell that should be a number, as the official tools answer it
            return error(str(broken))
        # Half a surrogate pair can stand in JSON, but in no UTF-8.
        return answer.encode("utf-8", "replace").decode("utf-8")

    def follow_up(self) -> str | None:
        """The first turn without calls is the last."""
        return None

    def score(self, text: str, *, complete: bool) -> dict[str, float]:
        """See `scoring.score`; a trajectory that a limit ended has delivered no plan, as in the official loop."""
        parsed = parse(text, self.database.names) if complete else Parsed(None)
        return score(parsed, self.trip, self.database)


def error(what: str) -> str:
    return json.dumps({"error": what.encode("utf-8", "replace").decode("utf-8")}, ensure_ascii=False)
