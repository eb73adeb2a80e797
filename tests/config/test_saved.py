"""`tipx train --config FILE`: what `tipx show` printed is the same run; what is of others is refused."""

from pathlib import Path

import pytest
import yaml

from tipx.cli import app
from tipx.config import load, load_saved, resolve, resolve_for_storage
from tipx.display.config_yaml import config_of_overrides, config_yaml
from tipx.errors import ConfigError
from tipx.runs.identity import identity

WORDS = ["model=tiny", "selector=q3_only", "ratio=0.3", "optim.lr=3e-4", "heldout=none", "divergence=topk"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(config_yaml(config_of_overrides(WORDS, None)).plain)
    return path


def test_what_show_prints_is_the_same_run(file: Path) -> None:
    saved = resolve(load_saved(file, ["group=tries"]))
    typed = resolve(load(WORDS))
    assert identity(saved) == identity(typed)
    assert (saved["name"], saved["group"]) == ("mine", "tries")
    other = resolve(load([*WORDS, "seed=1"]))
    assert identity(saved) != identity(other)


def test_a_run_has_its_own_name(file: Path) -> None:
    tree = resolve_for_storage(load([*WORDS, "name=own"]))
    file.write_text(yaml.safe_dump(tree))
    assert load_saved(file, []).name == "own"
    assert load_saved(file, ["name=typed"]).name == "typed"


def test_a_quoted_place_is_read_as_hydra_reads_it(file: Path) -> None:
    assert load_saved(file, ["runs_dir='a+b c'"]).runs_dir == "a+b c"
    assert load_saved(file, ["group=2026"]).group == "2026"


@pytest.mark.parametrize("key", ["group", "runs_dir", "name"])
def test_a_part_of_a_configuration_is_refused(file: Path, key: str) -> None:
    tree = yaml.safe_load(file.read_text())
    del tree[key]
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=f"it has no {key}; give all"):
        load_saved(file, [])


def test_a_value_beside_it_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"ratio=0.1: .*only runs_dir, name, group may be typed; change ratio in"):
        load_saved(file, ["ratio=0.1"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("_target_: tipx.train.experiment.Experiment", "_target_: os.system", "expected a whole configuration"),
        ("trust_remote_code: false", "trust_remote_code: true", "runs code that comes with a model"),
        ("path: embedded:student", 'path: "${oc.env:HOME}"', "model.student.path: .*not filled in"),
    ],
)
def test_what_others_wrote_is_refused(file: Path, old: str, new: str, message: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_saved(file, [])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("loop", 3, "loop: "),
        ("loop", {}, "loop.* required"),
        ("model", None, "model: "),
        ("runs_dir", [1], "runs_dir: "),
    ],
)
def test_a_value_of_another_kind_is_one_line(
    file: Path, key: str, value: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=message):
        app(["train", "--config", str(file)], standalone_mode=False)
    assert list(file.parent.iterdir()) == [file]
