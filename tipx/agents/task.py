"""What an agent is given: a task, its tools, and a world of its own for each trajectory."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

Message = dict[str, Any]
"""A chat message as templates take it: role, content, and for an assistant's tool calls `tool_calls`."""


@runtime_checkable
class Environment(Protocol):
    """The state of one trajectory; never shared between two."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What the tool `name` answers, as the text the model is shown.

        What the model did wrong (unknown tool, missing or ill-typed argument) is an answer too, as JSON {"error": ...}:
        this never raises for anything a model can write.
        """
        ...

    def follow_up(self) -> str | None:
        """After a turn without tool calls: the next user message, or None when the episode is over."""
        ...

    def score(self, text: str, *, complete: bool) -> dict[str, float]:
        """Named scores of the finished trajectory, each a float; `text` is the last assistant turn.

        `complete` is False when a limit ended it. `Task.headline` names the one that is reported as the mean.
        """
        ...


@runtime_checkable
class Task(Protocol):
    """One problem for an agent."""

    @property
    def id(self) -> str:
        """Unique in its benchmark, e.g. "travel_en/12"."""
        ...

    @property
    def slice(self) -> str: ...

    @property
    def headline(self) -> str:
        """The score that counts, e.g. "case_score"."""
        ...

    @property
    def messages(self) -> list[Message]:
        """System and user messages the conversation starts with."""
        ...

    @property
    def tools(self) -> list[dict[str, Any]]:
        """OpenAI function schemas: {"type": "function", "function": {"name", "description", "parameters"}}."""
        ...

    def start(self) -> Environment:
        """A fresh environment."""
        ...

    def gold(self) -> list[str | list[tuple[str, dict[str, Any]]]] | None:
        """A perfect trajectory, turn by turn: calls (name, arguments), or the text of one without; None if unknown."""
        ...
