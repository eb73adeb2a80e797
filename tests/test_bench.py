"""The bench compares equals, and its tables come from what was measured."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bench import grid, peers, plot, report, step, widths
from bench.__main__ import attempt
from bench.cases import (
    ALL_TOKENS,
    FULL,
    LIGER,
    LIGER_SMALL,
    OURS,
    OURS_TOP,
    PAPER,
    TEACHER_TOP,
    TRL,
    TRL_TILES,
    TRL_WIDE,
    VERL_TOP,
    inputs,
    listed,
)
from bench.grid import Row
from bench.run import Cell, Result, measured
from tipx.config import load


def outcome(name: str, ratio: float) -> Result:
    """Loss and gradient norms of a case on tiny inputs."""
    student, teacher = inputs(40, 300, 16)
    loss = listed()[name].step(student, teacher, round(40 * ratio)).item()
    norms = [leaf.grad.norm().item() for leaf in (student.states_ND, student.head.weight_VD)]
    return Result(0, 0, 0, loss, *norms)


@pytest.mark.parametrize("ratio", [1, 0.5, 0.1])
def test_implementations_agree_on_loss_and_gradient(ratio: float) -> None:
    same = [name for name, case in listed().items() if case.rule == "both" and name in (FULL, *papers())]
    same.append(ALL_TOKENS if ratio == 1 else OURS["both"])
    assert len(same) == 5
    reference = outcome(FULL, ratio)
    assert 0 < reference.weight_norm < float("inf")
    for name in same:
        assert report.distance(outcome(name, ratio), reference) < listed()[name].tolerance, name


def papers() -> list[str]:
    return [name for name in listed() if name.startswith("paper-style")]


def test_rules_keep_different_tokens() -> None:
    losses = [outcome(name, 0.1).loss for name in OURS.values()]
    assert len({round(loss, 4) for loss in losses}) == len(OURS)


def test_a_cell_is_measured_in_a_process_of_its_own() -> None:
    result = measured(Cell(ALL_TOKENS, 8, 200, 16, 1))
    assert result.cpu_s > 0
    assert result.mib >= 0
    assert result.loss == pytest.approx(result_of(8, 200), rel=1e-5)


def result_of(tokens: int, vocab: int) -> float:
    return listed()[FULL].step(*inputs(tokens, vocab, 16), tokens).item()


@pytest.fixture
def rows() -> list[Row]:
    """Full logits twice as big and slow as ours; TRL too big to run."""
    made = [Row(Cell(FULL, 8, 200, 16, 1), Result(100, 4, 4, 1.0, 1.0, 1.0), versions="v")]
    made.append(Row(Cell(ALL_TOKENS, 8, 200, 16, 1), Result(50, 2, 2, 1.0, 1.0, 1.0), versions="v"))
    made.append(Row(Cell(OURS["both"], 8, 200, 16, 0.5), Result(40, 1, 1, 2.0, 1.0, 1.0), versions="v"))
    made.append(Row(Cell(TRL, 8, 200, 16, 1), why="not run: needs about 9 GiB", about_mib=200.0))
    return made


def test_tables_are_ratios_of_a_jsonl(rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    grid.save(rows[:2], path)
    for row in rows[2:]:
        grid.append(row, path)
    with path.open("a") as file:
        file.write('{"cell": {"case"')  # the process was killed here
    assert grid.load(path) == rows
    memory, time = report.tables(grid.load(path))
    assert memory.head == ["implementation", "ratio", "MiB", "/ full", "/ TRL"]
    assert memory.body[2] == [OURS["both"], "0.5", "40.0", "0.400", "~0.200"]
    assert memory.body[3] == [f"{TRL} (not run: needs about 9 GiB)", "1", "~200.0", "~2.000", "~1.000"]
    assert [line[2:4] for line in time.body] == [["4.00", "1.000"], ["2.00", "0.500"], ["1.00", "0.250"], ["-", "-"]]


def test_the_median_of_repeats_counts(rows: list[Row]) -> None:
    again = [replace(rows[0], cell=replace(rows[0].cell, repeat=n), result=replace(rows[0].result, mib=m)) for n, m in
             ((1, 90.0), (2, 500.0))]  # fmt: skip
    assert report.middle([rows[0], *again])[FULL, 8, 1].mib == 100


def test_files_and_picture_are_written(rows: list[Row], tmp_path: Path) -> None:
    lines, wrong = report.agreement(rows)
    report.write(rows, lines, tmp_path)
    plot.draw(rows, tmp_path)
    assert not wrong
    assert f"| {OURS['both']} | 0.5 | 40.0 | 0.400 | ~0.200 |" in (tmp_path / "results.md").read_text()
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 5
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    assert (tmp_path / "bench.svg").exists()


@pytest.mark.parametrize("field", ["loss", "states_norm", "weight_norm"])
@pytest.mark.parametrize("value", [1.001, float("nan")])
def test_a_disagreement_is_an_error(rows: list[Row], field: str, value: float) -> None:
    rows[1] = replace(rows[1], result=replace(rows[1].result, **{field: value}))
    lines, wrong = report.agreement(rows)
    assert wrong
    assert f"MISMATCH: {ALL_TOKENS}" in lines[0]


def test_what_needs_too_much_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("bench.__main__.measured", started.append)
    small = Row(Cell(PAPER, 100, 200, 16, 1), Result(1000, 1, 1, 1, 1, 1))
    (row,) = attempt(Cell(PAPER, 900, 200, 16, 1), [small], max_gib=8)
    assert row.about_mib == 9000
    assert "needs about 8.8 GiB" in row.why
    assert started == []


@pytest.mark.parametrize(("name", "tokens", "mib"), [(PAPER, 400, 400), (TRL_TILES, 400, 130), (TRL_TILES, 40, 70)])
def test_need_is_a_line_that_ends_where_a_case_stops_growing(name: str, tokens: int, mib: float) -> None:
    cell = Cell(name, tokens, 200, 16, 1)
    seen = [Row(replace(cell, tokens=n), Result(m, 1, 1, 1, 1, 1)) for n, m in ((10, 10.0), (20, 20.0))]
    if name == TRL_TILES:
        seen = [
            Row(replace(cell, tokens=n), Result(m, 1, 1, 1, 1, 1)) for n, m in ((10, 40.0), (30, 60.0), (64, 130.0))
        ]
    assert grid.about(cell, seen) == pytest.approx(mib)
    assert grid.about(replace(cell, ratio=0.5), seen) is None


def test_a_package_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (row,) = attempt(Cell(TRL, 8, 200, 16, 1), [], max_gib=8)
    assert row == Row(Cell(TRL, 8, 200, 16, 1), why=peers.NOT_INSTALLED)
    assert peers.NOT_INSTALLED in report.tables([row])[0].body[0][0]


def test_a_case_is_measured_at_the_ratios_that_it_knows() -> None:
    def names(ratio: float) -> list[str]:
        return [name for name, case in listed().items() if case.ratios([ratio])]

    assert ALL_TOKENS in names(1)
    assert ALL_TOKENS not in names(0.5)
    assert TRL not in names(0.5)
    assert set(OURS.values()) <= set(names(0.5))
    assert not set(OURS.values()) & set(names(1))


def test_tiles_of_trl_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = ModuleType("trl.kernels.chunked_divergence")
    kernel.TOKEN_CHUNK_SIZE, kernel.VOCAB_CHUNK_SIZE = 7, 9
    monkeypatch.setitem(sys.modules, kernel.__name__, kernel)
    with peers.trl_tiles((1, 2)):
        assert (kernel.TOKEN_CHUNK_SIZE, kernel.VOCAB_CHUNK_SIZE) == (1, 2)
    assert (kernel.TOKEN_CHUNK_SIZE, kernel.VOCAB_CHUNK_SIZE) == (7, 9)
    del kernel.TOKEN_CHUNK_SIZE
    with pytest.raises(AttributeError, match="tiles"), peers.trl_tiles(None):
        pass


@pytest.mark.parametrize(
    ("name", "ratio", "products"),
    [
        (FULL, 1, 4),
        (ALL_TOKENS, 1, 4),
        (OURS["both"], 0.5, 4),
        (OURS["entropy"], 0.1, 1.4),
        (OURS["random"], 0.1, 0.4),
        (VERL_TOP, 1, 5),
        (TEACHER_TOP, 1, 1),
    ],
)
def test_head_products_are_counted(name: str, ratio: float, products: float) -> None:
    student, teacher = inputs(40, 300, 16)
    with widths.ProductCounter() as counter:
        listed()[name].step(student, teacher, round(40 * ratio))
    assert counter.multiplications / (40 * 300 * 16) == pytest.approx(products)


def test_verl_cuts_the_sum_off_at_the_teachers_entries() -> None:
    student, teacher = inputs(300, 200, 16)  # more than one chunk of rows
    loss = listed()[VERL_TOP].step(student, teacher, 300)
    gradient = student.states_ND.grad
    student, teacher = inputs(300, 200, 16)
    log_p_NV, log_q_NV = student.log_probs(), teacher.log_probs()
    q_Nk, ids_Nk = log_q_NV.exp().topk(peers.TOP)
    expected = (q_Nk * (log_q_NV - log_p_NV).gather(-1, ids_Nk)).sum() / 300
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert gradient is not None
    assert (gradient - student.states_ND.grad).norm() < 1e-5 * gradient.norm()


def test_the_teachers_pass_alone_is_part_of_the_losses_over_its_entries() -> None:
    student, teacher = inputs(40, 300, 16)
    listed()[TEACHER_TOP].step(student, teacher, 40)
    assert student.head.weight_VD.grad.abs().sum() == 0
    assert listed()[OURS_TOP].step(*inputs(40, 300, 16), 40) > 0


def test_widths_are_ratios_to_the_fastest_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "installed", lambda _: True)
    seconds = {ALL_TOKENS: 2.0, TRL: 9.0, TRL_TILES: 5.0, TRL_WIDE: 4.0, LIGER: 8.0, LIGER_SMALL: 10.0}
    rows = widths.rows_of(100)
    for row in rows:
        row.seconds = [seconds.get(row.case, 1.0) + 3, seconds.get(row.case, 1.0)]
    losers = widths.slower_tiles(rows)
    assert {row.case for row in losers} == {TRL_TILES, LIGER_SMALL}
    table = widths.width_table([row for row in rows if row not in losers], Cell("", 100, 200, 16, 1))
    assert table.title.endswith(TRL_WIDE)
    times = {(line[0], line[1]): line[2] for line in table.body}
    assert times[ALL_TOKENS, "1"] == "0.50"  # the least of the rounds counts
    assert times[OURS["both"], "0.2"] == "0.25"
    assert times[TRL, "1"] == "2.25"


def test_widths_disagree_if_a_gradient_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "installed", lambda package: package == "torch")
    arguments = ["widths", "--hidden", "16", "--vocab", "300", "--tokens", "20", "--rounds", "1", "--no-memory"]
    monkeypatch.setattr("sys.argv", arguments)
    assert widths.main() == 0
    assert "MISMATCH" not in capsys.readouterr().out
    right = widths.run_case

    def wrong(row: widths.Measured, *given: widths.Hidden) -> widths.Outcome:
        outcome = right(row, *given)
        return replace(outcome, weight_VD=outcome.weight_VD * (1.001 if row.case == ALL_TOKENS else 1))

    monkeypatch.setattr(widths, "run_case", wrong)
    assert widths.main() == 1
    assert f"MISMATCH: {ALL_TOKENS}" in capsys.readouterr().out


def test_memory_and_products_are_of_a_process_of_its_own() -> None:
    row = widths.Measured(OURS["random"], 0.5)
    widths.measure_alone(row, Cell("", 20, 300, 16, 1))
    assert row.products == pytest.approx(2)
    assert row.mib >= 0


def test_products_are_counted_where_kernels_are_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(widths, "measure", lambda _: Result(7, 0, 0, 0, 0, 0))
    monkeypatch.setattr("tipx.vocab.SMALLEST_COMPILED", 1)
    widths.print_alone(Cell(ALL_TOKENS, 20, 300, 16, 1))
    assert capsys.readouterr().out == "[7, 4.0]\n"


def test_a_step_is_the_mean_over_a_period_of_monitored_and_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    for name in ("score", "rescore"):
        inner = getattr(step.Trainer, name)
        monkeypatch.setattr(
            step.Trainer, name, lambda self, *given, name=name, inner=inner: done.append(name) or inner(self, *given)
        )
    monkeypatch.setattr(step, "load", lambda words: load([*words, "loop.monitor_every=4"]))
    size = step.Size(vocab=300, layers=1, teacher=32, student=32, sequences=2, prompt=2, response=4, micro_batch=2)
    exp = step.experiment("random", 0.5, size)
    assert step.period(exp) == [(4, 0.25), (5, 0.75)]
    result = step.one("tiled", "random", 0.5, size)
    assert result["seconds"] > 0
    assert done[-3:] == ["score", "rescore", "score"]
