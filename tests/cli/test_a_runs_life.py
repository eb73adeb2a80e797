"""From `tipx train` to its numbers: what each command prints, writes, and leaves alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests.conftest import save_model
from tipx.cli import app as tipx_app
from tipx.config import load, resolve_for_storage
from tipx.runs.identity import identity

FEW = ["hardware.device=cpu", "limit=3", "n=2"]


@pytest.fixture
def run(trained: tuple[Path, list[str], Any], tmp_path: Path) -> Path:
    """A copy of the trained run below `tmp_path/runs`, to be written to."""
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (path,) = (tmp_path / "runs" / "paper").iterdir()
    return path


def bytes_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def squeezed(text: str) -> list[str]:
    """Table rows with single blanks and no frame."""
    return [" ".join(line.replace("│", " ").split()) for line in text.splitlines()]


def test_train_ends_with_accuracy_and_where_everything_is(trained: tuple[Path, list[str], Any]) -> None:
    folder, _, done = trained
    (run,) = folder.glob("runs/paper/*")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert run.name.startswith("tiny-soft_or-")
    lines = squeezed(done.out)
    assert f"run {run.relative_to(folder)}" in lines
    assert f"picture {run.relative_to(folder)}/curve.png" in lines
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    for row in (rows[0], rows[2], rows[4]):
        mean, error, greedy = (row[f"eval/arithmetic/{name}"] for name in ("mean", "mean_se", "greedy"))
        assert f"{row['step']} {mean:.3f} ± {error:.3f} {greedy:.3f}" in lines
    assert "\x1b" not in done.out + done.err
    # What one would type next is no result.
    assert done.err.splitlines()[-3:] == [
        f"next     tipx inspect {run.name}",
        f"next     tipx eval {run.name} benchmark=arithmetic eval=sampled n=8",
        "next     tipx runs",
    ]


def test_train_again_says_so_and_touches_nothing(
    run: Path, trained: tuple[Path, list[str], Any], tipx: Callable[..., Any]
) -> None:
    before = bytes_of(run)
    done = tipx("train", *trained[1])
    assert done.code == 0
    assert f"already finished: runs/paper/{run.name} (--fresh to start over)" in done.out
    assert bytes_of(run) == before


def test_train_elsewhere_or_on_other_hardware_is_the_same_run(
    run: Path, trained: tuple[Path, list[str], Any], tipx: Callable[..., Any]
) -> None:
    done = tipx("train", *trained[1], "hardware.micro_batch=3", "logger=wandb", "loop.save_every=3")
    assert (done.code, "already finished" in done.out) == (0, True)
    assert [path.name for path in run.parent.iterdir()] == [run.name]


def test_fresh_starts_over(run: Path, trained: tuple[Path, list[str], Any], tipx: Callable[..., Any]) -> None:
    (run / "left.over").touch()
    before = [json.loads(line)["train/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()[1:]]
    done = tipx("train", "--fresh", *trained[1])
    assert (done.code, "already finished" in done.out) == (0, False)
    assert not (run / "left.over").exists()
    assert len(json.loads((run / "provenance.json").read_text())["starts"]) == 1
    # And the second time is the first.
    after = [json.loads(line)["train/loss"] for line in (run / "metrics.jsonl").read_text().splitlines()[1:]]
    assert after == before


def table_of(out: str) -> list[str]:
    """What `tipx eval` prints, without the paths after the table."""
    return squeezed(out)[:-2]


def test_eval_finds_a_run_by_path_name_prefix_and_hash_and_measures_once(run: Path, tipx: Callable[..., Any]) -> None:
    digest = run.name[-8:]
    first = tipx("eval", str(run), *FEW)
    assert first.code == 0, first.err
    (result,) = set(run.glob("evals/000004/*/result.json")) & {Path(line[9:]) for line in first.out.splitlines()}
    written = bytes_of(result.parent)
    for name in (run.name, "tiny-soft", digest, f"runs/paper/{run.name}"):
        again = tipx("eval", name, *FEW)
        assert again.code == 0
        assert f"{result.parent.name}/result.json" in again.out
        assert again.err.startswith("already evaluated: ")
        assert table_of(again.out) == table_of(first.out)
    assert bytes_of(result.parent) == written


def test_eval_has_the_template_and_limits_of_the_run(run: Path, tipx: Callable[..., Any]) -> None:
    tipx("eval", run.name, *FEW)
    made = yaml.safe_load((run / "config.yaml").read_text())
    assert made["model"]["template"]["instruction"] == " ."
    # While training 2 samples of 3 problems were asked for, greedy too: the same evaluation, so the same folder.
    (result,) = (json.loads(p.read_text()) for p in run.glob("evals/000004/*/result.json"))
    assert result["max_new_tokens"] == made["eval"]["sampling"]["max_new_tokens"] == 10
    assert result["first_prompt"].endswith("a : .")
    assert (result["n"], result["problems"], result["partial"]) == (2, 3, True)


def test_eval_with_other_settings_is_another_result(run: Path, tipx: Callable[..., Any]) -> None:
    def results() -> set[Path]:
        return set(run.glob("evals/*/*/result.json"))

    before = results()
    for n, more in enumerate(("eval.sampling.max_new_tokens=4", "seed=1", "template=plain", "checkpoint=2", "n=1"), 1):
        done = tipx("eval", run.name, *FEW, more)
        assert done.code == 0, done.err
        # The checkpoint of step 2 was measured while training.
        expected = n - (n > 3)
        assert len(results() - before) == expected, more


def test_eval_of_a_model_folder(pair_dir: Path, tmp_path: Path, tipx: Callable[..., Any]) -> None:
    shutil.copytree(pair_dir / "teacher", tmp_path / "student")
    short = "eval.sampling.max_new_tokens=4"
    outs = [tipx("eval", str(place), *FEW, short) for place in (pair_dir / "student", tmp_path / "student", "student")]
    assert [done.code for done in outs] == [0, 0, 0]
    # Two models of one name are two results; one model by two paths is one.
    results = sorted(tmp_path.glob("runs/eval/*/*/result.json"))
    assert len(results) == 2
    assert all(path.parts[-3].startswith("student-") for path in results)
    assert table_of(outs[1].out) == table_of(outs[2].out)
    assert ["already evaluated: " in done.err for done in outs] == [False, False, True]
    save_model(tmp_path / "student", seed=9)  # other weights at the same place are another model
    assert "already evaluated: " not in tipx("eval", "student", *FEW, short).err
    assert len(list(tmp_path.glob("runs/eval/*/*/result.json"))) == 3
    samples = [json.loads(line) for line in results[0].with_name("samples.jsonl").read_text().splitlines()]
    assert len(samples) == 3 * 2 + 3
    assert "mean@2" in outs[0].out
    assert "3 problems (partial)" in outs[0].out


def test_runs_lists_what_there_is(run: Path, tipx: Callable[..., Any]) -> None:
    done = tipx("runs")
    (row,) = [line for line in squeezed(done.out) if line.startswith(run.name)]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = f"{rows[-1]['select/kept_frac']:.3f}"
    before, after = (f"{rows[i]['eval/arithmetic/mean']:.3f}" for i in (0, -1))
    assert row == f"{run.name} finished soft_or 0.500 0 {kept} {before} {after}"
    # A name is there to be copied, so it is whole in a narrow terminal too.
    assert any(line.startswith(f"{run.name} ") for line in tipx("runs", columns=80).out.splitlines())
    assert tipx("runs", "--runs-dir", "nowhere").out == "no runs under nowhere; `tipx train` makes one\n"
    empty = tipx("runs", "--runs-dir", "nowhere", "--json")
    assert (empty.out, empty.err) == ("[]\n", "no runs under nowhere; `tipx train` makes one\n")


def test_runs_for_programs(run: Path, tipx: Callable[..., Any]) -> None:
    (row,) = json.loads(tipx("runs", "--json").out)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {"run": run.name, "state": "finished", "step": 4, "steps": 4, "ratio": 0.5, "optim.lr": 0.001}
    expected |= {"selector": "soft_or", "kept": rows[-1]["select/kept_frac"], "path": f"runs/paper/{run.name}"}
    assert {key: row[key] for key in expected} == expected
    assert row["arithmetic.mean"] == rows[-1]["eval/arithmetic/mean"]
    lines = tipx("runs", "--csv", "--columns", "state,kept,quadrant/q3_frac").out.splitlines()
    assert lines[0] == "run,state,kept,quadrant/q3_frac"
    assert lines[1].split(",")[:3] == [run.name, "finished", str(row["kept"])]
    assert tipx("runs", "--json", "--csv").code == 2


def test_show_of_a_run(run: Path, trained: tuple[Path, list[str], Any], tipx: Callable[..., Any]) -> None:
    made = yaml.safe_load((run / "config.yaml").read_text())
    for name in (run.name, run.name[-8:], str(run)):
        shown = tipx("show", name).out
        assert yaml.safe_load(shown) == made
        assert identity(yaml.safe_load(shown)) == run.name[-8:]
        lines = squeezed(shown)
        for override in trained[1]:
            key, value = override.split("=", 1)
            value = value if "'" in value else value.strip()
            assert f"{key.split('.')[-1]}: {value} # command line" in lines
        assert "lr: 0.001 # conf/optim/adamw.yaml" in lines


def test_show_of_a_run_names_no_origin_that_gives_another_value_today(run: Path, tipx: Callable[..., Any]) -> None:
    stored = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(stored.replace("lr: 0.001", "lr: 0.002"))
    lines = squeezed(tipx("show", run.name).out)
    assert "lr: 0.002" in lines
    assert "clip: 1.0 # conf/optim/adamw.yaml" in lines


def test_show_of_overrides(tipx: Callable[..., Any]) -> None:
    words = ["model=qwen3", "selector=q3_only", "ratio=0.1"]
    shown = tipx("show", *words).out
    assert shown.splitlines()[0] == "# tipx train model=qwen3 selector=q3_only ratio=0.1"
    tree = resolve_for_storage(load(words))
    assert yaml.safe_load(shown) == tree
    lines = squeezed(shown)
    assert "ratio: 0.1 # command line" in lines
    assert "lr: 1.0e-06 # conf/model/qwen3.yaml" in lines
    assert "divergence: forward_kl # conf/selector/score/q3.yaml" in lines
    assert "ratio: 0.1 # = ratio (command line)" in lines
    assert tipx("show").out.startswith("# tipx train\n")
    values = json.loads(tipx("show", *words, "--json").out)
    assert values["optim.lr"] == {"value": 1e-6, "origin": "conf/model/qwen3.yaml"}
    assert values["optim.betas"]["value"] == tree["optim"]["betas"]


def test_show_keeps_what_the_environment_holds_to_itself(
    tipx: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "secret")
    done = tipx("show", "model.student.path=${oc.env:MY_TOKEN}")
    assert "secret" not in done.out
    assert yaml.safe_load(done.out)["model"]["student"]["path"] == "${oc.env:MY_TOKEN}"


def test_a_value_wider_than_the_terminal_is_one_line(tipx: Callable[..., Any]) -> None:
    path = "/a/very/long/path" * 20
    done = tipx("show", f"model.student.path={path}", columns=60)
    assert f"    path: {path}  # command line" in done.out.splitlines()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", ["tiny", "qwen3", "llama", "base"]),
        ("selectors", ["full", "soft_or", "q3_only", "random"]),
        ("benchmarks", ["arithmetic"]),
        ("data", ["arithmetic", "dapo_math", "file"]),
        ("divergences", ["reverse_kl", "forward_kl", "jsd"]),
        ("experiments", ["qwen3", "llama", "qwen2_5"]),
    ],
)
def test_list_of_a_kind(kind: str, names: list[str], tipx: Callable[..., Any]) -> None:
    one = squeezed(tipx("list", kind).out)
    group = kind if kind == "data" else kind.removesuffix("s")
    assert one[0] == f"{kind} ({group}=...)"
    for name in names:
        # A name, and a few words on it.
        (line,) = [line for line in one if line.split(" ")[0] == name]
        assert len(line.split()) > 3
    rows = json.loads(tipx("list", kind, "--json").out)
    assert [row["name"] for row in rows] == [line.split(" ")[0] for line in one[1:] if line]
    assert rows[0]["typed"] == f"{group}={rows[0]['name']}"
    assert one[1] == f"{rows[0]['name']} {rows[0]['description']}"


def test_list_of_all_is_an_overview(tipx: Callable[..., Any]) -> None:
    rows = json.loads(tipx("list", "--json").out)
    assert [row["kind"] for row in rows][:2] == ["models", "selectors"]
    for row in rows:
        names = [line.split(",")[0] for line in tipx("list", row["kind"], "--csv").out.splitlines()[1:]]
        assert row["names"] == len(names)
        assert row["typed"].replace("NAME", names[0]) in tipx("list", row["kind"], "--csv").out
    assert f"selectors {rows[1]['names']} selector=NAME tipx list selectors" in squeezed(tipx("list").out)


def test_a_sweep_without_a_name_lists_them(tipx: Callable[..., Any]) -> None:
    done = tipx("sweep")
    assert (done.code, done.err) == (0, "")
    assert done.out == tipx("list", "sweeps").out
    assert squeezed(done.out)[1].startswith("controls ")
    assert tipx("sweep", "runs_dir=x").out == tipx("sweep", "--runs-dir", "x").out == done.out
    assert tipx("sweep", "--json").out == tipx("list", "sweeps", "--json").out


def test_every_help_has_an_example_and_one_option_has_the_same_words_everywhere() -> None:
    helps: dict[str, set[str]] = {}
    for command in all_commands(typer.main.get_command(tipx_app)):
        assert "`tipx " in (command.help or ""), command.name
        for param in command.params:
            if param.param_type_name == "option" and param.opts[0] in ("--runs-dir", "--config-dir", "--csv"):
                helps.setdefault(param.opts[0], set()).add(param.help)
    assert {name: len(said) for name, said in helps.items()} == {"--runs-dir": 1, "--config-dir": 1, "--csv": 1}


def all_commands(group: Any) -> Iterator[Any]:
    """Commands that do something, those inside others too."""
    for command in group.commands.values():
        yield from all_commands(command) if hasattr(command, "commands") else [command]


def test_help_names_every_command(tipx: Callable[..., Any]) -> None:
    for args in (["--help"], ["-h"]):
        done = tipx(*args)
        assert done.code == 0
        for command in ("train", "eval", "runs", "show", "list", "tiny"):
            assert f" {command} " in done.out
    # Without a command there is nothing to do, but a user to help.
    bare = tipx()
    assert (bare.code, bare.err) == (2, "")
    assert "Usage:" in bare.out
