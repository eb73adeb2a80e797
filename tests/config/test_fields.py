"""What the source of a spec says of its fields, against what the class itself does."""

import dataclasses
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

import tipx
from tipx.config.fields import FieldFacts, Values, describe_class, describe_fields, read_values
from tipx.errors import ConfigError

ROOT = Path(tipx.__file__).parent


def specs() -> Iterator[str]:
    """The dotted path of every spec there is."""
    for file in sorted(ROOT.rglob("*.py")):
        if file.name != "spec.py" or file.parent != ROOT:
            module = ".".join(("tipx", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
            yield from (
                f"{module}.{name}" for name in re.findall(r"^@spec\nclass (\w+)", file.read_text(), re.MULTILINE)
            )


def loaded(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def test_every_field_of_every_spec_says_what_it_means() -> None:
    wrong = [f"{target}.{name}" for target in specs() for name, one in describe_fields(target).items() if thin(one)]
    assert wrong == [], "a string on the line after the field says what it does, its unit, what null and 0 mean"


def thin(facts: FieldFacts) -> bool:
    """Whether a meaning is missing, is no sentence, or only says the name again."""
    words = re.findall(r"\w+", facts.meaning.lower())
    return len(set(words) - set(facts.name.split("_"))) < 2 or not facts.meaning.endswith((".", "}"))


@pytest.mark.parametrize("meaning", ["", "The seed", "Seed.", "learning rate of a step"])
def test_a_thin_meaning_would_be_seen(meaning: str) -> None:
    assert thin(FieldFacts("seed", Values(), meaning, None))


def test_fields_and_their_ranges_are_those_of_the_classes() -> None:
    assert len(list(specs())) > 50
    for target in specs():
        kind = loaded(target)
        told, hints = describe_fields(target), get_type_hints(kind, include_extras=True)
        assert list(told) == [field.name for field in dataclasses.fields(kind)], target
        for field in dataclasses.fields(kind):
            one = told[field.name]
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            assert (one.default is None) == required, f"{target}.{field.name}"
            if one.values.kinds[:1] in (("whole number",), ("number",)):
                taken = TypeAdapter(hints[field.name])
                for number, allowed in edges(one.values):
                    assert accepts(taken, number) == allowed, f"{target}.{field.name}={number}"


def edges(values: Values) -> list[tuple[float, bool]]:
    """Numbers at both ends of a range and beyond them, and whether they are told to be allowed."""
    if "0, or 0.001 to 100" in values.notes:
        return [(-1, False), (0, True), (0.0005, False), (0.001, True), (100, True), (101, False)]
    assert values.low is not None
    assert values.high is not None
    low, high = values.low, values.high
    return [(low - 1, False), (low, not values.above), (high, not values.below), (high + max(1, high // 100), False)]


def accepts(taken: TypeAdapter[Any], number: float) -> bool:
    try:
        taken.validate_python(number)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("target", "name", "kind", "limits"),
    [
        ("tipx.selectors.topk.TopK", "ratio", "number", "above 0, at most 1"),
        ("tipx.rollout.hf.HFRollouts", "temperature", "number", "0, or 0.001 to 100"),
        ("tipx.train.experiment.Loop", "keep_checkpoints", "whole number", "2 to 10,000,000"),
        ("tipx.train.experiment.Loop", "processes", "whole number or null", "1 to 1,024"),
        ("tipx.train.experiment.Loop", "denominator", "choice", "kept, valid"),
        ("tipx.train.optim.AdamW", "betas", "list of 2 numbers", "at least 0, below 1"),
        ("tipx.train.optim.AdamW", "clip", "number", "above 0, at most 1e12"),
        ("tipx.vocab.Vocab", "chunk", "whole number or auto", "1 to 10,000,000"),
        ("tipx.models.pair.Template", "chat", "true, false or auto", ""),
        ("tipx.models.pair.Teacher", "path", "path", ""),
        ("tipx.evals.job.EvalJob", "dtype", "choice", "float32, bfloat16, float16, auto"),
        ("tipx.evals.job.EvalJob", "seed", "whole number", "0 to 2^63 - 1"),
        ("tipx.agents.server.ServedAgents", "timeout_s", "number", "0.001 to 1,000,000"),
        ("tipx.agents.script.Script", "turns", "list of lists of texts or null", ""),
        ("tipx.selectors.quadrant.InQuadrant", "quadrant", "whole number", "1 to 4"),
    ],
)
def test_types_and_ranges_in_words(target: str, name: str, kind: str, limits: str) -> None:
    values = describe_fields(target)[name].values
    assert (values.type, values.range) == (kind, limits)


def test_inherited_fields_come_first() -> None:
    assert list(describe_fields("tipx.models.pair.Teacher"))[-1] == "offload"
    assert describe_class("tipx.models.pair.Teacher") == "A model that is never trained."


def test_a_class_of_a_users_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_fields.py").write_text(
        "from tipx.spec import Open01 as Share, spec\nMOST = 3\n\n@spec\nclass Mine:\n"
        '    part: Share | None\n    """What is taken."""\n    plain: int = 5\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    part, plain = describe_fields("mine_for_fields.Mine").values()
    assert (part.values.type, part.values.range, part.meaning) == (
        "number or null",
        "above 0, below 1",
        "What is taken.",
    )
    assert (plain.default, plain.meaning) == ("5", "")


@pytest.mark.parametrize("target", ["tipx.train.experiment.Loops", "tipx.nowhere.Loop", "nowhere.Loop"])
def test_no_such_class(target: str) -> None:
    with pytest.raises(ConfigError, match="no such class"):
        describe_fields(target)


def test_what_is_no_annotation_of_a_spec() -> None:
    import ast

    with pytest.raises(ConfigError, match="mend the class"):
        read_values(ast.parse("set[int]", mode="eval").body, "tipx.spec")
