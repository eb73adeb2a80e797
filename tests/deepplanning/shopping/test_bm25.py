"""BM25 by hand, and why small catalogues find nothing."""

from math import log

import pytest

from tipx.deepplanning.shopping.bm25 import Okapi
from tipx.deepplanning.shopping.catalogue import THRESHOLD


def test_a_score_by_hand() -> None:
    index = Okapi([["red", "cap"], ["red", "red", "coat", "long"], ["blue", "hat"], ["hat"], ["cap"]])
    # 5 texts of 10 words, mean 2. "red" is in 2 of 5: log(3.5) - log(2.5). Length 2: 1.5 * (0.25 + 0.75) = 1.5;
    # length 4: 1.5 * (0.25 + 1.5) = 2.625. Once: 2.5 / 2.5; twice: 2 * 2.5 / (2 + 2.625).
    weight = log(3.5) - log(2.5)
    assert index.scores(["red"]) == pytest.approx([weight, weight * 5 / 4.625, 0, 0, 0])
    assert index.scores(["red", "red", "green"]) == pytest.approx([2 * weight, 2 * weight * 5 / 4.625, 0, 0, 0])


def test_a_word_in_most_texts_has_a_quarter_of_the_mean_weight() -> None:
    index = Okapi([["a"], ["a"], ["a", "b"]])
    # "a" in 3 of 3: log(0.5) - log(3.5) < 0; "b" in 1 of 3: log(2.5) - log(1.5).
    a, b = log(0.5) - log(3.5), log(2.5) - log(1.5)
    assert index.weights == pytest.approx({"a": 0.25 * (a + b) / 2, "b": b})


@pytest.mark.parametrize(("size", "found"), [(8, False), (24, True)])
def test_one_word_is_found_among_24_texts_and_not_among_8(size: int, found: bool) -> None:
    index = Okapi([[f"word{at}", "thing"] for at in range(size)])
    assert (max(index.scores(["word3"])) > THRESHOLD) == found
