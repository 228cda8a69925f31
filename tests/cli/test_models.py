"""`lcspeech models`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lcspeech import Spotter, pretrained
from lcspeech.cli import main
from tests.cli.conftest import MODEL


@pytest.fixture
def two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped model under two names, measured at 0.9 and not measured."""
    for name in ("measured", "new"):
        folder = Path(shutil.copytree(pretrained.shipped() / MODEL, tmp_path / "models" / name))
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, "name": name}))
        (folder / "metrics.json").unlink(missing_ok=True)
    (tmp_path / "models" / "measured" / "metrics.json").write_text('{"clips": {"accuracy": 0.9}}')
    for name in ("measured", "new"):
        pretrained.write_checksums(tmp_path / "models" / name)
    monkeypatch.setattr(pretrained, "shipped", lambda: tmp_path / "models")


@pytest.mark.usefixtures("two_models")
def test_json_has_all_that_the_cards_say(spotter: Spotter, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    measured, new = map(json.loads, capsys.readouterr().out.splitlines())
    card = spotter.card
    assert measured == {
        "name": "measured",
        "description": card.description,
        "parameters": card.parameters,
        "keywords": [word.name for word in card.keywords],
        "accuracy": 0.9,
        "licence": card.licence,
        "default": True,
    }
    assert new == {**measured, "name": "new", "accuracy": None, "default": False}


@pytest.mark.usefixtures("two_models")
def test_text_marks_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("* measured  ")
    assert "accuracy 90.0 %, Apache-2.0" in lines[1]
    assert any(line.startswith("  new  ") for line in lines)
    assert "accuracy not measured" in "\n".join(lines)


def test_the_shipped_model_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert MODEL in capsys.readouterr().out


def test_an_installation_without_models_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrained, "shipped", lambda: tmp_path)
    assert main(["models", "--json"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "no model came with this installation" in output.err
