"""`pip install` of a built wheel works away from the checkout: code, `conf/` and the embedded pair are all inside."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.long(20)

PROJECT = Path(__file__).parent.parent
FOLDERS, ROLES = ("conf", "sweeps", "reports"), ("teacher", "student")
# What a wheel is made from: all that is under version control, and nothing that a run or a tool left there.
ANYWHERE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
AT_TOP = {"runs", "outputs", "wandb", "build", "dist", "shared"}
TRAIN = ["loop.steps=2", "loop.prompts=4", "rollout.max_new_tokens=16", "data.size=16", "hardware.device=cpu"]
TRAIN += ["eval.limit=4", "eval.n=1", "eval.sampling.max_new_tokens=16"]


def run(*command: str | Path, cwd: Path) -> str:
    """Its stdout; without the network, this checkout, or anything else that could lend what the wheel lacks."""
    lent = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "COLUMNS")
    env = {key: value for key, value in os.environ.items() if key not in lent}
    env |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def left_overs(folder: str, names: list[str]) -> set[str]:
    return ANYWHERE(folder, names) | (AT_TOP if Path(folder) == PROJECT else set())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PROJECT, folder / "source", ignore=left_overs)
    shutil.copy(PROJECT / ".gitignore", folder / "source")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("tipx-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel, which also sees the packages tipx depends on."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    # The .pth files of a folder that is itself named in one are not read: the editable tipx there stays out of sight.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_it_holds_the_code_every_yaml_and_the_pair(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = {p.relative_to(PROJECT).as_posix() for p in (PROJECT / "tipx").rglob("*") if p.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    yaml = {f"tipx/{p.relative_to(PROJECT).as_posix()}" for d in FOLDERS for p in (PROJECT / d).rglob("*.yaml")}
    assert (len(package) > 100, len(yaml) > 60) == (True, True)
    weights = {
        f"tipx/embedded/{pair}/pair/{role}/model.safetensors" for pair in ("arithmetic", "agent") for role in ROLES
    }
    assert weights | {"tipx/report/page.html.j2", "tipx/inspect/page.html"} <= package
    assert inside == package | yaml


def test_it_runs_elsewhere(python: Path, tmp_path: Path) -> None:
    where = run(python, "-c", "import tipx, tipx.config as c; print(tipx.__file__); print(c.conf_dir())", cwd=tmp_path)
    environment = python.parent.parent
    assert all(Path(line).is_relative_to(environment) for line in where.splitlines())
    tipx = python.parent / "tipx"
    assert "embedded" in run(tipx, "list", "models", cwd=tmp_path).lower()
    out = run(tipx, "train", *TRAIN, cwd=tmp_path)
    (summary,) = tmp_path.glob("runs/solo/tiny-soft_or-*/summary.json")
    assert summary.parent.name in out
    assert "finished" in run(tipx, "runs", cwd=tmp_path)
    run(tipx, "inspect", summary.parent.name, cwd=tmp_path)
    assert "<script>" in (summary.parent / "inspect" / "000002.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
