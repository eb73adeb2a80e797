"""Overrides that name several values, written out: one list of overrides for each combination."""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from hydra.errors import HydraException, OverrideParseException

from tipx.config.compose import SYNTAX, options
from tipx.config.explain import shorten
from tipx.config.typed import check_typed
from tipx.errors import ConfigError

MOST_POINTS = 10_000
"""Of a sweep."""


def expand_overrides(overrides: Sequence[str], config_dir: Path | None = None) -> list[list[str]]:
    """Every combination, in the order typed, the last override varying fastest.

    Several values are `a=1,2`, `a=choice(1,2)`, `a=range(0,3)`, or `selector=glob(q*)` of a config group; `a=[1,2]` is
    one value, a list. Without any, the overrides come back as the only combination. Raises ConfigError for what Hydra
    cannot read, for an interval, which has no end of values, and for a key that is given twice when one varies.
    """
    parsed = [parse_override(override) for override in overrides]
    keys = [one.get_key_element() for one in parsed]
    for one, key in zip(parsed, keys, strict=True):
        if one.is_sweep_override() and keys.count(key) > 1:
            raise ConfigError(f"{key}: given {keys.count(key)} times, once with several values; give {key}= once")
    several = [override_values(one, config_dir) for one in parsed]
    check_points(math.prod(len(some) for some in several), overrides)
    return [list(combination) for combination in product(*several)]


def check_points(points: float, overrides: Sequence[str]) -> None:
    """Raises ConfigError for more points than a sweep may have."""
    if points > MOST_POINTS:
        said = shorten(" ".join(overrides))
        raise ConfigError(f"{said}: stands for {points:,.0f} points, a sweep has at most {MOST_POINTS:,}; name fewer")


def parse_override(override: str) -> Override:
    """One override, as Hydra reads it."""
    check_typed(override)
    try:
        return OverridesParser.create().parse_override(override)
    except (OverrideParseException, HydraException) as error:
        raise ConfigError(f"cannot read {override!r}; {SYNTAX}") from error


def override_values(override: Override, config_dir: Path | None) -> list[str]:
    """The overrides of one value each that one override stands for; equal ones once."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key, typed = override.get_key_element(), str(override.input_line)
    if not override.is_discrete_sweep():
        raise ConfigError(f"{typed}: an interval has no end of values; name them: {key}=1,2 or {key}=range(1,9,2)")
    pattern: object = override.value()
    if isinstance(pattern, RangeSweep):
        check_points(range_length(pattern, typed), [typed])
    if isinstance(pattern, Glob):
        names = pattern.filter(options(key, config_dir))
    else:
        names = [str(value) for value in override.sweep_string_iterator()]
    if not names:
        raise ConfigError(f"{typed}: stands for no value; expected {key}=A,B or {key}=range(FROM,TO)")
    return [f"{key}={name}" for name in dict.fromkeys(names)]


def range_length(span: RangeSweep, typed: str) -> float:
    """How many numbers a range holds; raises ConfigError where it has no end, and for a step of 0."""
    start, stop, step = (float(number) for number in (span.start or 0, span.stop or 0, span.step))
    if not all(map(math.isfinite, (start, stop, step))) or step == 0:
        raise ConfigError(f"{typed}: expected numbers with an end and a step that is not 0, as in range(0,10,2)")
    return max((stop - start) / step, 0)


def key_of(override: str) -> str:
    """The key, or config group, that an override sets, without `+` or `~`; raises ConfigError."""
    return str(parse_override(override).key_or_group)
