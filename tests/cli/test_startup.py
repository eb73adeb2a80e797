"""What only reads and prints starts fast: it never loads the GPU stack."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GPU_STACK = {"torch", "transformers", "accelerate", "scipy", "mpmath", "wandb"}
COMPOSE = {"hydra", "omegaconf"}
FILES = {"pandas", "matplotlib"}

PROBE = """
import json, sys
sys.argv = ["tipx", *sys.argv[1:]]
try:
    if len(sys.argv) > 2 and sys.argv[1] == "import":
        __import__(sys.argv[2])
    else:
        from tipx.cli import main
        main()
except SystemExit:
    pass
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def loaded(folder: Path, *args: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *args], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("args", ["compare a b", "import tipx.report.comparison"])
def test_what_compares_results_loads_neither_torch_nor_hydra(args: str, tmp_path: Path) -> None:
    assert not loaded(tmp_path, *args.split()) & ((GPU_STACK - {"scipy"}) | COMPOSE)


@pytest.mark.parametrize("args", ["--help", "train --help", "eval --help", "nonsense"])
def test_help_loads_nothing_heavy(args: str, tmp_path: Path) -> None:
    assert not loaded(tmp_path, *args.split()) & (GPU_STACK | COMPOSE | FILES)


@pytest.mark.parametrize("args", ["list", "show", "show selector=nope"])
def test_what_composes_loads_no_gpu_stack(args: str, tmp_path: Path) -> None:
    assert not loaded(tmp_path, *args.split()) & GPU_STACK


@pytest.mark.parametrize(
    "args",
    ["runs", "report", "report x", "import tipx.report", "import tipx.display.tables", "import tipx.display.plots"],
)
def test_what_reads_runs_loads_neither_torch_nor_hydra(args: str, tmp_path: Path) -> None:
    assert not loaded(tmp_path, *args.split()) & (GPU_STACK | COMPOSE)


def test_a_list_of_runs_draws_nothing(tmp_path: Path) -> None:
    assert "matplotlib" not in loaded(tmp_path, "runs")


FIRST_STEP = """
import gc, json, os, sys
from tipx.train import loop

def first(*_):
    seen = {"modules": sorted({name.split(".")[0] for name in sys.modules}), "gc": gc.isenabled()}
    print(json.dumps(seen | {"frozen": gc.get_freeze_count()}), file=sys.stderr, flush=True)
    os._exit(0)

loop.one_step = first
sys.argv = ["tipx", "train", "experiment=tiny", "loop.steps=1", "loop.eval_every=0", "data.size=64"]
from tipx.cli import main
main()
"""
UNNEEDED = {"matplotlib", "tabulate", "wandb", "tensorboard", "trackio", "sklearn", "datasets", "vllm", "IPython"}


def test_training_begins_without_what_only_its_end_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=240
    )
    seen = json.loads(done.stderr.splitlines()[-1])
    assert {"torch", "transformers"} <= {*seen["modules"]}
    assert not {*seen["modules"]} & UNNEEDED
    # What was imported is left out of the search for garbage, which goes on.
    assert seen["gc"]
    assert seen["frozen"] > 100_000
