"""A GGUF file is a model like any other: converted once, beside nobody else's files, and the same numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM

from tests.gguf_file import TOKENS, write_gguf
from tipx import gguf as module
from tipx.anatomy import check_head
from tipx.errors import ModelError, RunFailed
from tipx.gguf import cache_dir, converted, place
from tipx.models import ModelSource

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
    (folder,) = [path for path in (cache / "gguf").iterdir() if path.is_dir()]
    assert folder.name.startswith("my.model-")
    monkeypatch.setattr(module, "convert", lambda *_: pytest.fail("converted again"))
    assert converted(file, "float32", "model.student.path") == folder
    source(file).load_tokenizer("teacher")


def test_other_bytes_or_another_dtype_are_another_folder(file: Path) -> None:
    first = place(file, "float32")
    assert place(file, "bfloat16") != first
    assert source(file, "bfloat16").load("student", CPU).dtype == torch.bfloat16
    write_gguf(file, seed=1)
    assert place(file, "float32") != first


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
        converted(file, "float32", "model.student.path")
    assert not [path for path in (cache / "gguf").iterdir() if path.is_dir()]
