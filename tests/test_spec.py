"""`@spec`: a value that is checked when it is made and never changes."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pytest
from pydantic import Field, TypeAdapter, ValidationError

import tipx
from tipx import spec as module
from tipx.spec import (
    Auto,
    Beta,
    Count,
    Few,
    Float,
    Fraction01,
    Int,
    NonNegative,
    Open01,
    PathText,
    Positive,
    Rate,
    Ratio,
    Retries,
    Samples,
    Seconds,
    Seed,
    Size,
    Temperature,
    TopP,
    Whole,
    Words,
    spec,
)


@spec
class Inner:
    """A part."""

    size: Count


@spec
class Outer:
    """A whole."""

    inner: Inner
    name: str
    share: Ratio
    chunk: Count | Auto
    note: str | None


GOOD: dict[str, Any] = {"inner": Inner(size=1), "name": "x", "share": 0.5, "chunk": "auto", "note": None}


def test_it_holds_its_values_and_equals_its_like() -> None:
    one = Outer(**GOOD)
    assert dataclasses.asdict(one) == GOOD | {"inner": {"size": 1}}
    assert one == Outer(**GOOD)
    assert one != Outer(**GOOD | {"share": 0.25})
    assert hash(one) == hash(Outer(**GOOD))


def test_it_never_changes() -> None:
    one = Outer(**GOOD)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "y"  # type: ignore[misc]
    assert dataclasses.replace(one, name="y").name == "y"
    with pytest.raises(ValidationError):
        dataclasses.replace(one, share=2.0)


def test_every_field_is_named_and_given() -> None:
    with pytest.raises(ValidationError, match="unexpected_positional_argument"):
        Inner(1)  # type: ignore[call-arg]
    for missing in GOOD:
        with pytest.raises(ValidationError, match=missing):
            Outer(**{key: value for key, value in GOOD.items() if key != missing})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="shair"):
        Outer(**GOOD, shair=0.5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inner", {"sise": 1}),
        ("inner", 3),
        ("inner", None),
        ("name", 3),
        ("name", None),
        ("share", "half"),
        ("chunk", "Auto"),
        ("chunk", 1.5),
        ("chunk", None),
        ("note", 1),
    ],
)
def test_a_wrong_type_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Outer(**GOOD | {field: value})
    assert {error["loc"][0] for error in caught.value.errors()} == {field}


# Just inside and just outside of each bound.
BOUNDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "Int": (Int, [0, -5, 2**70], [1.5, "many"]),
    "Float": (Float, [0, -5.5, 1e300], ["half"]),
    "Ratio": (Ratio, [1e-6, 0.5, 1], [0, -0.1, 9e-7, 1e-300, 1.0001]),
    "TopP": (TopP, [1e-9, 1], [0, 1e-300, 1.0001]),
    "Fraction01": (Fraction01, [0, 0.5, 1], [-1e-9, 1.0001]),
    "Open01": (Open01, [1e-9, 0.999], [0, 1]),
    "Beta": (Beta, [0, 0.999], [-0.1, 1]),
    "Positive": (Positive, [1e-12, 7, 1e12], [0, -1, 1e-300, 1.1e12]),
    "NonNegative": (NonNegative, [0, 7.5, 1e12], [-1e-12, 1.1e12]),
    "Rate": (Rate, [1e-12, 1000], [0, -1, 1e-300, 1001]),
    "Temperature": (Temperature, [0, 0.001, 100], [-1, 1e-300, 0.0009, 101]),
    "Seconds": (Seconds, [0.001, 10**6], [0, 0.0009, 1.1e6]),
    "Count": (Count, [1, 10**7, 1e3], [0, -1, 1.5, 10**7 + 1, 1e12]),
    "Whole": (Whole, [0, 1, 10**7], [-1, 0.5, 10**7 + 1]),
    "Size": (Size, [1, 10**6], [0, 10**6 + 1]),
    "Samples": (Samples, [1, 10**5], [0, 10**5 + 1, 1e9]),
    "Few": (Few, [1, 1024], [0, 1025]),
    "Retries": (Retries, [0, 1000], [-1, 1001]),
    "Seed": (Seed, [0, 2**63 - 1], [-1, 2**63]),
    "Auto": (Auto, ["auto"], ["", "AUTO", 1]),
    "PathText": (PathText, ["a b", "/x/ü", "x" * 255], ["", " \t", "a\0b", "a\nb", "x" * 256, "\udcff", "x/" * 1751]),
    "Words": (Words, ["a b"], ["", " ", "a\0b"]),
}
NUMBERS = BOUNDS.keys() - {"Auto", "PathText", "Words"}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(name: str) -> None:
    kind, inside, outside = BOUNDS[name]
    adapter = TypeAdapter(kind)
    for value in inside:
        assert adapter.validate_python(value) == value
    for value in outside:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_what_is_no_number(name: str) -> None:
    for value in (math.inf, -math.inf, math.nan, True, False, None, "", "x", [], 10**5000):
        with pytest.raises(ValidationError):
            TypeAdapter(Annotated[BOUNDS[name][0], Field(lt=2**80)]).validate_python(value)


def test_every_kind_of_number_is_tried_here() -> None:
    # Two bounds on numbers of Python's own would be without the ends that all others have.
    public = {n for n, v in vars(module).items() if n[0].isupper() and not isinstance(v, type | int | float | TypeVar)}
    assert public - {"Annotated", "Literal", "TypeVar", "ConfigDict", "Any", "Field", "SPECS"} == BOUNDS.keys()


def specs() -> Iterator[type]:
    """Every one that there is."""
    for file in Path(tipx.__file__).parent.rglob("*.py"):
        if "@spec" in (text := file.read_text()) and file != Path(module.__file__):
            dotted = ".".join(("tipx", *file.relative_to(Path(tipx.__file__).parent).with_suffix("").parts))
            here = import_module(dotted.removesuffix(".__init__"))  # as which it would be a second module
            for name in re.findall(r"@spec\nclass (\w+)", text):
                yield getattr(here, name)


def numbers(kind: Any) -> Iterator[Any]:
    """The numbers in a type, with their bounds."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if plain in (int, float):
        yield kind
    elif plain is not kind or get_origin(kind) is not Literal:
        for part in [plain] if plain is not kind else get_args(kind):
            yield from numbers(part)


def test_no_field_is_a_number_without_ends() -> None:
    found = set()
    for one in specs():
        for field, kind in get_type_hints(one, include_extras=True).items():
            for number in numbers(kind):
                for value in (math.inf, math.nan, True, 10**20, -(10**20)):
                    with contextlib.suppress(ValidationError):
                        TypeAdapter(number).validate_python(value)
                        found.add(f"{one.__name__}.{field}")
    # A checkpoint's number is looked up among those there are, and a baseline's values among those of a table.
    assert found == {"EvalJob.checkpoint", "Report.baseline"}
