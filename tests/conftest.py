"""Small worlds for the tests: one thread, no network, a pair of random models with the embedded task's tokenizer.

What is imported here is imported by the process that only hands out tests, too, before it starts the others.
"""

import gc
import os
import pickle
import shutil
import sys
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "offline",
}

# matplotlib keeps a list of fonts in the user's home, if it is not told another place.
os.environ["MPLCONFIGDIR"] = str(Path(sys.prefix) / "var" / "matplotlib")

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from jaxtyping import install_import_hook

from tests import warm

# Shapes and dtypes in signatures are checked while the tests run, in the modules where tensors flow.
SHAPED = "selectors divergences vocab rollout noise types train.batching train.step_metrics train.trainer train.samples"
install_import_hook(
    [f"tipx.{name}" for name in SHAPED.split()],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)


@pytest.hookimpl(trylast=True)  # after those that are not asked for are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker starts with long files, so that all end together: what is left to share in the end is short.

    A worker is first given as many tests as any other, in their order.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    short, files = list[pytest.Item](), dict[tuple[float, Path], list[pytest.Item]]()
    for item in items:
        mark = item.get_closest_marker("long")
        (short if mark is None else files.setdefault((-mark.args[0], item.path), [])).append(item)
    size, ordered, long = -(-len(items) // workers), list[pytest.Item](), sorted(files)
    for worker in range(workers):
        own = [item for file in long[worker::workers] for item in files[file]]
        left = max(0, size - len(own))
        ordered, short = [*ordered, *own, *short[:left]], short[left:]
    items[:] = [*ordered, *short]


def pytest_collection_finish() -> None:
    """What is imported stays: it need not be looked through whenever a test collects its garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def save_model(folder: Path, seed: int, hidden: int = 16, layers: int = 1, vocab: int | None = None) -> Path:
    """A random Qwen3 of the given size with the embedded task's tokenizer, as a transformers folder."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from tipx.embedded.arithmetic.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=vocab or len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=hidden // 2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_hardware(**more: Any) -> Any:
    """One CPU process with one thread."""
    from tipx.processes import Hardware

    plain = {
        "device": "cpu",
        "micro_batch": 1,
        "gradient_checkpointing": False,
        "threads": 1,
        "tf32": False,
        "timeout_min": 1,
    }
    alone = {"strategy": "ddp", "fsdp_size": "auto", "reshard_after_forward": True, "cpu_offload": False}
    return Hardware(**(plain | alone | {"gather_dtype": "auto"} | more))


@pytest.fixture(scope="session", autouse=True)
def composed_once() -> Iterator[None]:
    """Hydra composes the same words once, for `conf/` does not change. Folders of a user's own are read each time."""
    made: dict[tuple[str, ...], bytes] = {}

    def composed(name: str, words: Sequence[str] = (), **how: Any) -> Any:
        if any(word.startswith("hydra.searchpath") for word in words):
            return compose(name, list(words), **how)
        key = name, *words, str(how)
        if key not in made:
            made[key] = pickle.dumps(compose(name, list(words), **how))
        return pickle.loads(made[key])

    import tipx.config.compose

    compose = tipx.config.compose.compose
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tipx.config.compose, "compose", composed)
        yield


@pytest.fixture(scope="session")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random `teacher` (hidden 24) and `student` (hidden 16)."""
    folder = tmp_path_factory.mktemp("pair")
    save_model(folder / "teacher", seed=1, hidden=24, layers=2)
    save_model(folder / "student", seed=2)
    return folder


@pytest.fixture(scope="session")
def warm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[warm.Server]:
    made = warm.Server(tmp_path_factory.mktemp("server"))
    yield made
    made.close()


@pytest.fixture
def server(warm_server: warm.Server) -> Iterator[warm.Server]:
    """Starts `tipx` in processes of their own, without its slow imports; none outlives the test."""
    yield warm_server
    warm_server.end_all()


@pytest.fixture
def overrides(pair_dir: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides of a run of a few short steps on the random pair under `tmp_path/runs`; more may be added."""

    def make(*more: str) -> list[str]:
        return [
            f"model.teacher.path={pair_dir / 'teacher'}",
            f"model.student.path={pair_dir / 'student'}",
            f"runs_dir={tmp_path / 'runs'}",
            "hardware.device=cpu",
            "hardware.micro_batch=4",
            "data.size=32",
            "loop.steps=4",
            "loop.prompts=8",
            "rollout.max_new_tokens=12",
            "loop.eval_every=0",
            "loop.save_every=2",
            "loop.sample_every=2",
            "optim.warmup_steps=1",
            *more,
        ]

    return make


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real browser: TIPX_BROWSER, or a Chromium on the path, or what `playwright install chromium` fetched."""
    from playwright.sync_api import sync_playwright  # here: few tests want it

    found = os.environ.get("TIPX_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no browser: install Chromium, or `playwright install chromium`, or set TIPX_BROWSER=PATH")
        # A browser keeps fonts and settings in the user's home, if it is not told another place.
        home = {"HOME": str(tmp_path_factory.mktemp("home"))}
        env: dict[str, Any] = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")} | home
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        one = playwright.chromium.launch(executable_path=found, args=root, env=env)
        yield one
        one.close()
