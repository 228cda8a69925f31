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
    vocabulary = [("A",) * n + (str(i),) for n in range(15) for i in range(60)]
    drawn = draw_words(vocabulary)
    assert Counter(map(len, drawn)) == dict.fromkeys(range(1, 11), 50)
    assert len(set(drawn)) == len(drawn)
    assert drawn == draw_words(reversed(vocabulary)) != draw_words(vocabulary, seed=1)


def test_a_score_of_one_half_means_the_alarms_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    random, hours = np.random.default_rng(0), 10.0
    words = [tuple(random.choice(["AH", "T", "CH", "OY"], n)) for n in np.repeat(range(1, 11), 8)]
    lengths, rare = (np.array([count(word) for word in words]) for count in (len, _count_rare))
    # A tenfold rate for each 2 ln 10 of log-odds; talk is taken for a word the less the longer and the rarer it is
    odds = -3.0 * lengths - 1.5 * rare + random.exponential(2.0, (36_000, 80))
    monkeypatch.setattr(open_words, "_peaks", lambda *_: (odds, hours))
    spotter = Spotter.load()
    settings = calibrate_open(spotter, [Recording(DEMO, ())], words, 0.5)
    assert settings.slope == pytest.approx(0.5, rel=0.15)
    by_unit = dict(zip(spotter.units.symbols, settings.by_unit, strict=True))
    assert by_unit["CH"] - by_unit["AH"] == pytest.approx(1.5 * settings.slope, rel=0.15)
    assert by_unit["OY"] == pytest.approx(by_unit["CH"], abs=0.1)
    assert by_unit["K"] == 0
    own = [settings.per_unit * len(word) + sum(by_unit[unit] for unit in word) for word in words]
    score = settings.slope * odds + settings.offset + np.array(own)
    assert (score > 0)[:, lengths >= 4].sum(0).mean() / hours == pytest.approx(0.5, abs=0.05)
    assert (score > -np.log(10))[:, lengths >= 4].sum(0).mean() / hours == pytest.approx(5.0, rel=0.1)
    rates = [float((score > 0)[:, lengths == n].sum(0).mean() / hours) for n in range(1, 11)]
    assert settings.false_alarms == pytest.approx(rates, abs=0.02)


def _count_rare(word: tuple[str, ...]) -> int:
    return sum(unit in ("CH", "OY") for unit in word)


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
