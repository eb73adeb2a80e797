"""What the arithmetic pair learns, and how well it does."""

from itertools import islice

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tipx.embedded.arithmetic.build import ARITHMETIC, encode_solutions, measure
from tipx.embedded.arithmetic.family import PROBLEMS
from tipx.embedded.arithmetic.tokenizer import build_tokenizer
from tipx.embedded.tuning import IGNORE, Recipe, new_model, reproducible
from tipx.models.locate import EMBEDDED_PAIRS

PAIR = EMBEDDED_PAIRS / "arithmetic" / "pair"


def test_only_the_solution_is_learned() -> None:
    tokenizer, problems = build_tokenizer(), list(islice(PROBLEMS.training(0), 8))
    ids_BT, labels_BT = encode_solutions(tokenizer, problems)
    assert ids_BT.shape == labels_BT.shape
    for ids, labels, p in zip(ids_BT, labels_BT, problems, strict=True):
        learned = labels[labels != IGNORE]
        assert tokenizer.decode(learned) == f"{p.solution} <eos>"
        assert tokenizer.decode(ids, skip_special_tokens=True) == f"{p.question} {p.solution}"
        assert torch.equal(ids[labels != IGNORE], learned)


def test_padding_does_not_change_the_logits() -> None:
    tokenizer, problems = build_tokenizer(), list(islice(PROBLEMS.training(0), 8))
    with reproducible(0):
        model = new_model(Recipe(hidden=16, layers=1, batch=4, steps=4, decay=0.5), tokenizer).eval()
    ids_BT, labels_BT = encode_solutions(tokenizer, problems)
    row = int((labels_BT[:, -1] == IGNORE).nonzero()[0])  # one of the shorter ones
    length = int((ids_BT[row] != tokenizer.pad_token_id).sum())
    with torch.no_grad():
        padded, alone = (
            model(input_ids=ids).logits[0] for ids in (ids_BT[row : row + 1], ids_BT[row : row + 1, :length])
        )
    torch.testing.assert_close(padded[:length], alone)


def test_the_embedded_teacher_solves_and_the_student_half_does() -> None:
    accuracy = {}
    for name in ARITHMETIC.recipes:
        model = AutoModelForCausalLM.from_pretrained(PAIR / name)
        tokenizer = AutoTokenizer.from_pretrained(PAIR / name)
        with reproducible(0):
            accuracy[name] = measure(model, tokenizer, PROBLEMS.held_out(64), 0.0).mean
    assert accuracy["teacher"] >= 0.9
    assert 0.35 <= accuracy["student"] <= 0.85
