"""A configuration makes specs, and nothing else: whoever wrote it runs no code and reads no environment here."""

from pathlib import Path
from typing import Any

import pytest

from tipx.config import build, environment_texts, inherit, load, rebuild, resolve, resolve_for_storage
from tipx.config.construct import allowed_packages
from tipx.errors import ConfigError
from tipx.evals.exam import hide_environment_texts

WRITE = {"_target_": "pathlib.Path.write_text", "self": {"_target_": "pathlib.Path", "_args_": ["canary"]}, "data": "x"}
HOSTILE: dict[str, Any] = {
    "a function": "os.system",
    "a method": "pathlib.Path.write_text",
    "a class of another package": "subprocess.Popen",
    "a function of tipx": "tipx.files.atomic.remove",
    "a class of tipx that is no spec": "tipx.runs.directory.Run",
    "a module of tipx": "tipx.files.atomic",
    "what a module of tipx imported": "tipx.files.atomic.shutil.rmtree",
    "builtins": "builtins.eval",
    "a number": 7,
    "a list": ["os.system"],
    "nothing": None,
    "an empty text": "",
    "no dot": "eval",
    "dots alone": "tipx..spec",
    "another name for a part": "tipx.selectors.topk.TopK.__init__",
    "what is not there": "tipx.selectors.topk.Nothing",
    "a module that is not there": "tipx.nothing.Nothing",
}


def run(target: Any) -> dict[str, Any]:
    """A whole configuration with one part that is not what it should be."""
    tree = resolve(load([]))
    tree["selector"]["score"] = {"_target_": target}
    return tree


@pytest.mark.parametrize("target", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_but_a_spec_is_made(target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^selector\.score\._target_"):
        rebuild(run(target))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["selector", "extra", "a list"])
def test_what_lies_deep_is_seen_before_anything_is_made(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = resolve(load([]))
    places: dict[str, Any] = {"selector": WRITE, "extra": {"deep": {"er": WRITE}}, "a list": [[1, {"x": WRITE}]]}
    tree["selector"]["score"]["power"] = places[where]
    with pytest.raises(ConfigError, match=r"_target_=pathlib\.Path\.write_text: not of tipx, so it is not run"):
        rebuild(tree)
    assert not list(tmp_path.iterdir())


def test_an_override_goes_through_the_same_door() -> None:
    with pytest.raises(ConfigError, match=r"^selector\.score\._target_=os\.system: not of tipx"):
        build(load(["selector.score._target_=os.system"]))
    with pytest.raises(ConfigError, match=r"^optim\._target_=torch\.optim\.AdamW: not of tipx"):
        build(load(["optim._target_=torch.optim.AdamW"]))


def test_a_package_is_trusted_where_the_users_own_folder_names_it(tmp_path: Path) -> None:
    assert allowed_packages(None) == {"tipx"}
    (tmp_path / "selector").mkdir()
    (tmp_path / "selector" / "mine.yaml").write_text(
        "# Mine\nscore:\n  '_target_': \"my_rules.x.Y\"\n# _target_: no.Z\n"
    )
    assert allowed_packages(tmp_path) == {"tipx", "my_rules"}
    # Trusted or not, what is no spec is not called.
    (tmp_path / "selector" / "other.yaml").write_text("_target_: subprocess.Popen\n")
    with pytest.raises(ConfigError, match="is no spec"):
        rebuild(run("subprocess.Popen"), tmp_path)


def test_hydras_own_words_are_no_fields() -> None:
    tree = run("tipx.selectors.entropy.Entropy")
    for word in ("_partial_", "_args_", "_recursive_", "_convert_"):
        tree["selector"]["score"] = {"_target_": "tipx.selectors.entropy.Entropy", word: True}
        with pytest.raises(ConfigError, match=rf"^selector\.score\.{word}: no such key"):
            rebuild(tree)


# --- the environment -------------------------------------------------------------------------------------------------


def test_text_of_the_environment_is_used_and_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPX_TEST_SECRET", "hunter2")
    monkeypatch.setenv("TIPX_TEST_SEED", "7")
    typed = ["logger=wandb", "logger.entity=${oc.env:TIPX_TEST_SECRET}", "seed=${oc.env:TIPX_TEST_SEED}"]
    typed += ["logger.project='x-${oc.env:TIPX_TEST_SECRET}'", "data=file", "data.path=${oc.env:TIPX_TEST_NO,/default}"]
    cfg = load(typed)
    assert build(cfg).logger.entity == "hunter2"
    kept = resolve_for_storage(cfg)
    assert kept["logger"]["entity"] == "${oc.env:TIPX_TEST_SECRET}"
    assert kept["logger"]["project"] == "x-${oc.env:TIPX_TEST_SECRET}"
    assert kept["data"]["path"] == "${oc.env:TIPX_TEST_NO,/default}"
    assert "hunter2" not in str(kept)
    # A number is no secret, and a run is told by its seed.
    assert (kept["seed"], resolve(cfg)["logger"]["entity"]) == (7, "hunter2")
    assert resolve_for_storage(load(["seed=3"])) == resolve(load(["seed=3"]))


def test_results_do_not_say_what_the_environment_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPX_TEST_SECRET", "http://user:hunter2@host")
    cfg = load(["eval=agent_chat", "eval.sampling.server=${oc.env:TIPX_TEST_SECRET}"], "eval")
    unread = environment_texts(cfg)
    assert unread == {"http://user:hunter2@host": "${oc.env:TIPX_TEST_SECRET}"}
    result = {"server": "http://user:hunter2@host", "agent": {"x": ["http://user:hunter2@host", 1]}, "mean": 0.5}
    said = hide_environment_texts(result, unread)
    assert said == {
        "server": "${oc.env:TIPX_TEST_SECRET}",
        "agent": {"x": ["${oc.env:TIPX_TEST_SECRET}", 1]},
        "mean": 0.5,
    }


def test_a_stored_text_is_not_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPX_TEST_SECRET", "hunter2")
    tree = resolve(load([]))
    tree["model"]["template"]["instruction"] = "say ${oc.env:TIPX_TEST_SECRET} ${seed}"
    assert rebuild(tree).model.template.instruction == "say ${oc.env:TIPX_TEST_SECRET} ${seed}"


def test_what_a_run_lends_is_not_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPX_TEST_SECRET", "hunter2")
    template = resolve(load([], "eval"))["template"] | {"instruction": "${oc.env:TIPX_TEST_SECRET}"}
    cfg = load([], "eval")
    with pytest.raises(ConfigError, match=r"^template\.instruction: the run has .* which is not filled in; give it"):
        inherit(cfg, {"template": template}, [])
    inherit(cfg, {"template": template}, ["template.instruction=' .'"])
    with pytest.raises(ConfigError, match=r"has the key 'a\.b', which tipx has not"):
        inherit(cfg, {"template": {"a.b": 1}}, [])
