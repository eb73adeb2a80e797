"""A model folder of a stranger's is data: what is wrong with which file is said in one line, and nothing of it runs."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, GPTNeoConfig, PreTrainedTokenizerBase, Qwen3Config

from tests.attack.hostile_folders import KINDS, TEMPLATES, Harm, setting
from tests.cli.conftest import call
from tests.conftest import save_model
from tests.gguf_file import write_gguf
from tipx.config import build, load
from tipx.errors import ModelError, RunError
from tipx.evals.job import EvalJob
from tipx.files.untrusted import Overdue, bounded_resources, error_text, printable_text
from tipx.models.folder import WeightCounts
from tipx.models.head import check_logits
from tipx.models.pair import ModelSource, Template
from tipx.models.sizes import check_sizes
from tipx.text.chat_template import MAX_CHARACTERS
from tipx.train.trainer import STATE

CPU = torch.device("cpu")
CHAT = Template(chat=True, instruction="", thinking=None)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("good") / "model", seed=1)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy, to be broken."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def source(path: Path, **more: Any) -> ModelSource:
    return ModelSource(path=str(path), revision=None, dtype="float32", attn=None, keep_layers=None, **more)


def refusal(path: Path, **more: Any) -> str:
    """What a run and an evaluation say of the folder: one line, the same where both read what is broken."""
    one, lines = source(path, **more), []
    for attempt in (one.load_tokenizer, one.load_settings, lambda role: one.load(role, CPU)):
        try:
            attempt("student")
        except ModelError as error:
            lines.append(str(error))
    assert lines, "not refused"
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    return lines[0]


# What is broken, by kind and name of the slow test, and what is said of it.
SAID = {
    ("config.json", "missing"): "there is no config.json in it",
    ("files", "config.json: no JSON"): "config.json is not a valid JSON file",
    ("files", "config.json: deep"): "config.json is not a valid JSON file",
    ("files", "config.json: a list"): r"config.json holds \[1\], expected an object",
    ("files", "tokenizer.json: cut"): "tokenizer.json is not a valid JSON file",
    ("files", "generation_config.json: NUL"): "generation_config.json is not a valid JSON file",
    ("files", "config.json: a folder"): "config.json is not a file",
    ("files", "tokenizer.json: a pipe"): "tokenizer.json is not a file",
    ("files", "model.safetensors: a loop"): "model.safetensors cannot be read",
    ("config.json", "hidden_size=1000000000"): "hidden_size is .* weights on disk hold [0-9]+ numbers",
    ("config.json", "vocab_size=1000000000"): "vocab_size x hidden_size is 16000000000, and the weights on disk",
    ("config.json", "num_hidden_layers=1000000000"): "num_hidden_layers is 1000000000, and no model has more than",
    ("config.json", "intermediate_size=1000000000"): "intermediate_size is 1000000000, and the weights on disk",
    ("config.json", "num_attention_heads=1000000000"): "num_attention_heads is 1000000000, and the weights on disk",
    ("config.json", "num_hidden_layers=0"): "num_hidden_layers",
    ("config.json", "hidden_size='16'"): "hidden_size",
    ("config.json", "vocab_size=0"): "vocab_size is 0, expected a whole number above 0",
    ("config.json", "is_encoder_decoder=True"): "an encoder with a decoder",
    ("config.json", "model_type='nosuch'"): "model type `nosuch`",
    ("config.json", "model_type='t5'"): "T5Config",
    ("config.json", "attn_implementation='org/kernel'"): "names 'org/kernel', which transformers would fetch",
    ("config.json", "quantization_config={'quant_method': 'bitsandbytes', 'load_i"): "bitsandbytes",
    ("generation", "eos_token_id=['x']"): r"generation_config.json: eos_token_id is \['x'\], expected the number",
    ("weights", "none"): "there are no weights in it",
    ("weights", "cut to 50%"): "model.safetensors is cut short",
    ("weights", "a pickle that runs"): "a pickle that is broken or holds more than weights; nothing of it was run",
    ("weights", "an index outside"): r"index.json names '../a.safetensors', which is outside the folder",
    ("weights", "an index of missing"): r"index.json names 'b.safetensors', which is not there",
    ("others", "an adapter"): r"a LoRA adapter \(adapter_config.json\) and no model: merge it .*merge_and_unload",
    ("others", "an adapter beside"): r"a LoRA adapter \(adapter_config.json\) beside a model: merge it",
    ("others", "code"): r"comes with Python code of its own, which is not run; .*model.student.trust_remote_code=true",
}


@pytest.mark.parametrize(("kind", "name"), SAID)
def test_what_is_wrong_is_said(kind: str, name: str, folder: Path) -> None:
    KINDS[kind][name](folder)
    line = refusal(folder)
    assert line.startswith(f"model.student.path: {str(folder)!r} ")
    assert re.search(SAID[kind, name], line), line
    assert not (folder.parent / "canary").exists()


@pytest.mark.parametrize("command", ["eval", "train"])
def test_tokens_without_a_row_are_refused(command: str, good: Path, folder: Path, tmp_path: Path) -> None:
    for path in (folder, *([] if command == "eval" else [Path(shutil.copytree(good, tmp_path / "teacher"))])):
        KINDS["tokenizer"]["ids beyond the head"](path)
    args = {
        "eval": ["eval", str(folder), "limit=1", "n=1"],
        "train": ["train", f"model.student.path={folder}", f"model.teacher.path={tmp_path / 'teacher'}"],
    }
    done = call(tmp_path, *args[command], "hardware.device=cpu")
    assert done.code == 2
    assert "the LM head has 67 rows but the tokenizer has 1000001 tokens" in done.err
    assert len(done.err.splitlines()) == 1


def test_an_odd_name_is_shown_as_it_can_be() -> None:
    assert printable_text("red\x1b[31m\n\udcff") == r"red\x1b[31m\n\udcff"


def test_a_folder_asks_neither_the_network_nor_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object, **__: object) -> None:
        pytest.fail("asked")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr("builtins.input", asked)
    one = source(folder)
    one.load_tokenizer("student")
    one.load_settings("student")
    one.load("student", CPU)
    KINDS["others"]["code"](folder)
    assert "trust_remote_code=true" in refusal(folder)


# --- sizes -----------------------------------------------------------------------------------------------------------

SMALL = Qwen3Config(
    vocab_size=4000, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, head_dim=32
)


def test_a_configuration_of_its_own_weights_is_taken(good: Path) -> None:
    one = source(good)
    config, _ = one.load_settings("student")
    assert config.vocab_size == 67
    check_sizes(SMALL, None, code=False)
    check_sizes(SMALL, WeightCounts(None, 600_000), code=False)


def test_positions_that_are_kept_in_tables_count() -> None:
    # One table of positions x positions a layer, which is not saved.
    facts = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global"], 2]]}
    check_sizes(GPTNeoConfig(**facts, max_position_embeddings=512), WeightCounts(30, 20_000), code=False)
    with pytest.raises(ValueError, match=r"a model of its sizes, in numbers, is 2\d{9}, and the weights on disk hold"):
        check_sizes(GPTNeoConfig(**facts, max_position_embeddings=32_768), WeightCounts(30, 20_000), code=False)


def test_layers_are_tensors() -> None:
    with pytest.raises(ValueError, match="num_hidden_layers is 2, but the weights are 1 tensors"):
        check_sizes(SMALL, WeightCounts(1, 10**9), code=False)


def test_a_gguf_file_of_absurd_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "cache"))
    file = write_gguf(tmp_path / "a.gguf")
    whole = file.read_bytes()
    at = whole.index(b"llama.block_count") + len(b"llama.block_count") + 4
    file.write_bytes(whole[:at] + (10**9).to_bytes(4, "little") + whole[at + 4 :])
    with pytest.raises(ModelError, match=r"a.gguf cannot be read .*llama.block_count is 1000000000, and it holds 20 "):
        source(file).load("student", CPU)


# --- chat templates --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(good: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(good)


RUNAWAY = ("long", "wide", "doubling", "a list", "over any context")
BAD = ("syntax", "raises", "zero", "type", "key", "filter", "recursion", "include", "sandbox", "nested", *RUNAWAY)


@pytest.mark.parametrize("name", [*BAD, "not text", "names without text", "object"])
def test_a_template_that_cannot_be_run(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    limit, handler = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(ModelError, match=r"^model: the chat template .*template@model.template=plain$") as caught:
        CHAT.encode(tokenizer, "?")
    assert str(caught.value).isprintable()
    assert resource.getrlimit(resource.RLIMIT_AS) == limit
    assert signal.getsignal(signal.SIGVTALRM) == handler
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_template_that_does_not_end(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tipx.text.chat_template.SECONDS", 0.2)
    for name in ("loops", "power"):
        tokenizer.chat_template = TEMPLATES[name]
        with pytest.raises(ModelError, match=r"Overdue: it takes more than 0\.2 seconds"):
            CHAT.encode(tokenizer, "?")


def test_a_template_says_no_more_than_the_model_reads(good: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    config = AutoConfig.from_pretrained(good)
    tokenizer.chat_template = "{% for i in range(300) %}tom {% endfor %}"
    with pytest.raises(ModelError, match="a question of one character has 300 tokens, and the model reads 256"):
        CHAT.check_length(tokenizer, config)
    Template(chat=False, instruction="", thinking=None).check_length(tokenizer, config)  # it is not used
    tokenizer.chat_template = "{% for i in range(200) %}tom {% endfor %}"
    CHAT.check_length(tokenizer, config)
    tokenizer.chat_template = f"{{{{ 'a' * {MAX_CHARACTERS + 1} }}}}"
    with pytest.raises(ModelError, match="writes 16777217 characters"):
        CHAT.encode(tokenizer, "?")


# --- what it is built on ---------------------------------------------------------------------------------------------


def work(seconds: float) -> None:
    """Uses so much processor time."""
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass


def test_time_and_memory_are_bounded_and_given_back() -> None:
    with pytest.raises(Overdue), bounded_resources(0.1, 2**30):
        work(9)
    with pytest.raises(MemoryError), bounded_resources(9, 2**28):
        bytearray(2**30)
    assert len(bytearray(2**29)) == 2**29
    with bounded_resources(5, 2**30), pytest.raises(Overdue), bounded_resources(0.05, 2**30):
        work(9)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    work(0.3)  # nothing comes after


def test_in_another_thread_nothing_is_bounded() -> None:
    """The bound on memory is the whole process's: a student that is trained meanwhile would run into it."""

    def allocate() -> int:
        with bounded_resources(0.1, 2**20):
            return len(bytearray(2**28))

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(allocate).result() == 2**28


