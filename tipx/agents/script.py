"""Turns from a script, or the task's own perfect ones: no sampling."""

from collections.abc import Sequence

from tipx.agents.calls import Call, CallFormat
from tipx.agents.chat import Chat
from tipx.agents.episode import Episode
from tipx.spec import Count, spec


@spec
class Script:
    """Turn t of row r is `turns[r % len(turns)][t]`, or the gold trajectory's. After its last turn it says nothing."""

    turns: tuple[tuple[str, ...], ...] | None
    """A list of turns for each row of the step, as text. null plays each task's own perfect trajectory."""
    max_new_tokens: Count
    """Tokens of one turn."""
    batch_size: Count
    """Episodes played at once."""

    @property
    def records_states(self) -> bool:
        return False

    @property
    def gives_logprobs(self) -> bool:
        return False

    def say(self, episode: Episode, calls: CallFormat) -> str:
        """The episode's next turn. A task without a gold trajectory has none."""
        turns = self.gold(episode, calls) if self.turns is None else self.turns[episode.row % len(self.turns)]
        return turns[episode.turns] if episode.turns < len(turns) else ""

    def gold(self, episode: Episode, calls: CallFormat) -> Sequence[str]:
        return [
            turn if isinstance(turn, str) else calls.write([Call(name, dict(arguments)) for name, arguments in turn])
            for turn in episode.task.gold() or []
        ]

    def ids(self, episode: Episode, calls: CallFormat, chat: Chat, limit: int) -> list[int]:
        """The next turn's token ids, its end-of-turn token included if there is room for it."""
        ids = [*chat.encode(self.say(episode, calls)), chat.ends[0]]
        first = next(place for place, token in enumerate(ids) if token in chat.ends)
        return ids[: min(first + 1, limit)]
