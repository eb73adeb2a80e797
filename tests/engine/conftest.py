"""The tests with the real vLLM: `make test-engine`. Where it is not installed they are not collected."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from tipx.adapters import Gather, base_name, trained_parameters
from tipx.config import build, load
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.models.lora import LoRA, add_adapter
from tipx.models.pair import ModelSource
from tipx.noise import Noise
from tipx.rollout import RolloutRequest
from tipx.rollout.engines import mean_gap, score_tokens

collect_ignore_glob = ["test_*.py"] if find_spec("vllm") is None else []

# vLLM looks at every attribute of every module, also at this one.
OF_VLLM = "ignore:`torch.distributed.reduce_op` is deprecated:FutureWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(OF_VLLM))


class Serving:
    """A `vllm serve` of its own process. It can be killed, and started again at the same address."""

    def __init__(self, folder: Path, log: Path, *more: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.log, self.more = folder, log, more
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(self.folder), "--port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    *command,
                    "--dtype",
                    "float32",
                    "--enforce-eager",
                    "--no-enable-chunked-prefill",
                    "--host",
                    "127.0.0.1",
                    *self.more,
                ],
                stdout=log,
                stderr=log,
                env=os.environ | SERVER,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + 300
        while True:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, "it does not answer"
            try:
                httpx.get(f"{self.address}/health", timeout=5).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.2)
            else:
                return

    def kill(self) -> None:
        """All of its processes, at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


SERVER = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
SMALL = "+rollout.engine.kv_cache_memory_bytes=100000000"
"""A cache that two cores have room for."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Serving]]:
    """Starts servers; none outlives the module."""
    made: list[Serving] = []

    def make(folder: Path, *more: str) -> Serving:
        made.append(Serving(folder, tmp_path_factory.mktemp("server") / "server.log", *more))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random `teacher`, a `student` with a tied LM head, and one that is `untied`; heads of 32."""
    folder = tmp_path_factory.mktemp("pair")
    save_wide(folder / "teacher", seed=1, layers=3)
    save_wide(folder / "student", seed=2, layers=3)
    save_wide(folder / "untied", seed=3, layers=2, tied=False)
    return folder


def save_wide(folder: Path, seed: int, layers: int, hidden: int = 64, *, tied: bool = True) -> None:
    tokenizer = build_tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.2,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_student(folder: Path, keep: list[Any] | None = None) -> tuple[PreTrainedModel, Any]:
    source = ModelSource(path=str(folder), revision=None, dtype="float32", attn=None, keep_layers=keep)
    return source.load("student", torch.device("cpu")), source.load_tokenizer("student")


def load_adapted(folder: Path) -> tuple[PreTrainedModel, Any]:
    """The student with adapters that have learned something."""
    model, tokenizer = load_student(folder)
    add_adapter(model, LoRA(r=4, lora_alpha=32, target_modules="all-linear", use_rslora=False, seed=0), "lora")
    torch.manual_seed(1)
    with torch.no_grad():
        for value in trained_parameters(model):
            value.add_(torch.randn_like(value), alpha=0.03)
    return model, tokenizer


def bare_weights(model: PreTrainedModel, gather: Gather) -> Iterator[tuple[str, torch.Tensor]]:
    """In place of `merged_weights`: the weights without the adapters."""
    for name, value in model.state_dict().items():
        if (plain := base_name(name)) is not None:
            yield plain, gather(value.detach())


NOT_PROVEN = r"nats from the trainer's, more than rollout.tolerance=0.002"


def build_backend(*words: str) -> Any:
    return build(load([*words, "rollout.max_new_tokens=16"])).rollout


PROMPTS = [[3, 4, 5], [6], [7, 8, 3, 4], [5, 5, 9, 10, 11]]
ASK = RolloutRequest(prompts=PROMPTS, rows=range(4), noise=Noise(0))


def check_samples(how: Any, model: PreTrainedModel, tokenizer: Any, updates: int = 3) -> None:
    """After each of some updates, greedy responses are transformers', and log-probabilities the student's own."""
    reference = build_backend("rollout=hf", "rollout.temperature=0")
    torch.manual_seed(0)
    for _ in range(updates):
        made, wanted = how(model, tokenizer, ASK), reference(model, tokenizer, ASK)
        assert torch.equal(made.response_BT, wanted.response_BT)
        own = [
            value
            for b, n in enumerate(made.lengths)
            for value in score_tokens(model, [*PROMPTS[b], *made.response_BT[b, :n].tolist()])[-n:]
        ]
        assert mean_gap(own, made.logprobs_N.tolist()) < 1e-5
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value), alpha=0.03)


@pytest.fixture
def tipx(pair: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `tipx train` on the pair in a process of its own, with a few short steps."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(pair, tmp_path, *words), capture_output=True, text=True, timeout=300, check=False)

    return run


def command(pair: Path, runs: Path, *words: str) -> list[str]:
    return [
        *(sys.executable, "-m", "tipx", "train", f"runs_dir={runs / 'runs'}", "hardware.device=cpu", "data.size=32"),
        *(f"model.teacher.path={pair / 'teacher'}", f"model.student.path={pair / 'student'}", "loop.monitor_every=1"),
        *("loop.steps=4", "loop.prompts=8", "rollout.max_new_tokens=16", "loop.eval_every=0", "loop.save_every=2"),
        *("optim.lr=1e-2", "optim.warmup_steps=0"),
        *words,
    ]


SHARED_OUT = ("loop.processes=2", "hardware.strategy=fsdp")
LORA = "model.student.lora.r=4"


@pytest.fixture(scope="session")
def of_one(pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Where the run of one process is that has an engine in it and these words; made when it is first asked for."""
    made: dict[tuple[str, ...], Path] = {}

    def find(*words: str) -> Path:
        if words not in made:
            made[words] = tmp_path_factory.mktemp("one")
            subprocess.run(command(pair, made[words], "rollout=vllm", SMALL, *SAMPLED, *words), check=True)
        return made[words]

    return find


SAMPLED = ("loop.steps=3", "loop.sample_every=1")


def check_runs(runs: Path, one: Path) -> None:
    """A run samples the tokens of another to the last update, and its engine says of them what the trainer says."""
    rows, others = read_rows(runs), read_rows(one)
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row, other in zip(rows, others, strict=True):
        assert row["rollout/push_gap"] < 1e-5
        assert row["rollout/mismatch_abs_mean"] < 1e-5
        assert row["train/loss"] == pytest.approx(other["train/loss"], rel=1e-4)
    tokens, wanted = (
        [np.load(file)["tokens_N"] for file in sorted(place.glob("runs/solo/*/rollouts/*.npz"))]
        for place in (runs, one)
    )
    assert len(tokens) == len(wanted) == 3
    for step, other in zip(tokens, wanted, strict=True):
        np.testing.assert_array_equal(step, other)


def read_rows(runs: Path) -> list[dict[str, Any]]:
    """The metrics of the one run."""
    (file,) = (runs / "runs").glob("solo/*/metrics.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]
