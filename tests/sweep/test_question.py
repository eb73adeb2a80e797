"""A sweep file becomes a list of overrides for each run."""

from pathlib import Path

import pytest

from tipx.errors import ConfigError
from tipx.sweep.question import SweepFile, read_sweep, sweep_names

Q = SweepFile(
    base=("loop.steps=5",),
    axes=("experiment=qwen3,llama", "seed=0,1"),
    variants=(("selector=full",), ("selector=soft_or", "ratio=0.5,0.2")),
)


def runs(*typed: str) -> list[str]:
    return [" ".join(words) for words in Q.combinations(typed)]


def test_every_variant_at_every_combination_of_the_axes_and_a_whole_table_first() -> None:
    assert len(runs()) == 2 * 2 * 3
    assert runs()[:3] == [
        "loop.steps=5 selector=full experiment=qwen3 seed=0",
        "loop.steps=5 selector=soft_or ratio=0.5 experiment=qwen3 seed=0",
        "loop.steps=5 selector=soft_or ratio=0.2 experiment=qwen3 seed=0",
    ]
    assert {line.split()[-2] for line in runs()[:6]} == {"experiment=qwen3"}


@pytest.mark.parametrize("pair", ["+experiment=tiny", "experiment=tiny", "model=tiny"])
def test_a_pair_that_is_typed_replaces_those_of_the_file(pair: str) -> None:
    assert runs(pair, "seed=7") == [
        f"loop.steps=5 selector=full {pair} seed=7",
        f"loop.steps=5 selector=soft_or ratio=0.5 {pair} seed=7",
        f"loop.steps=5 selector=soft_or ratio=0.2 {pair} seed=7",
    ]


def test_what_is_typed_replaces_base_and_variants_too_and_may_be_several() -> None:
    typed = runs("model=tiny", "ratio=0.1", "loop.steps=9", "seed=range(0,3)")
    assert len(typed) == 3 * 2
    assert typed[1] == "selector=soft_or model=tiny ratio=0.1 loop.steps=9 seed=0"


def test_overrides_alone_are_a_grid() -> None:
    assert SweepFile().combinations(["a=1,2", "b=3"]) == [["a=1", "b=3"], ["a=2", "b=3"]]


def test_each_file_that_ships_says_what_it_asks() -> None:
    assert sweep_names(None)
    for name in sweep_names(None):
        question, first = read_sweep(name, None)
        assert len(first) > 20
        assert len(question.combinations(["+experiment=tiny"])) >= 4


def test_a_users_own_folder_and_file_come_first(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    mine = tmp_path / "sweeps" / "controls.yaml"
    mine.write_text("# Mine\nvariants: [[selector=full]]\n")
    assert read_sweep("controls", tmp_path)[1] == read_sweep(str(mine), None)[1] == "Mine"
    assert "table5_main" in sweep_names(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("axis: [a=1]", "axis: unexpected keyword argument, got ['a=1']; a sweep has base, axes and variants"),
        ("axes: a=1", "axes: input should be a valid tuple, got 'a=1'"),
        ("variants: [selector=full]", "variants.0: input should be a valid tuple, got 'selector=full'"),
        ("- a\n- b", "expected a mapping"),
        ("axes: [", "is no YAML"),
    ],
)
def test_a_file_that_is_none_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_sweep(str(file), None)
    assert str(file) in str(caught.value)
    assert says in str(caught.value)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no sweep is called 'tabel5'; there are controls, .*table5_main"):
        read_sweep("tabel5", None)
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.yaml: No such file"):
        read_sweep("nowhere.yaml", None)
