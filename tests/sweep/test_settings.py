"""Mistakes in Hydra's own settings are one line; none of them starts anything."""

from pathlib import Path
from typing import Any

import pytest

from tipx.config import launch
from tipx.config.launch import explain_launcher_error, quote_value
from tipx.errors import ConfigError
from tipx.sweep.manage import run_sweep
from tipx.sweep.plan import plan_sweep

SAID: list[tuple[str, str]] = []


def task(cfg: Any) -> None:
    SAID.append((cfg.run, cfg.folder))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["hydra/launcher=nope"], "hydra/launcher=nope: no such launcher; there are basic, joblib, submitit_local"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobz=2"], "Could not override 'hydra.launcher.n_jobz'"),
        (["hydra/launcher=submitit_slurm"], "no sbatch here"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], says: str
) -> None:
    monkeypatch.setenv("PATH", "")
    planned = plan_sweep(["model=tiny", f"runs_dir={tmp_path / 'runs'}", *settings])
    with pytest.raises(ConfigError) as caught:
        run_sweep(planned, print, retry_failed=False)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_is_not_there_is_named_with_its_extra() -> None:
    said = "Could not find 'hydra/launcher/ray'\n\nAvailable options"
    assert explain_launcher_error(said, ["hydra/launcher=ray"]).endswith("not installed; pip install 'tipx[ray]'")


def test_any_name_and_folder_reach_the_task(tmp_path: Path) -> None:
    names, folder = ["a b", "it's", "x=1,2", "back\\slash\\"], tmp_path / "a, 'b' (c)"
    launch(task, names, folder, [], None)
    assert [run for run, _ in SAID] == names
    assert {where for _, where in SAID} == {str(folder)}
    SAID.clear()


def test_quotes_survive() -> None:
    assert quote_value("it's") == r"'it\'s'"