def test_what_a_library_says_is_one_printable_line() -> None:
    assert error_text(KeyError("a")) == "KeyError: 'a'"
    assert error_text(ValueError("\n one\x1b[0m\n two")) == r"one\x1b[0m"
    assert error_text(IndexError()) == "IndexError"
    assert printable_text("a\ud800\n") == r"a\ud800\n"
    assert len(printable_text("a" * 10**6)) < 400


def test_logits_that_are_no_numbers(good: Path) -> None:
    model = source(good).load("student", CPU)
    check_logits("student", model, [1, 2])
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(67))
    with torch.no_grad():
        model.lm_head.bias[9:] = -torch.inf  # rows that pad the vocabulary
    check_logits("student", model, [1, 2])
    for value in (torch.inf, torch.nan):
        with torch.no_grad():
            model.lm_head.bias[3] = value
        with pytest.raises(ModelError, match="gives logits that are not numbers"):
            check_logits("student", model, [1, 2])
    with torch.no_grad():
        model.lm_head.bias[:] = -torch.inf
    with pytest.raises(ModelError, match="gives logits that are not numbers"):
        check_logits("student", model, [1, 2])
    with pytest.raises(ModelError, match=r"Qwen3ForCausalLM cannot run \(.*its config.json does not fit its weights"):
        check_logits("student", model, [10**6])


