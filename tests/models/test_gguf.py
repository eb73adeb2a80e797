"""A GGUF file is a model like any other: converted once, beside nobody else's files, and the same numbers."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.gguf_file import TOKENS, write_gguf
from tipx.errors import ModelError, RunFailed
from tipx.memory.architectures import load_architecture
from tipx.models import gguf as module
from tipx.models.folder import GGUF_FACTS
from tipx.models.gguf import cache_dir, cache_folder, convert_model, convert_settings
from tipx.models.head import check_head
from tipx.models.pair import ModelSource

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Never the user's own."""
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "my.model.gguf")


def source(path: Path | str, dtype: str = "float32") -> ModelSource:
    return ModelSource(path=str(path), revision=None, dtype=dtype, attn=None, keep_layers=None)  # type: ignore[arg-type]


def test_the_model_and_tokenizer_of_a_file(file: Path, tmp_path: Path) -> None:
    tokenizer, model = source(file).load_tokenizer("student"), source(file).load("student", CPU)
    check_head("student", model)
    assert tokenizer.get_vocab() == {token: i for i, token in enumerate(TOKENS)}
    assert tokenizer("ab a")["input_ids"] == [5, 6]
    assert tokenizer.chat_template.endswith(" a")
    assert (model.config.num_hidden_layers, model.generation_config.eos_token_id) == (2, 0)
    # The numbers are the file's own.
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in GGUFReader(file).tensors}
    assert torch.equal(model.model.embed_tokens.weight, tensors["token_embd.weight"])
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, tensors["blk.1.ffn_down.weight"])
    # And it can be saved, as a checkpoint must.
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = torch.tensor([[1, 2, 3, 5]])
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_a_file_is_converted_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(file).load("student", CPU)
    folders = {path.name for path in (cache / "gguf").iterdir() if path.is_dir()}
    assert folders == {cache_folder(file, kind).name for kind in ("head", "float32")}
    assert all(name.startswith("my.model-") for name in folders)
    for name in ("write_model", "write_settings"):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("made again"))
    assert convert_model(file, "float32", "model.student.path") == cache_folder(file, "float32")
    source(file).load_tokenizer("teacher")


def test_configuration_and_tokenizer_need_no_weights(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "write_model", lambda *_: pytest.fail("converted"))
    assert len(source(file).load_tokenizer("student")) == len(TOKENS)
    config, generation = source(file).load_settings("student")
    assert (config.num_hidden_layers, config.vocab_size, generation.eos_token_id) == (2, 8, 0)
    assert config.dtype == torch.float32
    assert load_architecture("student", source(file)).hidden_size == 32
    (folder,) = [path for path in (cache / "gguf").iterdir() if path.is_dir()]
    assert not list(folder.glob("*.safetensors"))
    assert "converting" not in capsys.readouterr().err


def test_it_says_what_it_writes_and_draws_no_bar_of_another(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ticks: list[int] = []

    @contextmanager
    def bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
        assert (name, total) == ("converting my.model.gguf", 40)
        yield ticks.append

    monkeypatch.setattr(module, "bar", bar)
    convert_model(file, "float32", "model.student.path")
    said = capfd.readouterr().err
    # 18,848 numbers of 4 bytes.
    assert f"converting {file} (0.0777 MB), once: writes 0.0754 MB in float32 to {cache}/gguf/my.model-" in said
    assert "it/s" not in said
    assert sum(ticks) >= 40


def test_no_room_is_said_before_anything_is_converted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "write_model", lambda *_: pytest.fail("converted"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=75_000))
    with pytest.raises(
        ModelError, match=r"my.model.gguf converted takes 0.0754 MB, and .* has 0.075 MB left; free spa"
    ):
        convert_model(file, "float32", "model.student.path")


@pytest.mark.parametrize(("half", "own", "stored"), [("fit", "float16", "float16"), ("not", None, "float32")])
def test_the_precision_of_the_file_is_kept(half: str, own: str | None, stored: str, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "half.gguf", half=half)
    # Nobody loses a digit: where norms are finer than the matrices, what is asked for is written.
    assert json.loads((convert_settings(file, "k") / GGUF_FACTS).read_text())["dtype"] == own
    folder = convert_model(file, "float32", "k")
    weights = load_file(folder / "model.safetensors")
    assert {str(value.dtype) for value in weights.values()} == {f"torch.{stored}"}
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in GGUFReader(file).tensors}
    for name, of in (("model.norm", "output_norm"), ("model.layers.1.mlp.down_proj", "blk.1.ffn_down")):
        assert torch.equal(weights[f"{name}.weight"].float(), tensors[f"{of}.weight"].float())
    model = source(file).load("student", CPU)
    assert model.dtype == torch.float32
    # One folder serves every dtype, where it is the file's own.
    assert (convert_model(file, "bfloat16", "k") == folder) == (own is not None)


def test_other_bytes_or_another_dtype_are_another_folder(file: Path) -> None:
    first = cache_folder(file, "float32")
    assert cache_folder(file, "bfloat16") != first
    assert source(file, "bfloat16").load("student", CPU).dtype == torch.bfloat16
    write_gguf(file, seed=1)
    assert cache_folder(file, "float32") != first


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TIPX_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/tipx"),
        ({"HOME": "/c"}, "/c/.cache/tipx"),
        ({"TIPX_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/tipx"),
    ],
)
def test_where_the_cache_is(env: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIPX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)


def cut(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda p: write_gguf(p, tokenizer=False), "holds no tokenizer that transformers can read"),
    "no known architecture": (lambda p: write_gguf(p, arch="nosuch"), "architecture nosuch is not supported"),
    "half of it": (lambda p: (write_gguf(p), cut(p, 0.5)), "cannot be read as a GGUF model"),
    "cut in its head": (lambda p: (write_gguf(p), cut(p, 0.01)), "cannot be read as a GGUF model"),
    "something else": (lambda p: p.write_bytes(b"hello" * 99), "not a GGUF file"),
    "empty": (lambda p: p.touch(), "cannot be read as a GGUF model"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_one_line(case: str, tmp_path: Path, cache: Path) -> None:
    harm, said = BAD[case]
    harm(tmp_path / "bad.gguf")
    with pytest.raises(ModelError) as caught:
        source(tmp_path / "bad.gguf").load_tokenizer("student")
    text = str(caught.value)
    assert text.startswith(f"model.student.path: {tmp_path}/bad.gguf ")
    assert said in text
    assert text.endswith("give the original model's folder: model.student.path=/models/bad")
    assert "\n" not in text
    assert not [path for path in (cache / "gguf").iterdir() if path.is_dir()]


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ModelError, match=r"model.teacher.path: no such file: 'no.gguf'; give a GGUF file, or a folder"):
        source("no.gguf").load("teacher", CPU)


def test_without_the_package_it_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"model.student.path: .* needs the package gguf; type: pip install gguf"):
        source(file).load("student", CPU)


def test_a_cache_that_cannot_be_written(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "taken"))
    with pytest.raises(ModelError, match=r"cannot write .*taken/gguf .*: TIPX_CACHE=/path tipx"):
        source(file).load("student", CPU)


def test_a_full_disk_leaves_nothing_half_written(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", full)
    with pytest.raises(RunFailed, match=r"cannot write converted model .*: No space left on device; free space"):
        convert_model(file, "float32", "model.student.path")
    assert not [path for path in (cache / "gguf").iterdir() if path.is_dir()]
