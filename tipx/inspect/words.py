"""What was typed after `tipx inspect RUN`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tipx.errors import ConfigError


@dataclass(frozen=True)
class Asked:
    """The words: `step=50 rollout=3`, and the rest, which are overrides."""

    step: int | None
    rollout: int
    overrides: list[str]

    @classmethod
    def of(cls, words: Sequence[str], *, rules: bool) -> "Asked":
        """Raises ConfigError for a word that is neither; with `rules` any other word is an override."""
        numbers: dict[str, int] = {}
        overrides: list[str] = []
        for word in words:
            key, _, value = word.partition("=")
            if key in ("step", "rollout"):
                if not re.fullmatch("[0-9]{1,9}", value):
                    raise ConfigError(f"{word}: expected a whole number, e.g. {key}=1")
                numbers[key] = int(value)
            elif rules:
                overrides.append(word)
            else:
                raise ConfigError(f"{word}: expected step=N or rollout=N; rules to try go with --compare")
        if rules and not overrides:
            raise ConfigError("--compare: expected rules, e.g. --compare selector=soft_or,q3_only ratio=0.2")
        return cls(numbers.get("step"), numbers.get("rollout", 1), overrides)
