"""Okapi BM25 as the package rank-bm25 computes it, to the last bit: the search keeps what scores above a threshold.

Of a word in n of N texts the weight is log(N - n + 0.5) - log(n + 0.5); where that is negative, for a word in more than
half of the texts, it is a quarter of the mean weight of all words instead (negative ones counted as they were).
"""

from collections import Counter
from collections.abc import Sequence
from math import log

K1 = 1.5
B = 0.75
EPSILON = 0.25


class Okapi:
    """Scores for the words of a query; built once, never changed."""

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        """`texts` are lists of words, at least one of them not empty."""
        self.counts = [Counter(words) for words in texts]
        self.mean_length = sum(map(len, texts)) / len(texts)
        # The order of the divisions and of the sum over words is rank-bm25's, so that rounding is too.
        self.norms = [K1 * (1 - B + B * len(words) / self.mean_length) for words in texts]
        self.weights = weights(self.counts)

    def scores(self, query: Sequence[str]) -> list[float]:
        """One for each text; a word that the query has twice counts twice."""
        totals = [0.0] * len(self.counts)
        for word in query:
            if weight := self.weights.get(word):
                for at, (counts, norm) in enumerate(zip(self.counts, self.norms, strict=True)):
                    if times := counts[word]:
                        totals[at] += weight * (times * (K1 + 1) / (times + norm))
        return totals


def weights(counts: Sequence[Counter[str]]) -> dict[str, float]:
    """What each word counts for."""
    texts_with: dict[str, int] = {}
    for words in counts:
        for word in words:
            texts_with[word] = texts_with.get(word, 0) + 1
    found = {word: log(len(counts) - n + 0.5) - log(n + 0.5) for word, n in texts_with.items()}
    floor = EPSILON * (sum(found.values()) / len(found))
    return {word: floor if weight < 0 else weight for word, weight in found.items()}
