"""The recipe that cuts the talk which `lcspeech enroll` learns from."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import pretrained

RATE = 16_000
RECIPE = Path(__file__).parents[1] / "recipes" / "cut_talk.py"


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """Four utterances of 10 s by each of three speakers."""
    random = np.random.default_rng(0)
    for speaker in ("1", "2", "3"):
        folder = tmp_path / "speech" / speaker / "9"
        folder.mkdir(parents=True)
        names = [f"{speaker}-9-{number:04}" for number in range(4)]
        (folder / f"{speaker}-9.trans.txt").write_text("".join(f"{name} OH DEAR\n" for name in names))
        for name in names:
            soundfile.write(folder / f"{name}.flac", random.normal(0, 0.1, 10 * RATE), RATE)
    return tmp_path / "speech"


def run(speech: Path, output: Path, *flags: str) -> int:
    main = runpy.run_path(str(RECIPE))["main"]
    status: int = main(["--librispeech-dir", str(speech), "--output", str(output), *flags])
    return status


def test_as_much_of_everybody_is_cut(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(speech, tmp_path / "talk.ogg", "--without", "3", "--minutes", "0.6") == 0
    assert soundfile.info(tmp_path / "talk.ogg").duration == pytest.approx(2 * 2 * 10.6, abs=0.1)
    assert "0.7 minutes of 2 speakers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--without", "1", "2", "3"], "nobody is left who speaks"), (["--output", "nowhere/talk.ogg"], "no folder")],
)
def test_what_is_wrong_is_one_line(
    speech: Path, tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(speech, tmp_path / "talk.ogg", *flags) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "talk.ogg").exists()


def test_a_full_disk_leaves_the_talk_that_was_there(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talk.ogg").write_bytes(b"old")

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "write", full)
    assert run(speech, tmp_path / "talk.ogg") == 1
    assert (tmp_path / "talk.ogg").read_bytes() == b"old"
