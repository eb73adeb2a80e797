"""Words as they are typed, before Hydra reads them: a long one takes it minutes, a deep one its stack."""

from tipx.errors import ConfigError

LONGEST = 50_000
"""Characters of one override."""
DEEPEST = 50
"""Brackets inside each other."""


def check_typed(override: str) -> None:
    """Raises ConfigError for a word that is too long or too deep, holds a NUL character, or names no key."""
    if not override.lstrip("+~").split("=")[0].strip("@ "):
        raise ConfigError(f"cannot read {override!r}; expected KEY=VALUE")
    if len(override) > LONGEST:
        raise ConfigError(f"{override[:40]}...: expected at most {LONGEST} characters, got {len(override)}")
    if "\0" in override:
        raise ConfigError(f"{override!r:.100}: expected no NUL character; type it without")
    depth = 0
    for char in override:
        depth += (char in "[{(") - (char in "]})")
        if depth > DEEPEST:
            raise ConfigError(f"{override[:40]}...: expected at most {DEEPEST} brackets inside each other")
