"""`@spec`: a value that is checked when it is made and never changes."""

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tipx import spec as module
from tipx.spec import Auto, Count, Fraction01, NonNegative, Positive, Ratio, Whole, spec


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
    "Ratio": (Ratio, [1e-9, 0.5, 1], [0, -0.1, 1.0001, float("nan"), float("inf")]),
    "Fraction01": (Fraction01, [0, 0.5, 1], [-1e-9, 1.0001, float("nan")]),
    "Positive": (Positive, [1e-12, 7], [0, -1, float("nan")]),
    "NonNegative": (NonNegative, [0, 7.5], [-1e-12, float("nan")]),
    "Count": (Count, [1, 10**9], [0, -1, 1.5]),
    "Whole": (Whole, [0, 1], [-1, 0.5]),
    "Auto": (Auto, ["auto"], ["", "AUTO", 1]),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds(name: str) -> None:
    kind, inside, outside = BOUNDS[name]
    adapter = TypeAdapter(kind)
    for value in inside:
        assert adapter.validate_python(value) == value
    for value in outside:
        with pytest.raises(ValidationError):
            adapter.validate_python(value)


def test_every_kind_of_number_is_tried_here() -> None:
    public = {n for n, v in vars(module).items() if n[0].isupper() and not isinstance(v, type) and n != "T"}
    assert public - {"Annotated", "Literal", "TypeVar", "ConfigDict", "Field"} == BOUNDS.keys()
