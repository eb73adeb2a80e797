"""One trajectory as it grows: what was said, what it was in token ids, and how it ended."""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from tipx.agents.task import Environment, Message, Task
from tipx.types import StopReason

COUNTS = ("turns", "calls", "malformed", "refused", "shortened")


@dataclass
class Episode:
    """A task in its own world.

    `ids` are the T tokens after the prompt, and `mask` T booleans: which of them the model sampled. True are the
    tokens of its turns, its reasoning, its calls and each end-of-turn token that it sampled itself. False are the
    answers of tools, the user's messages, and the marks of the chat template between two turns: the model reads these
    and is never trained on them. The mask becomes a row of `Rollout.valid_BT`, so the loss, every statistic and every
    selector see the sampled tokens alone, and a share such as `ratio=0.2` is one of the sampled tokens. `states` and
    `logprobs` have an entry for each token that is True, in the order of `ids`.
    `messages` is the same for people, and for servers that take text; `sampled` counts the model's tokens, also
    where there are no ids; `known` is the whole text's length as a server said it last. Both are too small where a
    server left some out, and `counted` is False.
    `stop` is None while it goes on.
    """

    task: Task
    row: int
    prompt: list[int] = field(default_factory=list)
    world: Environment = field(init=False)
    ids: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    sampled: int = 0
    known: int = 0
    counted: bool = True
    states: list[Float[Tensor, "n D"]] = field(default_factory=list)
    logprobs: list[Float[Tensor, " n"]] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    stop: StopReason | None = None
    text: str = ""
    turns: int = 0
    calls: int = 0
    malformed: int = 0
    refused: int = 0
    shortened: int = 0
    scores: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = self.task.start()
        self.messages = [dict(message) for message in self.task.messages]

    @property
    def length(self) -> int:
        """Tokens of the whole text."""
        return len(self.prompt) + len(self.ids)

    def extend(self, ids: list[int], *, sampled: bool) -> None:
        """Tokens that come next."""
        self.ids += ids
        self.mask += [sampled] * len(ids)
        self.sampled += len(ids) * sampled

    def forget(self, count: int) -> None:
        """Takes the last tokens away."""
        kept = len(self.ids) - count
        del self.ids[kept:], self.mask[kept:]

    def count(self, sampled: int | None, known: int | None) -> None:
        """Tokens of a turn, and of the whole text with it, as a server says them; None if it does not."""
        self.sampled += sampled or 0
        self.known = known or 0
        self.counted = self.counted and sampled is not None and known is not None

    def say(self, text: str) -> None:
        """A turn of the model."""
        self.text, self.turns = text, self.turns + 1
        self.messages.append({"role": "assistant", "content": text})

    def end(self, reason: StopReason) -> None:
        """No more turns; a trajectory that a limit ended is scored as it is."""
        self.stop = reason
        scores = self.world.score(self.text, complete=reason == "eos")
        self.scores = {name: float(value) for name, value in scores.items()}

    @property
    def counts(self) -> dict[str, float]:
        """What is reported besides the scores."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def score(self) -> float:
        """The score that counts."""
        return self.scores[self.task.headline]
