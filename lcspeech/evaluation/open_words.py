"""How open words, typed or recorded, are scored: calibrated on speech in which none of them is said.

Nobody has recordings of the words that users will type. What can be known of them is how often they are heard in the
speech of others, so the score of an open word stands for that: at 0.5 the average word raises the false alarms that
were asked for, and ten times as many at a score of 1/11, whose odds are ten times lower. Words of many and of common
units are heard more faintly or more often than others, and their scores allow for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import ModelCard, OpenSettings
from lcspeech.decoder import KeywordSearch
from lcspeech.errors import UsageError
from lcspeech.evaluation.protocols import PAUSE_SECONDS, Recording, clip_log_probs
from lcspeech.search import LONGEST_SECONDS, log_odds
from lcspeech.spotter import Spotter
from lcspeech.units import Keyword

Doubles = NDArray[np.float64]

LENGTHS = tuple(range(1, 11))  # units
WORDS_PER_LENGTH = 50
_FROM = 4  # units: shorter words are advised against, and are not what the score is made for
_LOUDEST = 4  # seconds of each word, whose mean says how much of it is heard in speech
_RIDGE = 5.0  # words with a unit that count as much as the assumption that it is like all others
# Chosen on recordings of "athena" and "amelia", which no model was trained on, against speech: see recipes/FINDINGS.md
TEMPERATURE, BLANKS_BEFORE, BLANKS_AFTER = 1.1, 10, 7


def draw_words(vocabulary: Iterable[tuple[str, ...]], seed: int = 0) -> list[tuple[str, ...]]:
    """Random pronunciations of each length from 1 to 10, as many of each."""
    random = np.random.default_rng(seed)
    by_length: dict[int, list[tuple[str, ...]]] = {length: [] for length in LENGTHS}
    for pronunciation in sorted(set(vocabulary)):
        by_length.get(len(pronunciation), []).append(pronunciation)
    drawn: list[tuple[str, ...]] = []
    for words in by_length.values():
        chosen = random.permutation(len(words))[:WORDS_PER_LENGTH]
        drawn += [words[i] for i in chosen]
    return drawn


def calibrate_open(
    spotter: Spotter, speech: Sequence[Recording], words: Sequence[tuple[str, ...]], alarms_per_hour: float
) -> OpenSettings:
    """How the model scores open words; `words` are pronunciations in units, drawn without regard to `speech`.

    Without speech the score stays that of the card.

    Raises:
        UsageError: if a length from 1 to 10 units is not among the words.
    """
    settings = dataclasses.replace(
        spotter.card.open, temperature=TEMPERATURE, blanks_before=BLANKS_BEFORE, blanks_after=BLANKS_AFTER
    )
    if not speech or not words:
        return settings
    lengths = np.array([len(word) for word in words])
    if not np.isin(LENGTHS, lengths).all():
        raise UsageError("words of every length from 1 to 10 units are needed to calibrate open words")
    peaks, hours = _peaks(spotter, dataclasses.replace(spotter.card, open=settings), speech, words)
    long = [n for n in LENGTHS if n >= _FROM]

    def at(rate: float, odds: Doubles) -> float:
        """The log-odds that the average word exceeds so many times an hour."""
        rank = max(1, round(rate * hours * odds.shape[1]))
        return float(np.partition(odds.ravel(), -rank)[-rank])

    per_unit = float(np.polyfit(long, [at(alarms_per_hour, peaks[:, lengths == n]) for n in long], 1)[0])
    even = peaks - per_unit * lengths  # a long word's probability is a product of more factors
    counts = np.array([np.bincount(spotter.units.encode(word), minlength=len(spotter.units)) for word in words])
    by_unit = _by_unit(counts[lengths >= _FROM], even[:, lengths >= _FROM])
    even = even - counts @ by_unit
    level, faint = (at(rate, even[:, lengths >= _FROM]) for rate in (alarms_per_hour, 10 * alarms_per_hour))
    slope = float(np.log(10)) / max(level - faint, 1e-3)
    rates = [float((even[:, lengths == n] > level).sum(0).mean() / hours) for n in LENGTHS]
    return dataclasses.replace(
        settings,
        slope=round(slope, 4),
        offset=round(-slope * level, 4),
        per_unit=round(-slope * per_unit, 4),
        by_unit=tuple((0.0 - slope * by_unit).round(4).tolist()),
        false_alarms=tuple(round(rate, 2) for rate in rates),
    )


def _by_unit(counts: NDArray[np.integer], odds: Doubles) -> Doubles:
    """By how much each unit raises what is heard of a word, from log-odds ``[seconds, words]``: ridge regression.

    AH, T and N are heard everywhere; OY and CH are heard where they are said.
    """
    heard = np.sort(odds, 0)[-_LOUDEST:].mean(0)
    x, y = counts - counts.mean(0), heard - heard.mean()
    return np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)


def _peaks(
    spotter: Spotter, card: ModelCard, speech: Sequence[Recording], words: Sequence[tuple[str, ...]]
) -> tuple[Doubles, float]:
    """The highest raw log-odds of each word in each second of speech, ``[seconds, words]``, and the hours heard."""
    second = round(1 / card.frame_seconds)
    keywords = [Keyword.spelled(" ".join(word), [word], spotter.units) for word in words]
    search = KeywordSearch(keywords, card.open_search, LONGEST_SECONDS / card.frame_seconds)
    state, rows = search.initial_state(), []
    pause = np.full((round(PAUSE_SECONDS / card.frame_seconds), len(card.units)), -30.0)
    pause[:, 0] = 0.0
    for recording in speech:
        log_probs = np.concatenate([clip_log_probs(spotter, recording), pause])
        hits, state = search.run(log_probs, state)
        odds = log_odds(hits.scores)
        rows += [odds[i : i + second].max(0) for i in range(0, len(odds), second)]
    return np.array(rows), int(state["frame"]) * card.frame_seconds / 3600
