"""Counting tokens and n-grams by quadrant, by hand."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.inspect.worlds import HOSTILE, PLAIN, make_run
from tipx.inspect.picture import over_training
from tipx.inspect.quadrants import Thresholds
from tipx.inspect.save import save_picture
from tipx.inspect.shown import visible
from tipx.inspect.tokens import code, counts, markdown, top
from tipx.runs.directory import Run
from tipx.runs.reader import StoredRun
from tipx.runs.snapshot import Snapshot


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("tokens"), lengths=(40, 33), tools=True)


def test_single_tokens_by_hand(run: Run) -> None:
    frame = top(counts(StoredRun(run), 1), 1000)
    ones = [Snapshot.read(run.sample_files(step)[1]) for step in run.sampled()]
    quadrants = [Thresholds.of(one, 0.5, 0.5).quadrants(one) for one in ones]
    assert frame["count"].sum() == sum(int(one.valid_N.sum()) for one in ones)
    for _, line in frame.iterrows():
        token, q = [visible(piece, "␣") for piece in PLAIN].index(line["tokens"]), int(line["quadrant"][1])
        masks = [(one.tokens_N == token) & (quadrant_N == q) for one, quadrant_N in zip(ones, quadrants, strict=True)]
        assert line["count"] == sum(int(mask.sum()) for mask in masks)
        seen = [
            (one.stats["student_entropy"][mask], one.stats["reverse_kl"][mask], one.weights_N[mask] > 0)
            for one, mask in zip(ones, masks, strict=True)
        ]
        pooled = [np.concatenate(parts) for parts in zip(*seen, strict=True)]
        assert [line["entropy"], line["divergence"], line["kept"]] == pytest.approx(
            [p.mean() for p in pooled], rel=1e-5
        )
        for name, mask, quadrant_N in zip(("first", "last"), masks, quadrants, strict=True):
            assert line[name] == pytest.approx(mask.sum() / (quadrant_N == q).sum())
    assert frame.groupby("quadrant")["share"].sum().tolist() == pytest.approx([1] * 4)


def test_an_ngram_is_where_its_last_token_is_and_stays_in_its_response(run: Run) -> None:
    frame = counts(StoredRun(run), 3)
    one = Snapshot.read(run.sample_files(10)[1])
    quadrant_N = Thresholds.of(one, 0.5, 0.5).quadrants(one)
    for n in (1, 2, 3):
        expected: dict[tuple[int, str], int] = {}
        for b in range(2):
            start, end = one.slice(b).start, one.slice(b).stop
            for i in range(start + n - 1, end):
                if one.valid_N[i]:
                    words = [visible(PLAIN[token], "␣") for token in one.tokens_N[i - n + 1 : i + 1]]
                    key = int(quadrant_N[i]), " ".join(words)
                    expected[key] = expected.get(key, 0) + 1
        part = frame[(frame["step"] == 10) & (frame["n"] == n)]
        found = dict(zip(zip(part["quadrant"], part["tokens"], strict=True), part["count"], strict=True))
        assert found == expected


def test_the_most_frequent_come_first(run: Run) -> None:
    frame = top(counts(StoredRun(run), 2), 2)
    assert len(frame) == 4 * 2 * 2
    for _, part in frame.groupby(["quadrant", "n"]):
        assert part["count"].is_monotonic_decreasing


def test_hostile_tokens_survive_every_form(tmp_path: Path) -> None:
    run = make_run(tmp_path, pieces=(*HOSTILE, "a|b", "``", "$x$", "_y"), lengths=(60,))
    frame = top(counts(StoredRun(run), 2), 100)
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)), keep_default_na=False)
    assert again["tokens"].tolist() == frame["tokens"].tolist()
    lines = markdown(frame).splitlines()
    assert len(lines) == len(frame) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {11}
    save_picture(over_training(counts(StoredRun(run), 1), "hostile"), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("text", "said"), [("a", "`a`"), ("a|b", "`a\\|b`"), ("`", "`` ` ``"), ("``", "``` `` ```")])
def test_code(text: str, said: str) -> None:
    assert code(text) == said
