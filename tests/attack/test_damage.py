"""Every file of a run, damaged in every way: each command says what is wrong in a line, and goes on with the rest.

python -m tests.attack.test_damage    # the table of what was tried
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, call
from tests.conftest import save_model
from tests.rows import lasting
from tipx.runs.directory import Run

pytestmark = pytest.mark.slow

STEPS = 4
SETTINGS = (
    *("hardware.device=cpu", "data.size=32", f"loop.steps={STEPS}", "loop.prompts=4", "loop.rollouts=1"),
    *("loop.save_every=2", "loop.eval_every=2", "loop.sample_every=2", "rollout.max_new_tokens=8", "eval.n=2"),
    *("eval.limit=3", "eval.sampling.max_new_tokens=8", "group=g", "selector=soft_or"),
)
Harm = Callable[[Path], object]


def flip(file: Path) -> None:
    """One bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def lines(change: Callable[[list[str]], list[str]]) -> Harm:
    return lambda file: file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


def put(data: bytes) -> Harm:
    return lambda file: file.write_bytes(data)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


HARMS: dict[str, Harm] = {
    "empty": put(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "last byte gone": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "zeros at the end": lambda file: file.write_bytes(file.read_bytes() + bytes(300)),
    "zeros and a line": lambda file: file.write_bytes(file.read_bytes() + bytes(300) + b'\n{"step": 9}\n'),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "a bit": flip,
    "no text": put(b"\xff\xfe\x00\x80 \xc3("),
    "null": put(b"null\n"),
    "a list": put(b"[1, 2]\n"),
    "an object": put(b"{}\n"),
    "deep": put(b"[" * 30_000 + b"\n"),
    "another file": put(b'{"step": "x", "starts": 3, "choices": [], "benchmark": [], "run": {}}\n'),
    "gone": lambda file: file.unlink(),
    "a folder": folder,
}
LINES: dict[str, Harm] = {
    "a line gone": lines(lambda all_: [*all_[:1], *all_[2:]]),
    "the first line gone": lines(lambda all_: all_[1:]),
    "a line twice": lines(lambda all_: [*all_[:1], *all_]),
    "a line of noise": lines(lambda all_: [*all_[:1], "%&!\n", *all_[1:]]),
}


def dropped(key: str) -> Harm:
    return lambda file: file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != key}))


def retyped(key: str) -> Harm:
    return lambda file: file.write_text(json.dumps(json.loads(file.read_text()) | {key: [{"x": None}]}))


def harms(file: Path) -> dict[str, Harm]:
    """What can happen to a file."""
    found = dict(HARMS)
    if file.suffix == ".jsonl":
        found |= LINES
    if file.suffix == ".json" and "checkpoints" not in file.parts and isinstance(json.loads(file.read_text()), dict):
        for key in json.loads(file.read_text()):
            found |= {f"no {key}": dropped(key), f"{key} of another type": retyped(key)}
    return found


@dataclass(frozen=True)
class World:
    """A folder with a finished run that is to be damaged, and one that is not."""

    place: Path
    overrides: list[str]

    @property
    def run(self) -> Run:
        return next(Run(path) for path in sorted((self.place / "runs" / "g").glob("tiny-soft_or-*")))

    @property
    def other(self) -> Run:
        return next(Run(path) for path in sorted((self.place / "runs" / "g").glob("tiny-full-*")))

    def copy(self, to: Path) -> "World":
        return World(Path(shutil.copytree(self.place, to)), self.overrides)


def make(folder: Path) -> World:
    for role, seed, hidden in (("teacher", 1, 24), ("student", 2, 16)):
        save_model(folder / role, seed=seed, hidden=hidden)
    overrides = [*(f"model.{role}.path={folder / role}" for role in ("teacher", "student")), *SETTINGS]
    world = World(folder / "place", overrides)
    world.place.mkdir()
    for more in ([], ["selector=full"]):
        done = call(world.place, "train", *overrides, *more)
        assert done.code == 0, done.err
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("damage"))


def attempt(world: World, *words: str) -> tuple[Done, str | None]:
    """What a command says, and what is wrong with how it ends."""
    try:
        done = call(world.place, *words)
    except Exception as error:  # noqa: BLE001 - a traceback is what is looked for
        return Done(99, "", ""), f"{words[0]}: traceback {type(error).__name__}: {str(error)[:80]}"
    errors = [line for line in done.err.splitlines() if line.startswith("error:")]
    if done.code not in (0, 2):
        return done, f"{words[0]}: exit code {done.code}"
    if done.code == 2 and (len(errors) != 1 or not done.err.rstrip().endswith(errors[0])):
        return done, f"{words[0]}: {len(errors)} errors"
    return done, None


def row_of(text: str, name: str) -> str:
    return next((" ".join(line.split()) for line in text.splitlines() if line.lstrip().startswith(name)), "")


def commands(world: World, file: Path) -> Iterator[list[str]]:
    """Those that read a file of this kind."""
    name = world.run.path.name
    yield ["show", name]
    if "rollouts" in file.parts or file.name == "config.yaml":
        yield from (["inspect", name], ["inspect", name, "step=2", "--text"], ["tokens", name])
        yield ["inspect", name, "--compare", "selector=q3_only,full", "ratio=0.5"]
    if "evals" in file.parts or file.name == "config.yaml":
        yield from (["compare", name, world.other.path.name], ["eval", name, "n=2", "limit=3", "hardware.device=cpu"])
    if "checkpoints" in file.parts or "evals" in file.parts or file.parent == world.run.path:
        yield ["export", name, "out"]


