"""The word-level tokenizer: knows the whole task, loses nothing, and puts numbers together again."""

from itertools import islice
from pathlib import Path
from random import Random

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tipx.embedded.arithmetic.family import MAX_NEW_TOKENS, PROBLEMS
from tipx.embedded.arithmetic.tokenizer import EOS, build_tokenizer, vocabulary
from tipx.embedded.tokenizer import MAX_LENGTH, PAD, UNK


@pytest.fixture(params=["built", "loaded"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerBase:
    """As built, and as any user gets it from the saved folder."""
    built = build_tokenizer()
    if request.param == "built":
        return built
    built.save_pretrained(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


def test_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token) == (PAD, EOS, UNK)
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    assert len(tokenizer) == len(vocabulary()) == 67
    assert tokenizer.padding_side == "left"
    assert tokenizer.model_max_length == MAX_LENGTH
    assert tokenizer.chat_template is None


def test_text_comes_back_unchanged_and_known(tokenizer: PreTrainedTokenizerBase) -> None:
    for p in [*PROBLEMS.held_out(200), *islice(PROBLEMS.training(1), 200)]:
        text = f"{p.question} {p.solution}"
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
        assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_every_word_of_the_vocabulary_is_used() -> None:
    used = {word for p in islice(PROBLEMS.training(0), 2000) for word in f"{p.question} {p.solution}".split()}
    assert {token for token in vocabulary() if not token.isdigit()} - used == {PAD, EOS, UNK}


def test_any_ids_come_back_unchanged(tokenizer: PreTrainedTokenizerBase) -> None:
    rng, special = Random(0), set(tokenizer.all_special_ids)
    plain = [token_id for token_id in range(len(tokenizer)) if token_id not in special]
    for _ in range(100):
        ids = rng.choices(plain, k=40)
        assert tokenizer(tokenizer.decode(ids))["input_ids"] == ids


def test_a_box_is_decoded_in_one_piece(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("so 17 . \\boxed{ 17 }")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["so", "1", "7", ".", "\\boxed{", "1", "7", "}"]
    padded = [tokenizer.pad_token_id, *ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert tokenizer.decode(padded, skip_special_tokens=True) == "so 17 . \\boxed{ 17 }"
    assert tokenizer.batch_decode([padded], skip_special_tokens=True) == ["so 17 . \\boxed{ 17 }"]


def test_foreign_words_are_told(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("tom has 3 giraffes")["input_ids"].count(tokenizer.unk_token_id) == 1


def test_batches_are_padded_on_the_left(tokenizer: PreTrainedTokenizerBase) -> None:
    batch = tokenizer(["q : tom", "q"], padding=True)
    assert batch["input_ids"][1][:2] == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"] == [[1, 1, 1], [0, 0, 1]]


def test_prompt_and_response_fit(tokenizer: PreTrainedTokenizerBase) -> None:
    drawn = list(islice(PROBLEMS.training(0), 2000))
    assert max(len(tokenizer(p.solution)["input_ids"]) + 1 for p in drawn) <= 57 <= MAX_NEW_TOKENS
    assert max(len(tokenizer(p.question)["input_ids"]) for p in drawn) + MAX_NEW_TOKENS <= MAX_LENGTH
