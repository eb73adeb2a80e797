"""`@spec`: the one way to declare a configurable thing.

A spec is a frozen, validated dataclass named by a `_target_` in `conf/`. Its fields are the schema, the YAML holds the
numbers, `__call__` or `load()` is the behaviour. Unknown keys, wrong types and values out of range raise
`pydantic.ValidationError` when the object is made, which is before any weight is loaded.

Every number has two ends, wide enough for any experiment: what lies outside is a slip in typing, and would take hours
or all memory before it showed. Infinity, nan, and true for 1 are no numbers here.
"""

from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from tipx.files.names import wrong_path, wrong_words

T = TypeVar("T")

MOST = 10**7
"""Steps, tokens and the like, at most."""
SMALLEST, LARGEST = 1e-30, 1e12
"""Of positive numbers: what float32, in which models calculate, can hold."""
COLDEST = 0.001
"""The lowest temperature but 0: below it, logits divided by it overflow."""


def no_bool(value: Any) -> Any:
    """The value; raises PydanticCustomError for true and false, which Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("bool_as_number", "Input should be a number")
    return value


def within(what: str, product: int, most: int) -> None:
    """Raises PydanticCustomError for a product of numbers that is more than fits into memory."""
    if product > most:
        raise PydanticCustomError(
            "product", "{what} must be at most {most}, got {product}", {"what": what, "most": most, "product": product}
        )


def conflict(text: str) -> PydanticCustomError:
    """The error for values that do not go together; `text` says which do."""
    return PydanticCustomError("conflict", "{text}", {"text": text})


def at_least(least: float) -> AfterValidator:
    """For a number above 0 that a computer would round to 0."""

    def check(value: float) -> float:
        if value < least:
            raise PydanticCustomError("too_small", "Input should be at least {least}", {"least": f"{least:g}"})
        return value

    return AfterValidator(check)


def greedy_or_warm(value: float) -> float:
    """A temperature; raises PydanticCustomError for one that is above 0 and all but 0."""
    if 0 < value < COLDEST:
        raise PydanticCustomError(
            "too_cold", "Input should be 0, which is greedy, or at least {least}", {"least": COLDEST}
        )
    return value


def path_text(path: str) -> str:
    """The path; raises PydanticCustomError for a blank one, and for what no file system takes."""
    if wrong := wrong_path(path):
        raise PydanticCustomError("path", "{wrong}", {"wrong": wrong})
    return path


def some_text(text: str) -> str:
    """The text; raises PydanticCustomError for a blank one, a long one, or one with control characters."""
    if wrong := wrong_words(text):
        raise PydanticCustomError("path", "{wrong}", {"wrong": wrong})
    return text


Int = Annotated[int, BeforeValidator(no_bool)]
Float = Annotated[float, BeforeValidator(no_bool), Field(allow_inf_nan=False)]

Ratio = Annotated[Float, Field(gt=0, le=1), at_least(1e-6)]
"""Share of tokens to keep."""
TopP = Annotated[Float, Field(gt=0, le=1), at_least(SMALLEST)]
Fraction01 = Annotated[Float, Field(ge=0, le=1)]
Open01 = Annotated[Float, Field(gt=0, lt=1)]
"""A share that is neither none nor all."""
Beta = Annotated[Float, Field(ge=0, lt=1)]
"""How much of a running mean stays."""
Positive = Annotated[Float, Field(gt=0, le=LARGEST), at_least(SMALLEST)]
NonNegative = Annotated[Float, Field(ge=0, le=LARGEST)]
Rate = Annotated[Float, Field(gt=0, le=1000), at_least(SMALLEST)]
"""A learning rate."""
Temperature = Annotated[Float, Field(ge=0, le=100), AfterValidator(greedy_or_warm)]
Seconds = Annotated[Float, Field(gt=0, le=10**6), at_least(0.001)]
Count = Annotated[Int, Field(ge=1, le=MOST)]
Whole = Annotated[Int, Field(ge=0, le=MOST)]
Size = Annotated[Int, Field(ge=1, le=10**6)]
"""Problems that are generated, and kept in memory."""
Samples = Annotated[Int, Field(ge=1, le=10**5)]
"""Answers to one problem."""
Few = Annotated[Int, Field(ge=1, le=1024)]
"""Processes or threads of one machine."""
Retries = Annotated[Int, Field(ge=0, le=1000)]
Seed = Annotated[Int, Field(ge=0, le=2**63 - 1)]
Auto = Literal["auto"]
PathText = Annotated[str, AfterValidator(path_text)]
"""A file, a folder, or an address of one."""
Words = Annotated[str, AfterValidator(some_text)]
"""A name that is not blank."""


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
