"""`tipx publish` leaves a folder that loads, that the hub can read, and that holds nothing private."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tipx.export.publish import PublishPlace
from tipx.runs.mark import is_run

Tipx = Callable[..., Any]
MODEL = {"config.json", "generation_config.json", "manifest.json", "model.safetensors", "tokenizer.json"}
FILES = MODEL | {
    *("README.md", "tokenizer_config.json", "run_config.yaml", "metrics.jsonl", "provenance.json", "curve.png"),
}


def result_of(run: Path, step: int) -> dict[str, Any]:
    (file,) = run.glob(f"evals/{step:06d}/*/result.json")
    return json.loads(file.read_text())


def change_json(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


# --- what is in the folder -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_is_published_loads_and_tells_what_the_run_tells(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("publish", run.name, "--to", "./out/model")
    assert done.code == 0, done.err
    assert done.out.endswith("upload   hf upload OWNER/NAME out/model .\n")
    folder = tmp_path / "out" / "model"
    assert {path.name for path in folder.iterdir()} == FILES
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    trained = load_file(run / "checkpoints" / "000004" / "model.safetensors")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in trained.items())
    assert model(tokenizer("tom has 14", return_tensors="pt")["input_ids"]).logits.shape == (1, 4, 67)
    assert (folder / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()
    config = yaml.safe_load((folder / "run_config.yaml").read_text())
    made = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["seed"], config["loop"], config["selector"]) == (made["seed"], made["loop"], made["selector"])
    assert config["model"]["teacher"]["path"] == "teacher"
    noted = json.loads((folder / "provenance.json").read_text())
    before = json.loads((run / "provenance.json").read_text())
    assert noted["starts"][0]["versions"] == before["starts"][0]["versions"]
    assert noted["data"]["sha256"] == before["data"]["sha256"]
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_hub_reads_the_numbers_of_result_json(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    assert tipx("publish", run.name, "--to", "out", "--checkpoint", "2").code == 0
    data = ModelCard.load(tmp_path / "out" / "README.md").data
    result = result_of(run, 2)
    assert data.model_name == run.name
    shown = {entry.metric_name: entry for entry in data.eval_results}
    sampled = shown["accuracy, mean of 2 samples"]
    assert (sampled.metric_type, sampled.metric_value) == ("accuracy", result["mean"])
    assert (sampled.dataset_name, sampled.dataset_type) == ("arithmetic", "arithmetic")
    assert sampled.metric_args["standard_error"] == result["mean_se"]
    assert (sampled.metric_args["n"], sampled.metric_args["problems"], sampled.metric_args["partial"]) == (2, 3, True)
    assert {entry.metric_value for entry in data.eval_results} == {result[k] for k in ("mean", "greedy") if k in result}


def test_a_dataset_of_the_hub_is_named_so(run: Path) -> None:
    from tipx.export.card import hub_results

    facts = result_of(run, 4) | {"benchmark": "math500", "source": "hf://datasets/HuggingFaceH4/MATH-500/test.jsonl"}
    assert {entry.dataset_type for entry in hub_results(facts)} == {"HuggingFaceH4/MATH-500"}
    elsewhere = hub_results(facts | {"source": "/home/jane/math500.jsonl"})
    assert {entry.dataset_type for entry in elsewhere} == {"math500"}


def test_a_published_folder_can_be_evaluated(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    # Also where its name looks like a run's.
    assert tipx("publish", run.name, "--to", f"./out/{run.name}").code == 0
    assert not is_run(tmp_path / "out" / run.name)
    done = tipx(
        *("eval", f"out/{run.name}", "benchmark=arithmetic", "eval.n=1", "eval.limit=2", "hardware.device=cpu"),
        "eval.sampling.max_new_tokens=4",
    )
    assert done.code == 0, done.err
    assert "arithmetic" in done.out


# --- what is not in the folder ---------------------------------------------------------------------------------------

HOME, USER, HOST, KEY = "/home/jane.doe", "jane.doe", "gpu-node7.lab.example", "wb-0123456789abcdef"
SECRETS = {
    "a home": HOME,
    "a user": USER,
    "a host": HOST,
    "a short host": "gpu-node7",
    "a key": KEY,
    "a token of the hub": "hf_abcdefghijklmnopqrstuv",
    "a password": "pa55word",
    "a folder with a blank": "secret project",
    "another folder": "scratch/private",
    "another user": "mallory",
}


@pytest.fixture
def leaky(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose files tell all of SECRETS, and a report that shows it."""
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.setattr("getpass.getuser", lambda: USER)
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    words = [
        f"{HOME}/venv/bin/tipx",
        "train",
        f"model.teacher.path={HOME}/secret project/teacher",
        f"logger.key={KEY}",
        f"+logger.api_key={KEY}",
        f"logger.entity={USER}",
        "data.path=/scratch/private/prompts.jsonl",
        f"rollout.server=http://{USER}:pa55word@{HOST}:8000/v1",
        "note=hf_abcdefghijklmnopqrstuv",
        f"eval.path=[{HOME}/a/math.jsonl,/home/mallory/b/math.jsonl]",
    ]

    def leak(noted: dict[str, Any]) -> None:
        noted["starts"][0] |= {"argv": words, "environment": {"WANDB_API_KEY": KEY}, "hostname": HOST}
        noted["overrides"] = words[2:]
        noted["user"] = USER

    change_json(run / "provenance.json", leak)
    tree = yaml.safe_load((run / "config.yaml").read_text())
    tree["model"]["teacher"]["path"] = f"{HOME}/secret project/teacher"
    tree["model"]["student"]["path"] = "~jane.doe/scratch/private/student"
    tree["runs_dir"] = f"{HOME}/runs"
    tree["logger"] |= {"entity": USER, "key": KEY}
    tree["note"] = f"made by {USER} on {HOST}, see ssh://{USER}@gpu-node7/scratch/private/log"
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    for step in (0, 2, 4):
        (run / "evals" / f"{step:06d}").rename(run / f"gone-{step}")  # sealed results cannot be made to leak
    rows = (run / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) | {f"eval/{HOME}/x/math_mean": 0.5} for line in rows]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    saved = run / "checkpoints" / "000004"
    change_json(saved / "config.json", lambda tree: tree.update(_name_or_path=f"{HOME}/secret project/student"))
    change_json(saved / "tokenizer_config.json", lambda tree: tree.update(name_or_path="/home/mallory/x/student"))
    sums = json.loads((saved / "manifest.json").read_text())
    from tipx.files.atomic import file_sha256

    (saved / "manifest.json").write_text(json.dumps({name: file_sha256(saved / name) for name in sums}))
    page = run.parent / "report" / "controls" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(
        f"<p>tipx report controls --out &#39;{HOME}/secret project/out&#39; logger.key={KEY}</p>"
        f"<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0'/></svg><td>{run.name}</td>"
        f"<td><code>{HOME}/secret project/teacher</code></td><td><code>{HOME}/runs/a/evals/result.json</code></td>"
        f"<td><code>/scratch/private/result.json</code> {USER} {HOST} http://{HOST}/x hf_abcdefghijklmnopqrstuv</td>"
    )
    return run