def shown(world: World) -> tuple[str, str]:
    """What `tipx runs` and `tipx report` print."""
    return attempt(world, "runs")[0].out, attempt(world, "report", "g", "--out", str(world.place / "report"))[0].out


def faults_of(world: World, file: Path, harm: Harm, before: str, report: str) -> list[str]:
    """Everything that goes wrong when a file of the finished run is damaged; `before` is what was shown."""
    name, other = world.run.path.name, world.other.path.name
    harm(file)
    found = []
    after, wrong = attempt(world, "runs")
    found += [wrong] if wrong else []
    if row_of(after.out, other) != row_of(before, other):
        found.append("runs: the other run is not listed as it was")
    now = row_of(after.out, name)
    if now != row_of(before, name) and "damaged" not in now:
        # Without its summary a run is not finished, and without a mark that can be read it is another's.
        honest = file.name in ("summary.json", ".tipx-run")
        found += [] if honest else [f"runs: listed as {now!r} and not as damaged"]
    made, wrong = attempt(world, "report", "g", "--partial", "--out", str(world.place / "report"))
    found += [wrong] if wrong else []
    if made.code != 0 and file.name != "sweep.json":
        found.append(f"report: none for the other run: {made.err[-200:]}")
    said = "missing" in made.out and file.name in ("summary.json", "result.json")
    if row_of(made.out, "soft_or") not in ("", row_of(report, "soft_or")) and not said:
        found.append("report: another number, and nothing said")
    for words in commands(world, file):
        _, wrong = attempt(world, *words)
        found += [wrong] if wrong else []
    return found


def outcome(run: Run) -> tuple[list[dict[str, Any]], bytes]:
    """What a run comes to: its lines but for times, and its last weights."""
    return [lasting(row) for row in run.rows()], (run.checkpoints.open("last")[1] / "model.safetensors").read_bytes()


def resumed(world: World, file: Path, harm: Harm, expected: tuple[list[dict[str, Any]], bytes]) -> list[str]:
    """What goes wrong when a run that was stopped before its summary continues with a damaged file."""
    (world.run.path / "summary.json").unlink()
    harm(file)
    run = world.run
    done, wrong = attempt(world, "train", *world.overrides)
    if wrong:
        return [wrong]
    if done.code != 0:
        return [f"train: does not continue: {done.err[-200:]}"]
    return [] if outcome(run) == expected else ["train: ends otherwise than the run that nothing happened to"]


KINDS = ["config", "provenance", "metrics", "summary", "preflight", "mark", "rollouts", "evals", "checkpoints"]


def files_of(run: Run, kind: str) -> list[Path]:
    """The files of a run of a kind."""
    found = [path for path in sorted(run.path.rglob("*")) if path.is_file() and path.name not in (".lock", "curve.png")]
    if kind in ("rollouts", "evals", "checkpoints"):
        # Of two steps one, and of a checkpoint the files that differ in kind.
        inside = [path for path in found if kind in path.parts]
        return [path for path in inside if "000004" in str(path.relative_to(run.path))]
    stem = {"mark": ".tipx-run"}.get(kind, kind)
    return [path for path in found if path.parent == run.path and path.name.split(".j")[0].split(".y")[0] == stem]


def tried(world: World, kind: str, scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """(which file and what happened to it, what went wrong) of each case."""
    expected, before = outcome(world.run), shown(world)
    for file in files_of(world.run, kind):
        inside = file.relative_to(world.place)
        for name, harm in harms(file).items():
            for way in ("finished", "stopped"):
                # A stopped run continues from a few of its files only; the rest is made again or not read.
                cheap = kind in ("evals", "rollouts") or name.startswith("no ") or name.endswith("of another type")
                if way == "stopped" and (cheap or kind == "summary"):
                    continue
                copy = world.copy(scratch / "copy")
                one = copy.place / inside
                wrong = resumed(copy, one, harm, expected) if way == "stopped" else faults_of(copy, one, harm, *before)
                yield f"{way}: {inside.relative_to(inside.parents[-4])}: {name}", wrong
                shutil.rmtree(copy.place)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_and_never_a_traceback(kind: str, world: World, tmp_path: Path) -> None:
    cases = list(tried(world, kind, tmp_path))
    assert len(cases) >= 10
    assert not [(case, wrong) for case, wrong in cases if wrong]


def main() -> None:
    """The table."""
    total = [0, 0]
    with tempfile.TemporaryDirectory() as scratch:
        world = make(Path(scratch))
        for kind in [kind for kind in KINDS if kind in sys.argv] or KINDS:
            cases = list(tried(world, kind, Path(scratch) / "work"))
            bad = [(case, wrong) for case, wrong in cases if wrong]
            total = [total[0] + len(cases), total[1] + len(bad)]
            sys.stdout.write(f"{kind:12} {len(cases):4} tried, {len(bad):4} with faults\n")
            sys.stdout.flush()
            for case, wrong in bad if "-v" in sys.argv else ():
                sys.stdout.write(f"    {case}: {'; '.join(wrong)}\n")
    sys.stdout.write(f"{'all':12} {total[0]:4} tried, {total[1]:4} with faults\n")


if __name__ == "__main__":
    main()
