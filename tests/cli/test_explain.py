"""`tipx explain`: what is printed, as text and as JSON."""

import json

from tests.cli.conftest import Tipx


def test_a_key_as_text(tipx: Tipx) -> None:
    done = tipx("explain", "keep_checkpoints")
    assert done.code == 0
    for part in ("loop.keep_checkpoints", "whole number", "2 to 10,000,000", "conf/loop/standard.yaml", "Newest"):
        assert part in done.out


def test_markup_and_lists_come_out_as_they_are(tipx: Tipx) -> None:
    assert "[0-13, 20-29]" in tipx("explain", "model.student.keep_layers").out
    assert "[0.9, 0.98]" in tipx("explain", "optim.betas").out.replace('"', "")


def test_overrides(tipx: Tipx) -> None:
    out = tipx("explain", "optim.lr", "optim.lr=0.25").out
    assert "0.25  command line" in out
    assert "0.001  conf/optim/adamw.yaml" in out


def test_other_kinds(tipx: Tipx) -> None:
    assert "Every token: the baseline" in tipx("explain", "selector").out
    assert "selector=q3_only" in tipx("explain", "q3_only").out
    assert "model.teacher.path" in tipx("explain", "path").out
    assert "nats a token" in tipx("explain", "train/loss").out
    assert "rollout=vllm_server" in tipx("explain", "rollout.server").out
    assert "norm.scope" in tipx("explain", "selector.score.norm.scope").out


def test_json(tipx: Tipx) -> None:
    facts = json.loads(tipx("explain", "loop.steps", "--json").out)
    assert (facts["key"], facts["default"], facts["type"]) == ("loop.steps", 150, "whole number")


def test_what_is_no_key(tipx: Tipx) -> None:
    done = tipx("explain", "ratoi")
    assert (done.code, done.out) == (2, "")
    assert done.err.strip() == "error: ratoi: no such key; did you mean ratio? `tipx show` lists every key"
    assert tipx("explain", " ").code == 2


def test_a_setting_that_is_handed_on_needs_a_plus(tipx: Tipx) -> None:
    for word, typed in {"rollout.engine={a:5}": "engine.NAME", "rollout.engine.seed=5": "engine.seed"}.items():
        done = tipx("show", "rollout=vllm", word)
        assert (done.code, done.out) == (2, "")
        assert f"is typed with a plus: +rollout.{typed}=VALUE" in done.err
    assert tipx("show", "rollout=vllm", "+rollout.engine.seed=5").code == 0