def test_nothing_private_is_published(leaky: Path, tipx: Tipx, tmp_path: Path) -> None:
    planted = "".join(path.read_text() for path in leaky.rglob("*") if path.suffix in (".json", ".yaml", ".jsonl"))
    planted += (leaky.parent / "report" / "controls" / "index.html").read_text()
    assert [name for name, secret in SECRETS.items() if secret not in planted] == []
    done = tipx("publish", leaky.name, "--to", "out")
    assert done.code == 0, done.err
    texts = [path for path in (tmp_path / "out").iterdir() if path.suffix not in (".safetensors", ".png")]
    assert {path.name for path in texts} >= {"report.html", "README.md", "provenance.json", "run_config.yaml"}
    told = [(path.name, name) for path in texts for name, secret in SECRETS.items() if secret in path.read_text()]
    assert told == []
    assert [path.name for path in texts if str(tmp_path) in path.read_text()] == []
    for kind in ("host", "key", "path", "user"):
        assert f" x {kind}" in done.err
    # What is left is still of use.
    config = yaml.safe_load((tmp_path / "out" / "run_config.yaml").read_text())
    assert config["model"]["teacher"]["path"] == "teacher"
    assert config["note"] == "made by [user] on [host], see ssh://[host]log"
    words = json.loads((tmp_path / "out" / "provenance.json").read_text())["starts"][0]["argv"]
    assert words[:5] == [
        "tipx",
        "train",
        "model.teacher.path=teacher",
        "logger.key=[removed]",
        "+logger.api_key=[removed]",
    ]
    assert words[6] == "data.path=prompts.jsonl"
    assert words[9] == "eval.path=[math.jsonl,math.jsonl]"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg xmlns='http://www.w3.org/2000/svg'><path d='M 0 0'/></svg>" in page
    assert "<td><code>teacher</code></td><td><code>result.json</code></td>" in page
    assert AutoTokenizer.from_pretrained(tmp_path / "out").vocab_size > 60


