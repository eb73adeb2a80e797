"""`tipx data check`, a suite under `tipx eval`, `tipx compare`, and the guard in a run, as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tipx.evals.contamination import known_hashes

FEW = ["hardware.device=cpu", "n=2", "eval.sampling.max_new_tokens=4"]


def write(path: Path, *texts: str) -> None:
    path.write_text("".join(json.dumps({"problem": text, "answer": "5"}) + "\n" for text in texts))


def suite(folder: Path) -> Path:
    """A folder of YAML with a suite of two small benchmarks, and their files beside it."""
    conf = folder / "conf"
    (conf / "benchmark").mkdir(parents=True)
    for name in ("one", "two"):
        spec = {"_target_": "tipx.evals.problems.Problems", "name": name, "size": 2, "integers": True, "hub": []}
        text = yaml.safe_dump(spec | {"prompt_field": None, "answer_field": None})
        (conf / "benchmark" / f"{name}.yaml").write_text(f"# Small\n{text}")
        write(folder / f"{name}.jsonl", f"tom has {name} .", "tom has 3 .")
    (conf / "benchmark" / "both.yaml").write_text(
        "# Both\ndefaults: [one@parts.one, two@parts.two, _self_]\n_target_: tipx.evals.suite.Suite\nname: both\n"
    )
    return conf


def test_a_suite_has_a_result_for_each_and_they_compare(
    tipx: Callable[..., Any], pair_dir: Path, tmp_path: Path
) -> None:
    conf = ["--config-dir", str(suite(tmp_path))]
    for model in ("student", "teacher"):
        done = tipx("eval", str(pair_dir / model), "benchmark=both", f"eval.path={tmp_path}", *FEW, *conf)
        assert done.code == 0, done.err
        assert "one: 2 problems" in done.out
        assert "two: 2 problems" in done.out
    files = sorted(tmp_path.glob("runs/eval/*/*/result.json"))
    assert [file.parent.name.split("-")[0] for file in files] == ["one", "two"] * 2
    result = json.loads(files[0].read_text())
    assert result["source"] == str(tmp_path / "one.jsonl")
    assert result["maj_at"].keys() == result["pass_at"].keys() == {"1", "2"}
    # The benchmark's way of asking, not the embedded pair's; the model has no chat template.
    box = "\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert result["template"] == {"chat": False, "instruction": box, "thinking": None}
    assert (result["dtype"], result["temperature"]) == ("float32", 1.0)
    again = tipx("eval", str(pair_dir / "student"), "benchmark=both", f"eval.path={tmp_path}", *FEW, *conf)
    assert again.err.count("already evaluated") == 2
    a, b = sorted({str(file.parent.parent) for file in files})
    done = tipx("compare", a, b, "benchmark=two")
    assert (done.code, "two: B - A over 2 problems" in done.out, "inside the noise" in done.out) == (0, True, True)
    assert [one["benchmark"] for one in json.loads(tipx("compare", a, b, "--json").out)] == ["one", "two"]


def test_check_says_what_is_there(tipx: Callable[..., Any], tmp_path: Path) -> None:
    write(tmp_path / "math500.jsonl", *map(str, range(499)))
    write(tmp_path / "aime24.jsonl", *map(str, range(30)))
    done = tipx("data", "check", "math500", "aime24", "aime25", "dapo_math", f"eval.path={tmp_path}")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line.strip()}
    assert "yes" in lines["aime24"]
    assert " 30 " in lines["aime24"]
    assert "unusable" in lines["math500"]
    assert "expected 500 problems of math500" in done.err
    assert "offline" in lines["dapo_math"]


def test_a_run_leaves_out_benchmark_problems_and_stays_with_it(
    tipx: Callable[..., Any], overrides: Callable[..., list[str]], tmp_path: Path
) -> None:
    conf = ["--config-dir", str(suite(tmp_path))]
    write(tmp_path / "train.jsonl", "tom has 3 .", *[f"tom has {i} {i} ." for i in range(12)])
    words = [o for o in overrides("loop.steps=2") if not o.startswith("data.size")]
    words += ["data=file", f"data.path={tmp_path / 'train.jsonl'}", "benchmark=both", f"eval.path={tmp_path}"]
    done = tipx("train", *words, *conf)
    assert done.code == 0, done.err
    assert "left out 1 training prompts that are benchmark problems: 1 of one, 1 of two" in done.err
    (file,) = tmp_path.glob("runs/*/*/provenance.json")
    noted = json.loads(file.read_text())["guard"]
    assert {name: ids for name, ids in noted["dropped"].items() if ids} == {"one": ["0"], "two": ["0"]}
    assert (noted["unread"], noted["hashed"]) == ([], sorted(known_hashes()))
    done = tipx("train", *words, *conf, "guard.enabled=false")
    assert "left out" not in done.err
