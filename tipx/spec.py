"""`@spec`: the one way to declare a configurable thing.

A spec is a frozen, validated dataclass named by a `_target_` in `conf/`. Its fields are the schema, the YAML holds the
numbers, `__call__` or `load()` is the behaviour. Unknown keys, wrong types and values out of range raise
`pydantic.ValidationError` when the object is made, which is before any weight is loaded.
"""

from typing import Annotated, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

T = TypeVar("T")

Ratio = Annotated[float, Field(gt=0, le=1)]
"""Share of tokens to keep, in (0, 1]."""
Fraction01 = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Auto = Literal["auto"]


SPECS: set[type] = set()
"""Every spec there is: what a configuration may name in a `_target_`, and nothing else."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make `cls` a frozen keyword-only dataclass that validates its fields and refuses unknown ones."""
    # extra="forbid": without it a typo such as `+selector.kep=0.5` is silently accepted.
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    made = dataclass(cls, frozen=True, kw_only=True, config=config)
    SPECS.add(made)
    return made  # type: ignore[return-value]
