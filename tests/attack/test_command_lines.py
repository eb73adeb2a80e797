"""Wrong command lines of every command: one line, exit code 2, in seconds, and not a byte of the user's is touched."""

import hashlib
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.cli.conftest import Done, call
from tipx import config
from tipx.config.trees import leaf_keys, value_at

pytestmark = pytest.mark.slow

SECONDS = 6.0
"""Of the processor, for one command; most take a tenth of one."""
HANGS_S = 45
LONG = "x" * 300
TRAIN = ("hardware.device=cpu", "data.size=32", "loop.steps=2", "loop.prompts=4", "rollout.max_new_tokens=4")
BAD_NUMBERS = ("inf", "-inf", "nan", "-1", "1e300", "true", str(2**63), "text", "[1,2]", "{a:1}")
"""No key takes one of them."""
ODD_NUMBERS = ("0", "null", "''", "0.5", "1e-300")
"""Some keys do."""
NULLS = ("limit", "processes", "context", "max_parallel_calls", "tool_response_max_chars", "max_length")
"""Keys of numbers that may be null."""
BAD_PATHS = ("", " ", "\t", "a\0b", "a\nb", LONG, "d/" * 3000 + "e", "\udcff")
"""No path is one of them."""
NAMES = (
    ".hidden",
    "-dash",
    "~home",
    "' blank'",
    "'blank '",
    "a/b",
    "../up",
    "[a]",
    "{a:1}",
    "x" * 151,
    "'\udcff'",
    "/",
)
YAMLS = {
    "bomb": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    + "axes: *a11\n",
    "recursive": "axes: &a [*a]\n",
    "recursive mapping": "axes: &a {b: *a}\n",
    "deep": "axes: " + "[" * 100_000 + "\n",
    "deep mapping": "".join(f"{' ' * i}a:\n" for i in range(3000)),
    "binary": bytes(range(256)) * 20,
    "NUL": "axes: [a\0b]\n",
    "not UTF-8": b"axes: [\xff\xfe]\n",
    "UTF-16": "axes: []\n".encode("utf-16"),
    "large": "axes: [" + "1, " * 1_500_000 + "]\n",
    "tag": "axes: !!python/object/apply:os.system ['touch owned']\n",
    "tag of a type": "axes: !!int many\n",
    "twice": "axes: []\naxes: []\n",
    "list": "- a\n",
    "text": "hello\n",
    "two": "axes: []\n---\naxes: []\n",
    "torn": "axes: [\n",
    "tabs": "axes:\n\t- a\n",
    "no such alias": "axes: *a\n",
    "number as a key": "1: 2\n",
    "a date that is none": "axes: 2024-99-99\n",
    "many digits": "axes: " + "9" * 5000 + "\n",
}


@dataclass(frozen=True)
class World:
    """A working directory with a finished run and files of the user's."""

    folder: Path
    run: str
    before: dict[str, str]
    stamps: dict[str, tuple[int, int]]

    def call(self, *args: str) -> Done:
        return call(self.folder, *args)


@dataclass
class Tally:
    """What was tried, by kind, and what was wrong; shown with -s."""

    tried: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    one = Tally()
    yield one
    rows = [f"{kind:<28}{number:>6}{len(one.faults.get(kind, [])):>8}\n" for kind, number in one.tried.items()]
    total = f"{'all':<28}{sum(one.tried.values()):>6}{sum(map(len, one.faults.values())):>8}\n"
    sys.stdout.write("".join([f"\n{'kind':<28}{'tried':>6}{'faults':>8}\n", *rows, total]))


