"""Points are composed, checked and named before anything runs."""

import pytest

from tipx.errors import ConfigError
from tipx.sweep.plan import plan_sweep
from tipx.sweep.question import read_sweep, sweep_names

pytestmark = pytest.mark.long(25)


@pytest.mark.parametrize("name", sweep_names(None))
def test_every_sweep_composes_for_one_of_the_papers_pairs_and_for_the_embedded_one(name: str) -> None:
    tiny = plan_sweep([name, "+experiment=tiny", "seed=0"]).points
    assert {point.choices["model"] for point in tiny} == {"tiny"}
    qwen3 = plan_sweep([name, "model=qwen3", "seed=0"]).points
    assert {point.choices["model"] for point in qwen3} == {"qwen3"}
    assert len(qwen3) == len(tiny)


def test_by_itself_a_sweep_has_the_papers_pairs() -> None:
    found = {name: read_sweep(name, None)[0].combinations([]) for name in sweep_names(None)}
    pairs = {name: {w for words in runs for w in words if w.startswith("experiment=")} for name, runs in found.items()}
    assert pairs["table5_main"] == {"experiment=qwen3", "experiment=llama", "experiment=qwen2_5"}
    assert pairs["controls"] == {"experiment=qwen3"}
    assert not any("experiment=tiny" in some for some in pairs.values())


def test_a_point_has_the_directory_that_train_would_give_it(few: list[str]) -> None:
    from tipx.train.start import train_run

    (point,) = plan_sweep(["selector=prefix", *few]).points
    run, _ = train_run(point.overrides, fresh=False, config_dir=None)
    assert run.path.name == point.run
    assert run.provenance()["choices"] == point.choices
    assert run.provenance()["overrides"] == list(point.overrides)


def test_points_that_are_one_run_are_one_point() -> None:
    found = plan_sweep(["model=tiny", "selector=full,soft_or", "ratio=0.5,0.2"]).points
    assert [point.choices["selector"] for point in found] == ["full", "soft_or", "soft_or"]


def test_the_folder_is_the_sweeps_name_or_a_group() -> None:
    few = ["controls", "+experiment=tiny", "seed=0", "selector=full"]
    assert plan_sweep(few).board.folder.name == "controls"
    assert plan_sweep([*few, "group=mine"]).board.folder.name == "mine"
    own, same, other = (plan_sweep(["seed=0,1", *more]).board.folder.name for more in ([], [], ["ratio=0.1"]))
    assert own == same != other
    assert own.startswith("sweep-")


def test_hydras_own_settings_are_the_launchers() -> None:
    planned = plan_sweep(
        ["denominator", "+experiment=tiny", "seed=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    )
    assert planned.settings == ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert not any("hydra" in word for point in planned.points for word in point.overrides)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["controls", "loop.stepz=3"], "loop.stepz: no such key"),
        (["controls", "+experiment=tiny", "loop.steps=0"], "loop.steps"),
        (["selector=full,nope"], "selector=nope: no such choice"),
        (["controls", "table5_main"], "'table5_main': expected one sweep's name"),
        (["seed=interval(0,1)"], "an interval has no end of values"),
        (["model=tiny", "group=a,b"], "a sweep has one folder, these points have 2"),
        (["model=tiny", "group=a/b"], "group: expected the name of one folder"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_sweep(words)
    assert says in str(caught.value)


def test_a_rule_that_is_typed_replaces_those_of_a_sweep() -> None:
    found = plan_sweep(["table5_main", "+experiment=tiny", "seed=0", "selector=prefix"]).points
    assert {(p.choices["selector"]) for p in found} == {"prefix"}
    assert len(found) == 3  # the ratios of table 5, and the 1.0 of its full
