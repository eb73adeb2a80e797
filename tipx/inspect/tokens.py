"""Which tokens and n-grams are in each quadrant, counted over every sampled step of a run."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tipx.inspect.frame import token_frame
from tipx.inspect.quadrants import AXES
from tipx.inspect.shown import visible
from tipx.runs.reader import StoredRun

LONGEST = 3
"""Tokens of an n-gram: three ids of a vocabulary of up to a million fit one 64-bit number."""
BASE = 1 << 20
SUMS = ["count", "entropy", "divergence", "kept"]


def counts(run: StoredRun, ngrams: int) -> pd.DataFrame:
    """A row for each step, quadrant, and n-gram up to `ngrams` long, the rest being sums over its places.

    An n-gram is where its last token is: that one's quadrant, entropy, divergence, and whether it was kept. What comes
    before may be a tool's, but not the prompt's.
    """
    parts: list[pd.DataFrame] = []
    pieces: dict[int, str] = {}
    for number in run.need_samples():
        step = run.sampled(number)
        pieces |= step.snapshot.pieces
        parts += [part.assign(step=number, n=n) for n, part in grouped(token_frame(step), ngrams)]
    frame = pd.concat(parts, ignore_index=True)
    texts = {key: text(key, n, pieces) for key, n in set(zip(frame["key"], frame["n"], strict=True))}
    return frame.assign(tokens=frame["key"].map(texts))


def grouped(tokens: pd.DataFrame, ngrams: int) -> Iterator[tuple[int, pd.DataFrame]]:
    """(n, sums by quadrant and key) of one step."""
    token_N = tokens["token"].to_numpy()
    values = {axis: tokens[name].astype(float) for axis, name in AXES.items()}
    tokens = tokens.assign(**values, kept=tokens["kept"].astype(int), count=1)
    for n in range(1, ngrams + 1):
        ends = tokens[tokens["valid"] & (tokens["position"] >= n - 1)]
        ends = ends.assign(key=keys(token_N, ends.index.to_numpy(), n))
        yield n, ends.groupby(["quadrant", "key"], as_index=False)[SUMS].sum()


def keys(tokens_N: NDArray[np.int64], at: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """One number for the n tokens that end at each place; n is part of it."""
    out = np.ones(len(at), np.int64)
    for back in range(n - 1, -1, -1):
        out = out * BASE + tokens_N[at - back]
    return out


def text(key: int, n: int, pieces: dict[int, str]) -> str:
    """The tokens of a key, a blank inside one as ␣."""
    ids = [(key // BASE**back) % BASE for back in range(n - 1, -1, -1)]
    return " ".join(visible(pieces[token], blank="␣") for token in ids)


def top(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """The `most` frequent of each quadrant and length: count, share of the quadrant, means, and the share over time.

    `first` and `last` are the shares at the first and the last sampled step.
    """
    by = ["quadrant", "n", "tokens"]
    pooled = frame.groupby(by, as_index=False)[SUMS].sum()
    for name in ("entropy", "divergence", "kept"):
        pooled[name] = pooled[name] / pooled["count"]
    pooled.insert(4, "share", pooled["count"] / pooled.groupby(["quadrant", "n"])["count"].transform("sum"))
    when = {"first": frame["step"].min(), "last": frame["step"].max()}
    for name, number in when.items():
        some = frame[frame["step"] == number]
        part = some["count"] / some.groupby(["quadrant", "n"])["count"].transform("sum")
        pooled = pooled.merge(some[by].assign(**{name: part}), on=by, how="left").fillna({name: 0.0})
    best = pooled.sort_values(["quadrant", "n", "count", "tokens"], ascending=[True, True, False, True])
    best = best.groupby(["quadrant", "n"]).head(most).reset_index(drop=True)
    return best.assign(quadrant=best["quadrant"].map("Q{}".format))


def markdown(frame: pd.DataFrame) -> str:
    """A table for a document; tokens as code, so that nothing in them means anything."""
    names = list(frame.columns)

    def cell(name: str, value: object) -> str:
        if name == "tokens":
            return code(str(value))
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    lines = [names, ["---"] * len(names)]
    lines += [[cell(*pair) for pair in zip(names, row, strict=True)] for row in frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """In more backticks than it holds."""
    fence, pad = "`" * (text.count("`") + 1), " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")
