"""What an episode may take, and what comes after a turn: tool results, a user's message, or its end."""

import json
from typing import Literal

from tipx.agents.calls import Call, Calls, Malformed
from tipx.agents.episode import Episode
from tipx.agents.task import Message
from tipx.spec import Count, Whole, spec


@spec
class Rules:
    """Limits of an episode; null is none. Nothing is cut without being told or counted.

    An episode ends at `max_turns` turns, `max_new_tokens` sampled tokens in all, or `context` tokens of text (null:
    what the model can read). Of one turn's calls at most `max_parallel_calls` are run, and of a tool's answer the
    first `tool_response_max_chars` characters are shown; in both cases the model is told, and it is counted.
    `malformed` calls get an error as their answer (`tell`), or make the turn one without calls (`text`): so it is
    behind a server that parses calls, which hands on as text what it cannot read.
    """

    max_turns: Count
    max_new_tokens: Count
    context: Count | None
    max_parallel_calls: Count | None
    tool_response_max_chars: Whole | None
    malformed: Literal["tell", "text"]

    def answer(self, episode: Episode, calls: Calls) -> list[Message]:
        """What the model is told after its turn; [] if the episode is over. Runs the calls, in order."""
        broken = sum(isinstance(call, Malformed) for call in calls)
        episode.malformed += broken
        if not calls or (broken and self.malformed == "text"):
            word = episode.world.follow_up()
            return [] if word is None else [{"role": "user", "content": word}]
        most = self.max_parallel_calls or len(calls)
        answers = [self.run(episode, call) for call in calls[:most]]
        if left := len(calls) - len(answers):
            episode.refused += left
            answers.append(error(f"{left} of {len(calls)} tool calls were not run: at most {most} in one turn"))
        return answers

    def run(self, episode: Episode, call: Call | Malformed) -> Message:
        """One call's answer."""
        if isinstance(call, Malformed):
            return error(f"tool call not understood: {call.reason}")
        episode.calls += 1
        text, most = episode.world.call(call.name, call.arguments), self.tool_response_max_chars
        if most is not None and len(text) > most:
            episode.shortened += 1
            text = f"{text[:most]}\n[the first {most} of {len(text)} characters]"
        return {"role": "tool", "name": call.name, "content": text}


def error(text: str) -> Message:
    """A tool message that says what went wrong, in the shape in which environments say it."""
    return {"role": "tool", "name": "error", "content": json.dumps({"error": text}, ensure_ascii=False)}