def test_texts_of_the_model_stay_as_they_are(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    saved = run / "checkpoints" / "000004"
    change_json(
        saved / "tokenizer_config.json", lambda tree: tree.update(chat_template="/a/b </tool_call> key=x {{ a }}")
    )
    from tipx.files.atomic import file_sha256

    change_json(
        saved / "manifest.json",
        lambda sums: sums.update({"tokenizer_config.json": file_sha256(saved / "tokenizer_config.json")}),
    )
    assert tipx("publish", run.name, "--to", "out").code == 0
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_text() == (saved / name).read_text()


# --- reports ---------------------------------------------------------------------------------------------------------


def test_the_report_that_shows_the_run_is_published(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    for name, text in (("other", "another run"), ("first", run.name)):
        (run.parent / "report" / name).mkdir(parents=True)
        (run.parent / "report" / name / "index.html").write_text(text)
    assert tipx("publish", run.name, "--to", "one").code == 0
    assert (tmp_path / "one" / "report.html").read_text() == run.name
    shutil.copytree(run.parent / "report" / "first", run.parent / "report" / "second")
    done = tipx("publish", run.name, "--to", "none")
    assert done.code == 0
    assert "reports that show the run: first, second; --report NAME adds one" in done.err
    assert not (tmp_path / "none" / "report.html").exists()
    assert tipx("publish", run.name, "--to", "two", "--report", "second").code == 0
    assert (tmp_path / "two" / "report.html").is_file()
    done = tipx("publish", run.name, "--to", "three", "--report", "other")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"--report other: no report of that name shows {run.name}; there are first, second" in done.err
    assert not (tmp_path / "three").exists()


# --- where to --------------------------------------------------------------------------------------------------------


def test_a_name_on_the_hub_has_a_folder_here(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    done = tipx("publish", run.name, "--to", "me/my-model")
    assert done.code == 0, done.err
    assert "model    my-model\nupload   hf upload me/my-model my-model .\n" in done.out
    assert (tmp_path / "my-model" / "README.md").is_file()
    done = tipx("publish", run.name, "--to", "me/my-model")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "my-model is not empty" in done.err
    assert tipx("publish", run.name, "--to", "me/my-model", "--force").code == 0
    assert tipx("export", run.name, "my-model", "--force").code == 0
    assert not (tmp_path / "my-model" / "run_config.yaml").exists()


@pytest.mark.parametrize("text", ["out", "./me/my-model", "../x/y", "/tmp/x", "~/x", "a/b/c", "there/x", "me/"])
def test_what_is_no_name_on_the_hub_is_a_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert PublishPlace.of(text) == PublishPlace(Path(text), None)


def test_wrong_words_are_one_line(run: Path, tipx: Tipx, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("mine")
    (tmp_path / "file").touch()
    (result,) = run.glob("evals/000002/*/result.json")
    cases = [
        (["nosuch", "--to", "out"], "'nosuch' is no run under runs"),
        ([run.name], "Missing option '--to'"),
        ([run.name, "--to", " "], "expected a path, got ' '"),
        ([run.name, "--to", "me/my model"], "--to me/my model: no name on the hub (Repo id must use"),
        ([run.name, "--to", "me/a--b"], "for a folder type ./me/a--b"),
        ([run.name, "--to", "https://huggingface.co/me/x"], "expected a folder, or a name on the hub such as"),
        ([run.name, "--to", "papers"], "papers is not empty (it holds thesis.tex)"),
        ([run.name, "--to", "papers", "--force"], "is no export of tipx, so --force does not replace it"),
        ([run.name, "--to", "file"], "file is a file"),
        ([run.name, "--to", str(run / "out")], f"belongs to the run {run.name}"),
        ([run.name, "--to", "out", "--checkpoint", "3"], "has checkpoints at steps 2, 4"),
        ([run.name, "--to", "out", "--report", "none"], "make one: tipx report paper"),
        ([run.name, "--to", "out", "--report", "../x"], "expected the name of one folder"),
    ]
    for args, said in cases:
        done = tipx("publish", *args)
        assert (done.code, done.err.count("\n"), done.out) == (2, 1, ""), args
        assert said in done.err
    change_json(result, lambda facts: facts.update(mean=0.99))
    done = tipx("publish", run.name, "--to", "out", "--checkpoint", "2")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "result.json is damaged" in done.err
    assert not [path for path in tmp_path.iterdir() if path.name not in ("runs", "papers", "file")]
