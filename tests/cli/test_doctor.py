"""`tipx doctor`: what a bug report needs, and nothing private."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from tipx import doctor
from tipx.cli import app


def test_a_path_below_home_hides_the_users_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "anna"
    monkeypatch.setenv("HOME", str(home))
    assert doctor.hide_home(home / "lab" / "runs") == "~/lab/runs"
    assert doctor.hide_home(tmp_path / "annabel") == str(tmp_path / "annabel")


def test_the_facts_are_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.chdir(tmp_path)
    app(["doctor", "--json"], standalone_mode=False)
    text = capsys.readouterr().out
    facts = json.loads(text)
    assert facts["versions"]["torch"] == version("torch")
    assert doctor.find_version("no-such-package") is None
    assert facts["places"]["runs"] == "~/runs (not there)"
    assert facts["places"]["conf"].endswith("free)")
    assert facts["environment"]["HF_HUB_OFFLINE"] == "1"
    assert "hf_secret" not in text
    assert str(tmp_path) not in text


def test_each_fact_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app(["doctor"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert f"  {'torch':<24} {version('torch')}" in lines
    assert [line for line in lines if not line.startswith(" ")] == [
        "versions",
        "code",
        "machine",
        "places",
        "environment",
    ]
