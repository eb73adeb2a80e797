"""What an episode may take, and what comes after a turn: tool results, a user's message, or its end."""

import json
from typing import Literal

from tipx.agents.calls import Call, Calls, Malformed
from tipx.agents.episode import Episode
from tipx.agents.task import Message
from tipx.spec import Count, Whole, spec


@spec
class Rules:
    """Limits of an episode. Nothing is cut without being told to the model or counted."""

    max_turns: Count
    """Turns of the model after which an episode ends."""
    max_new_tokens: Count
    """Tokens that the model may sample in all turns of an episode together. One turn has a limit of its own."""
    context: Count | None
    """Tokens of the whole text, with prompt and tool results, at which an episode ends. null is what the model can
    read."""
    max_parallel_calls: Count | None
    """Calls of one turn that are run. The model is told of the others, and they are counted. null runs all."""
    tool_response_max_chars: Whole | None
    """Characters of a tool's answer that the model is shown. Shortened answers are counted. null shows all."""
    malformed: Literal["tell", "text"]
    """What follows a call that cannot be read. tell: an error as the call's answer. text: the turn counts as one
    without calls, as behind a server that parses calls."""

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