@pytest.fixture(scope="module", autouse=True)
def parsed_once() -> Iterator[None]:
    """Hydra's reader takes half a second for `conf/`, which is the same each time: a thousand commands share it."""
    load, kept = OmegaConf.load, {}

    def remembered(file: Any) -> Any:
        name = getattr(file, "name", file)
        key = (str(name), Path(name).stat().st_mtime_ns)
        if key not in kept:
            kept[key] = load(file)
        return deepcopy(kept[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", remembered)
        yield


@pytest.fixture(scope="module")
def world(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("attacked")
    pair = [f"model.{role}.path={pair_dir / role}" for role in ("teacher", "student")]
    few = ("eval.n=1", "eval.limit=2", "eval.sampling.max_new_tokens=4", "loop.sample_every=1", "loop.eval_every=2")
    done = call(folder, "train", *pair, *TRAIN, *few, "group=mine", "name=first")
    assert done.code == 0, done.err
    (folder / "canary.txt").write_text("do not touch\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "canary.bin").write_bytes(bytes(range(256)))
    for name, content in YAMLS.items():
        data = content if isinstance(content, bytes) else content.encode()
        slug = name.replace(" ", "_")
        (folder / f"{slug}.yaml").write_bytes(data)
        own = folder / "own" / slug / "selector"
        own.mkdir(parents=True)
        (own / "mine.yaml").write_bytes(data)
    (run,) = (folder / "runs" / "mine").glob("first-*")
    return World(folder, run.name, contents(folder), stamps(folder))


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file, and that every folder is there; locks are empty and may come and go."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """What shows at a glance that a file is another one, or was written."""
    found = {path.as_posix(): path.stat() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


class Hung(BaseException):
    """A command that did not end."""


@contextmanager
def limited() -> Iterator[None]:
    def hang(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANGS_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(world: World, args: tuple[str, ...], *, fits: bool) -> str | None:  # noqa: PLR0911 - each is a fault
    """What is wrong with how a wrong command line ended; with `fits` it may also be a right one."""
    start = time.process_time()
    try:
        with limited():
            done = world.call(*args)
    except Hung:
        return "hangs"
    except BaseException as error:  # noqa: BLE001 - each is a traceback of the user's
        return f"{type(error).__name__}: {str(error)[:80]}"
    if time.process_time() - start > SECONDS:
        return f"takes {time.process_time() - start:.0f} s"
    if fits and done.code == 0:
        return None
    if done.code not in (1, 2):
        return f"exit code {done.code}"
    if done.err.count("\n") != 1 or not done.err.startswith("error: ") or "Traceback" in done.out:
        return f"not one line: {done.err[:200]!r}"
    return None if stamps(world.folder) == world.stamps else "touches files"


def tried(world: World, tally: Tally, kind: str, lines: list[tuple[str, ...]], *, fits: bool = False) -> None:
    found = {args: fault(world, args, fits=fits) for args in lines}
    tally.tried[kind] = tally.tried.get(kind, 0) + len(found)
    faults = [f"tipx {' '.join(args)!a:.150}: {what}" for args, what in found.items() if what]
    tally.faults.setdefault(kind, []).extend(faults)
    left = contents(world.folder)
    assert left == world.before, {*left} ^ {*world.before}
    assert not faults, "\n".join(faults)


def numeric(*overrides: str) -> list[str]:
    """Keys of a number, or of none where a number may be."""
    tree: Any = config.resolve(config.load(overrides, "train"))
    return [
        key
        for key in leaf_keys(tree)
        if (isinstance(value_at(tree, key), int | float) and not isinstance(value_at(tree, key), bool))
        or key.endswith(NULLS)
    ]


SHORT = ("ratio", "seed")
EVERY = sorted(set(numeric()))
AGENTS = sorted({*numeric("model=tiny_agent"), *numeric("eval=agent_chat", "rollout=vllm")} - set(EVERY))


@pytest.mark.parametrize("key", EVERY)
def test_numbers(key: str, world: World, tally: Tally) -> None:
    tried(world, tally, "numbers", [("sweep", f"{key}={bad}", "--dry-run") for bad in BAD_NUMBERS])
    odd = [("sweep", f"{key}={one}", "--dry-run") for one in ODD_NUMBERS]
    tried(world, tally, "numbers that may fit", odd, fits=True)


@pytest.mark.parametrize("key", AGENTS)
def test_numbers_of_agents_and_servers(key: str, world: World, tally: Tally) -> None:
    at_home = "model=tiny_agent" if key in numeric("model=tiny_agent") else "eval=agent_chat"
    more = ["rollout=vllm"] if at_home == "eval=agent_chat" else []
    bad = ("inf", "nan", "-1", "1e300", "true", "text")
    tried(world, tally, "numbers", [("sweep", at_home, *more, f"{key}={one}", "--dry-run") for one in bad])


def test_numbers_that_are_typed_to_other_commands(world: World, tally: Tally) -> None:
    lines: list[tuple[str, ...]] = []
    for bad in ("inf", "nan", "-1", "1e300", "true", str(2**63), "text", "", "9" * 30):
        lines += [("memory", option, bad) for option in ("--tokens", "--prompt-tokens", "--processes", "--shard")]
        lines += [("tokens", world.run, option, bad) for option in ("--ngrams", "--top")]
        lines += [("tiny", what, "out", "--seed", bad) for what in ("build", "agents")]
        lines += [("inspect", world.run, f"{key}={bad}") for key in ("step", "rollout")]
        lines += [("export", world.run, "out", "--checkpoint", bad), ("eval", world.run, f"checkpoint='{bad}'")]
    for key in ("n", "limit", "seed", "hardware.micro_batch", "eval.n", "eval.sampling.temperature"):
        lines += [("eval", world.run, f"{key}={bad}") for bad in BAD_NUMBERS]
    for bad in ("inf", "nan", "-1", "1e300", "true"):
        lines += [
            (command, f"{key}={bad}") for command in ("train", "preflight", "memory") for key in ("ratio", "seed")
        ]
    small = ("ratio", "optim.lr", "optim.eps", "optim.clip", "rollout.temperature", "eval.sampling.temperature")
    lines += [("train", f"{key}=1e-300") for key in small]
    lines += [
        ("train", "loop.prompts=1e7", "loop.rollouts=1e7"),
        ("train", "eval.n=1e5"),
        ("eval", world.run, "n=100000"),
        ("train", "model.student.keep_layers=[0-99999999999]"),
        ("preflight", "model.student.keep_layers=[0-99999]"),
        ("train", "model.student.keep_layers=[0-1,99999999999]"),
        ("train", "seed=" + "9" * 5000),
    ]
    tried(world, tally, "numbers of commands", lines)


def test_sweeps(world: World, tally: Tally) -> None:
    points = (
        "range(0,1e8)",
        "range(0,100000000)",
        "range(0,10,0)",
        "range(0,1.5,0)",
        "range(0,inf)",
        "range(-inf,0)",
        "range(0,nan)",
        "range(nan,1)",
        "range(0,1,nan)",
        "range(0,1,1e-300)",
        "range(0,1,1e-9)",
        "range(1e308,-1e308,-1)",
        "shuffle(range(0,1e8))",
        "interval(0,1)",
        "range(3,3)",
        ",".join(map(str, range(30_000))),
        "[" * 5000,
        "{a:" * 2000,
        "choice(" * 500,
    )
    lines = [("sweep", f"seed={one}", "--dry-run") for one in points]
    lines += [("memory", f"seed={one}") for one in points]
    lines += [
        ("sweep", "seed=range(0,200)", "data.seed=range(0,200)", "--dry-run"),
        (
            "sweep",
            *(f"{key}=range(1,1000)" for key in ("seed", "data.seed", "loop.steps", "loop.prompts")),
            "--dry-run",
        ),
        ("memory", "seed=range(0,200)", "data.seed=range(0,200)"),
        ("inspect", world.run, "--compare", "selector=soft_or", "ratio=range(0,1,1e-9)"),
        ("train", "seed=" + "[" * 5000),
        ("train", "model.template.instruction=" + "x" * 10**6),
        ("preflight", "seed=" + "(" * 5000),
        ("show", "seed=" + "{" * 5000),
        ("eval", world.run, "seed=" + "[" * 5000),
    ]
    tried(world, tally, "sweeps", lines)


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_of_others(name: str, world: World, tally: Tally) -> None:
    slug = name.replace(" ", "_")
    lines: list[tuple[str, ...]] = [("sweep", f"{slug}.yaml", "--dry-run"), ("report", f"{slug}.yaml")]
    own = ("--config-dir", f"own/{slug}")
    lines += [("train", "selector=mine", *own), ("show", *own), ("preflight", *own), ("eval", world.run, *own)]
    lines += [("memory", *own), ("sweep", "selector=mine", "--dry-run", *own)]
    lines += [("inspect", world.run, "--compare", "selector=mine", *own)]
    tried(world, tally, "YAML", lines)
    tried(world, tally, "YAML that is listed", [("list", "selectors", *own)], fits=True)


def test_paths_of_options(world: World, tally: Tally) -> None:
    lines: list[tuple[str, ...]] = []
    for bad in BAD_PATHS:
        for command in (
            ("train",),
            ("preflight",),
            ("eval", world.run),
            ("sweep", "seed=1,2", "--dry-run"),
            ("show",),
            ("memory",),
            ("list",),
            ("data", "check"),
            ("data", "pull", "math500"),
            ("inspect", world.run, "--compare", "selector=full"),
        ):
            lines.append((*command, "--config-dir", bad))
        for command in (
            ("compare", world.run, world.run),
            ("export", world.run, "out"),
            ("inspect", world.run),
            ("tokens", world.run),
            ("runs",),
            ("runs", "rm", world.run, "--yes"),
            ("report", "table5_main"),
            ("show", world.run),
        ):
            lines.append((*command, "--runs-dir", bad))
        lines += [
            ("export", world.run, bad),
            ("inspect", world.run, "--out", bad),
            ("tokens", world.run, "--plot", bad),
            ("report", "controls", "--out", bad),
            ("report", "--list", "--report-dir", bad),
            ("report", "controls", "--sweep", bad),
            ("report", bad),
            ("memory", "--out", bad),
            ("tiny", "build", bad),
            ("tiny", "agents", bad),
        ]
    lines += [
        ("train", "--config-dir", "canary.txt"),
        ("list", "--config-dir", "nowhere"),
        ("report", "--list", "--report-dir", "canary.txt"),
        ("memory", "--out", "canary.txt"),
        ("memory", "--out", "canary.txt/deeper"),
        ("tiny", "build", "canary.txt"),
        ("tiny", "build", "sub"),
        ("tiny", "agents", "canary.txt/deeper"),
        ("export", world.run, "canary.txt"),
        ("export", world.run, "canary.txt/deeper"),
        ("export", world.run, "sub"),
        ("inspect", world.run, "--out", "canary.txt/page.html"),
        ("inspect", world.run, "--out", "sub"),
        ("tokens", world.run, "--plot", "canary.txt/plot.png"),
        ("tokens", world.run, "--plot", "sub"),
        ("train", "runs_dir=canary.txt"),
        ("sweep", "sub", "--dry-run"),
        ("sweep", "sub.yaml", "--dry-run"),
        ("report", "sub.yaml"),
    ]
    tried(world, tally, "paths of options", lines)


def test_runs_that_are_named(world: World, tally: Tally) -> None:
    lines: list[tuple[str, ...]] = []
    for bad in (*BAD_PATHS[2:], "nosuch", "-", "..", "~", "canary.txt", "sub"):
        lines += [("export", bad, "out"), ("inspect", bad), ("tokens", bad), ("compare", bad, world.run)]
        lines += [("compare", world.run, bad), ("runs", "rm", bad, "--yes"), ("eval", bad, "limit=1", "n=1")]
    tried(world, tally, "runs", lines)


def test_paths_and_names_of_keys(world: World, tally: Tally) -> None:
    lines: list[tuple[str, ...]] = []
    typed = ("''", "' '", "'a\0b'", "'a\nb'", LONG, "[a]", "3", "null", "{a:1}", "true")
    own: tuple[tuple[str, ...], ...] = (
        ("model.student.path",),
        ("model.teacher.path",),
        ("runs_dir",),
        ("group",),
        ("data.path", "data=file"),
        ("heldout.texts.path", "heldout=file"),
        ("eval.sampling.server", "eval=agent_chat"),
        ("logger.project", "logger=wandb"),
        ("rollout.server", "rollout=vllm"),
        ("model.student.dtype",),
        ("loop.denominator",),
        ("hardware.device",),
    )
    for key, *more in own:
        # A group's name is made of a number as it is of a word, and no folder at all is the hub or the cache.
        good = {"group": ("3", "true")}.get(key, ()) + (("null",) if key in ("data.path", "heldout.texts.path") else ())
        lines += [("train", *more, f"{key}={bad}") for bad in typed if bad not in good]
    for bad in NAMES:
        lines += [
            ("train", f"group={bad}"),
            ("train", f"name={bad}"),
            ("sweep", "seed=1,2", f"group={bad}", "--dry-run"),
        ]
    lines += [("train", f"{key}={bad}") for key in ("eval.path", "name") for bad in ("''", "' '", "'a\0b'", "[a]")]
    lines += [("eval", world.run, f"{key}={bad}") for key in ("eval.path", "runs_dir") for bad in ("''", "' '", "[a]")]
    lines += [("train", "name=" + "é" * 80), ("train", "logger=wandb", "logger.entity=''")]
    tried(world, tally, "paths and names of keys", lines)


def test_words(world: World, tally: Tally) -> None:
    lines: list[tuple[str, ...]] = []
    for bad in ("", " ", "=", "=1", "a", "a b", "\udcff=1", "ratio", "~", "+", "+=", "@=1", "a=${b"):
        lines += [(command, bad) for command in ("train", "preflight", "memory", "sweep")]
        lines.append(("eval", world.run, bad))
    for bad in ("", "=", "=1", "nosuch=1", "selector", " "):
        lines += [("runs", bad), ("runs", "rm", bad, "--yes"), ("compare", world.run, world.run, bad)]
    for bad in ("", " ", "nosuch", "a\0b"):
        lines += [("runs", "--sort", bad), ("runs", "--columns", bad), ("report", "controls", "--trace", bad)]
        lines += [("data", "check", bad), ("data", "pull", bad), ("list", bad), ("tokens", world.run, "--format", bad)]
        lines += [("memory", "--device", bad), ("memory", "--implementation", bad), ("inspect", world.run, bad)]
        lines += [("export", world.run, "out", "--checkpoint", bad), (bad,), ("tiny", bad), ("data", bad)]
    tried(world, tally, "words", lines)
    odd = [("runs", f"selector={bad}") for bad in ("[", "{", "'", "!!python/name:os.system", "*a", "&a", "@", "\t")]
    tried(world, tally, "filters", odd, fits=True)
