"""What the recipes that measure share: the command in the file, errors in one line, and files in models' folders."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from lcspeech import AudioError, pretrained
from lcspeech.evaluation import figures


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--output", type=Path)
    return made


def test_the_command_and_the_day_come_first(tmp_path: Path) -> None:
    def measure(args: argparse.Namespace, made: figures.Made) -> None:
        figures.write(args.output, {**made, "found": 3})

    output = tmp_path / "a b.json"
    assert figures.main("measure_it", measure, parser(), ["--output", str(output)]) == 0
    written = json.loads(output.read_text())
    assert written == {
        "date": figures.today(),
        "command": f"python recipes/measure_it.py --output '{output}'",
        "found": 3,
    }
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (AudioError("no audio; give some"), "error: no audio; give some", 1),
        (OSError(28, "No space left on device", "x.json"), "error: [Errno 28] No space left on device: 'x.json'", 1),
        (KeyboardInterrupt(), "stopped", 130),
    ],
)
def test_what_ends_it_is_one_line(
    error: BaseException, said: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> None:
        raise error

    assert figures.main("measure_it", measure, parser(), []) == status
    assert capsys.readouterr().err == f"measure_it: {said}\n"


def test_a_missing_folder_is_told_before_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = []
    output = str(tmp_path / "none" / "it.json")
    assert figures.main("measure_it", lambda *_: measured.append(1), parser(), ["--output", output]) == 1
    assert "no folder" in capsys.readouterr().err
    assert figures.main("measure_it", lambda *_: measured.append(1), parser(), ["--output", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
    assert not measured


def test_a_models_folder_lists_its_figures(tmp_path: Path) -> None:
    (tmp_path / pretrained.CARD).write_text("{}")
    text = figures.write(tmp_path / "it.json", {"found": 3})
    assert (tmp_path / "it.json").read_text() == text
    assert "it.json" in pretrained.checksums((tmp_path / pretrained.CHECKSUMS).read_text().splitlines())
