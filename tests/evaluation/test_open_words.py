"""The score of open words, from speech in which none of them is said."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lcspeech import Spotter, UsageError
from lcspeech.evaluation import open_words
from lcspeech.evaluation.open_words import calibrate_open, draw_words
from lcspeech.evaluation.protocols import Recording
from tests.words import DEMO


def test_words_are_drawn_of_every_length() -> None:
    vocabulary = [("A",) * n + (str(i),) for n in range(15) for i in range(12)]
    drawn = draw_words(vocabulary)
    assert Counter(map(len, drawn)) == dict.fromkeys(range(1, 11), 10)
    assert len(set(drawn)) == len(drawn)
    assert drawn == draw_words(reversed(vocabulary)) != draw_words(vocabulary, seed=1)


def test_a_score_of_one_half_means_the_alarms_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    random, hours = np.random.default_rng(0), 10.0
    lengths = np.repeat(range(1, 11), 4)
    odds = -3.0 * lengths + random.exponential(2.0, (36_000, 40))  # a tenfold rate for each 2 ln 10 of log-odds
    monkeypatch.setattr(open_words, "_peaks", lambda *_: (odds, hours))
    words = [("A",) * n for n in lengths]
    settings = calibrate_open(Spotter.load(), [Recording(DEMO, ())], words, 0.5)
    assert settings.slope == pytest.approx(0.5, rel=0.15)
    assert settings.per_unit == pytest.approx(3.0 * settings.slope, rel=0.05)
    score = settings.slope * odds + settings.offset + settings.per_unit * lengths
    assert (score > 0)[:, lengths >= 4].sum(0).mean() / hours == pytest.approx(0.5, abs=0.05)
    assert (score > -np.log(10))[:, lengths >= 4].sum(0).mean() / hours == pytest.approx(5.0, rel=0.1)
    assert settings.false_alarms == tuple(
        round(float((score > 0)[:, lengths == n].sum(0).mean() / hours), 2) for n in range(1, 11)
    )


def test_words_of_every_length_are_needed() -> None:
    with pytest.raises(UsageError, match="every length"):
        calibrate_open(Spotter.load(), [Recording(DEMO, ())], [("Y", "EH", "S")], 0.5)


def test_without_speech_the_score_stays() -> None:
    spotter = Spotter.load()
    settings = calibrate_open(spotter, [], [("Y", "EH", "S")], 0.5)
    assert (settings.slope, settings.offset) == (spotter.card.open.slope, spotter.card.open.offset)
    assert settings.false_alarms == spotter.card.open.false_alarms


def test_a_recording_is_searched_for_all_words_at_once() -> None:
    spotter = Spotter.load()
    words = [("Y", "EH", "S"), ("Z", "IH", "R", "OW"), ("OY", "ZH", "TH", "AW", "NG", "UH")]
    peaks, hours = open_words._peaks(spotter, spotter.card, [Recording(DEMO, ())], words)
    assert hours * 3600 == pytest.approx(len(peaks), abs=2)
    yes, zero, nonsense = peaks.max(0)
    assert yes > -3
    assert min(yes, zero) > nonsense + 10