# --- a model's own code ----------------------------------------------------------------------------------------------

OWN = """
from pathlib import Path
from transformers import Qwen3Config, Qwen3ForCausalLM

Path({canary!r}).touch()


class OwnConfig(Qwen3Config):
    model_type = "own-qwen"


class OwnModel(Qwen3ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A model that is made by Python in its folder."""
    (folder / "modeling_own.py").write_text(OWN.format(canary=str(tmp_path / "canary")))
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own-qwen", "architectures": ["OwnModel"]}
    config["auto_map"] = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_a_model_with_code_of_its_own(own: Path, good: Path, tmp_path: Path) -> None:
    canary, few = tmp_path / "canary", ["limit=2", "n=1", "eval.sampling.max_new_tokens=4", "hardware.device=cpu"]
    run = [f"model.teacher.path={good}", f"model.student.path={own}", "hardware.device=cpu", "data.size=4"]
    run += ["loop.steps=2", "loop.prompts=2", "rollout.max_new_tokens=4", "loop.eval_every=0", "loop.eval_last=false"]
    run += ["loop.save_every=1", "loop.sample_every=0", "optim.warmup_steps=0"]
    for args in (["eval", str(own), *few], ["train", *run], ["preflight", *run]):
        done = call(tmp_path, *args)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert "model.student.trust_remote_code=true (`tipx eval`: trust_remote_code=true): it then runs" in done.err
        assert not canary.exists()

    trusted = "model.student.trust_remote_code=true"
    assert call(tmp_path, "eval", str(own), *few, "trust_remote_code=true").code == 0
    assert canary.exists()
    assert call(tmp_path, "preflight", *run, trusted).code == 0
    assert call(tmp_path, "train", *run, trusted).code == 0
    (made,) = (path.parent for path in tmp_path.glob("runs/*/*/config.yaml"))
    assert (made / "checkpoints" / "000002" / "modeling_own.py").exists()
    # Stopped after its first step, it goes on from a checkpoint with the same code.
    (made / "summary.json").unlink()
    shutil.rmtree(made / "checkpoints" / "000002")
    done = call(tmp_path, "train", *run, trusted)
    assert (done.code, "resuming after step 1 of 2" in " ".join(done.err.split())) == (0, True), done.err
    # A run, which may be somebody else's, does not lend its setting.
    assert call(tmp_path, "eval", made.name, *few).code == 2
    assert call(tmp_path, "eval", made.name, "trust_remote_code=true", *few).code == 0


def test_a_setting_that_users_own_yaml_lacks() -> None:
    job = build(load([], "eval"))
    assert isinstance(job, EvalJob)
    assert not job.trust_remote_code
    exp = build(load(["~model.student.trust_remote_code", "~model.teacher.trust_remote_code"]))
    assert not exp.model.student.trust_remote_code


# --- a checkpoint ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02."])
def test_a_broken_state_of_the_optimizer(content: bytes, tmp_path: Path) -> None:
    from tipx.train.trainer import Trainer

    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(RunError, match=rf"{STATE} is not the state of this run's optimizer .*remove {tmp_path} to go"):
        Trainer.load(object.__new__(Trainer), tmp_path)


def harmless() -> list[Harm]:
    return [setting("config.json", "a_setting_of_tomorrow", to=[{"a": 1}]), lambda f: (f / "README.md").write_text("!")]


@pytest.mark.parametrize("number", range(2))
def test_what_does_no_harm_is_taken(number: int, folder: Path) -> None:
    harmless()[number](folder)
    os.truncate(folder / "README.md", 0) if number else None
    one = source(folder)
    one.load_tokenizer("student")
    one.load_settings("student")
    one.load("student", CPU)
