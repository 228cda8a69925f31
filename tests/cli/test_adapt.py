"""`lcspeech adapt`; the training itself is tested in tests/train."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech.cli import main
from tests.cli.process import python
from tests.words import RATE, spoken, variants


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A folder with one of recordings of each of two words."""
    for word in ("zero", "marvin"):
        (tmp_path / "words" / word).mkdir(parents=True)
        for i, samples in enumerate(variants(spoken("zero")[0], 4)):
            soundfile.write(tmp_path / "words" / word / f"{i}.wav", samples, RATE)
    return tmp_path / "words"


def test_recordings_become_a_model_that_listens(
    words: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = pytest.importorskip("lcspeech.train.adapt")
    monkeypatch.setattr(module, "_STEPS", 2)
    model = words.parent / "mine"
    assert main(["adapt", str(words / "zero"), "-o", str(model)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("zero: ")
    assert " of its 4 recordings heard, scores from " in first
    assert last == f"{model}: written; listen with --model {model}"
    soundfile.write(words.parent / "said.wav", np.concatenate([spoken("zero")[0], spoken("yes")[0]]), RATE)
    listened = ["spot", str(words.parent / "said.wav"), "--json", "--model", str(model), "--threshold", "0.01"]
    assert main(listened) == 0
    assert {json.loads(line)["keyword"] for line in capsys.readouterr().out.splitlines()} == {"zero"}


def test_each_folder_is_a_word_and_the_output_no_shipped_model(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words.parent / "more" / "zero").mkdir(parents=True)
    zero, again = str(words / "zero"), str(words.parent / "more" / "zero")
    for arguments, problem in (
        ([zero, again, "-o", "mine"], "two folders of recordings are called 'zero'; put them into one"),
        ([f"{zero}/0.wav", "-o", "mine"], "is no folder; give one for each word, by the name of the word"),
        ([again, "-o", "mine"], "no audio in"),
        ([zero, "-o", "open"], "a model called 'open' is shipped, and would be found first; give another name"),
    ):
        assert main(["adapt", *arguments]) != 0
        assert problem in capsys.readouterr().err
    assert not Path("mine").exists()


def test_without_the_extra_the_command_that_installs_it_is_named(words: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from lcspeech.cli import main; "
        f"sys.exit(main(['adapt', {str(words / 'zero')!r}, '-o', {str(words.parent / 'mine')!r}]))"
    )
    done = python(code)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["lcspeech: error: adapt needs torch: pip install 'lcspeech[train]'"]


def test_typed_words_are_said_by_voices(
    words: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, voices = (pytest.importorskip(f"lcspeech.train.{name}") for name in ("adapt", "voices"))
    if "espeak-ng" not in voices.installed() and "CI" not in os.environ:
        pytest.skip("espeak-ng is not installed (Debian: apt install espeak-ng)")
    monkeypatch.setattr(module, "_STEPS", 2)
    monkeypatch.setattr(module, "_STEPS_MORE", 0)
    monkeypatch.setattr(voices, "installed", lambda: ("espeak-ng",))
    model = words.parent / "mine"
    typed = ["--keyword", "hey computer", "zero", "oak=OW K"]
    assert main(["adapt", str(words / "zero"), *typed, "-o", str(model)]) == 0
    said = capsys.readouterr()
    first, *others, last = said.out.splitlines()
    assert first.startswith("zero: ")
    assert others == [f"{word}: learned from espeak-ng, no recordings to try it on" for word in ("hey computer", "oak")]
    assert last == f"{model}: written; listen with --model {model}"
    assert "'oak' is short, 2 units" in said.err
    assert "only espeak-ng is installed; with flite, too, more is found" in said.err
    thresholds = {word["name"]: word["threshold"] for word in json.loads((model / "card.json").read_text())["keywords"]}
    assert thresholds == {"zero": 0.5, "hey computer": 0.7, "oak": 0.7}


def test_what_cannot_be_typed_is_refused(words: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, problem in (
        ([], "no words to learn; type them, or give a folder of recordings for each"),
        (["--keyword", "mine.json"], "'mine.json' holds no sound to learn from; give the folder of its recordings"),
        (["--keyword", "mine.json:0.4"], "'mine.json:0.4' holds no sound to learn from"),
        (["--keyword", "athena:0.5"], "a threshold is not learned, 'athena:0.5'; give it to those that listen"),
        (["--keyword", "athena", str(words / "zero")], "zero' is a folder; put those of recordings before --keyword"),
        (["--keyword", "athena=AH TH IY N AH|"], "holds an empty pronunciation; give each as units"),
        ([str(words / "zero"), "--negatives", ""], "an empty file name; give a file or a folder"),
        (["--keyword", "x=Q Q"], "unit"),
    ):
        assert main(["adapt", *arguments, "-o", str(words.parent / "mine")]) != 0
        assert problem in capsys.readouterr().err
    assert not (words.parent / "mine").exists()


def test_without_a_voice_programs_to_install_are_named(
    words: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lcspeech.train.adapt")
    monkeypatch.setenv("PATH", str(words))
    assert main(["adapt", "--keyword", "hey computer", "-o", str(words.parent / "mine")]) == 1
    assert "install them (Debian: apt install flite espeak-ng), or give recordings" in capsys.readouterr().err
