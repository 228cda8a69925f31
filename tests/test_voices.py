"""Synthetic voices: what they say is what was asked for, by its letters or by its phonemes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lcspeech import MissingDependencyError, Spotter, voices

pytestmark = pytest.mark.skipif(
    len(voices.installed()) < 2 and "CI" not in os.environ,
    reason="flite or espeak-ng is not installed (Debian: apt install flite espeak-ng)",
)
MARVIN = ("M", "AA", "R", "V", "IH", "N")


@pytest.fixture(scope="module")
def commands() -> Spotter:
    return Spotter.load("commands")


def test_each_program_says_a_word_in_as_many_ways_as_asked_for_and_the_same_again() -> None:
    said, again = (voices.say(["athena"], 4, seed=seed) for seed in (0, 0))
    assert len(said) == 8
    for one, other in zip(said, again, strict=True):
        assert one.dtype == np.float32
        assert 0.3 < len(one) / voices.RATE < 3
        assert np.sqrt(np.mean(one**2)) > 0.01
        np.testing.assert_array_equal(one, other)
    assert len({len(one) for one in said}) == 8
    assert not np.array_equal(voices.say(["athena"], 1, seed=1)[0], said[0])


def test_words_are_heard_as_such_said_by_their_letters_or_their_phonemes(commands: Spotter) -> None:
    def heard(samples: voices.Floats) -> str:
        return commands.classify(samples, sample_rate=voices.RATE)[0][0]

    for text in ("marvin", MARVIN):
        labels = [heard(samples) for samples in voices.say([text], 6)[:6]]  # flite's, who come first
        assert labels.count("marvin") >= 5, (text, labels)
    for voice in ("en-us+m1", "en-us+f3"):  # of others one says "yes" so that it is taken for nothing
        assert heard(voices.espeak("yes", voice)) == heard(voices.espeak(("Y", "EH", "S"), voice)) == "yes"
        by_letters, by_phonemes = voices.espeak("seven", voice), voices.espeak(("S", "EH", "V", "AH", "N"), voice)
        np.testing.assert_array_equal(by_letters, by_phonemes)


def test_several_pronunciations_are_said_by_turns() -> None:
    by_turns = voices.say(["yes", MARVIN], 2)
    for number, text in enumerate(("yes", MARVIN, "yes", MARVIN)):
        np.testing.assert_array_equal(by_turns[number], voices.say([text], 2)[number])


def test_every_phoneme_is_said_by_both(commands: Spotter) -> None:
    for phoneme in commands.card.units[1:]:
        word = ("AH", phoneme, "IY")
        for samples in (voices.flite(word, "slt"), voices.espeak(word, "en-us")):
            assert 0.15 < len(samples) / voices.RATE < 2, phoneme
    assert len(voices.espeak(("S", "T"), "en-us")) > 0.1 * voices.RATE  # a word without a vowel


def test_what_is_not_installed_or_does_not_speak_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match="espeak-ng does not speak"):
        voices.espeak("yes", "no such voice")
    broken = tmp_path / "flite"
    broken.write_text("#!/bin/sh\necho noise\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="flite does not speak"):
        voices.flite("yes", "slt")
    broken.unlink()
    assert voices.installed() == ()
    with pytest.raises(MissingDependencyError, match=r"install them \(Debian: apt install flite espeak-ng\)"):
        voices.say(["yes"], 1)
    with pytest.raises(MissingDependencyError, match=r"no espeak-ng; install it \(Debian: apt"):
        voices.espeak("yes", "en-us")
