"""From raw probabilities to scores that mean something: what a card's search settings and threshold are chosen by.

Everything is chosen on validation data, and goes into the model's card.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import SearchSettings
from lcspeech.evaluation.datasets import read_samples
from lcspeech.evaluation.levels import voiced
from lcspeech.evaluation.protocols import Heard, Recording, Validation, apart, clip_log_probs, listen_to, mixed
from lcspeech.scoring import SILENCE, UNKNOWN, ClosedSet
from lcspeech.spotter import Spotter
from lcspeech.trigger import Event

Doubles = NDArray[np.float64]

BIASES = tuple(float(bias) for bias in range(-10, 1))  # nats
SILENCE_SHARE = 1 / 12  # of silence among the clips that the biases are chosen on, as in the 12-class protocol
ORDERS = 4  # of the validation data that are heard: which few alarms are the loudest is chance in each
_FAINT = 0.01  # raw probability below which nothing is worth calibrating
_RIDGE = 1e-3  # keeps the logistic fit finite when the classes are separable


def calibrate(spotter: Spotter, data: Validation, alarms_per_hour: float) -> tuple[SearchSettings, float]:
    """Search settings whose score is the probability of a real keyword, and the threshold for `alarms_per_hour`.

    The score is a logistic function of the raw log-odds, fitted on the loudest moments of keyword clips against
    events in noise, and in speech that its transcript does not explain, both weighing the same. Without such, or where
    they score no lower, the map stays the identity. The spotter's card must hold the identity too.
    """
    unknown_bias, silence_bias = biases(spotter, data.clips, data.noise)
    settings = dataclasses.replace(spotter.card.search, unknown_bias=unknown_bias, silence_bias=silence_bias)
    raw = spotter.replace(threshold=_FAINT)
    names = {keyword.name for keyword in spotter.keywords}
    clips, *others = _heard(raw, data)
    wordless = [one for kind in others for one in kind]
    found = [clip for clip in clips if clip.recording.words[0] in names]
    start_delay, end_delay = delays(raw, found)
    settings = dataclasses.replace(settings, start_delay=start_delay, end_delay=end_delay)
    present = np.array([event.score if (event := _loudest(clip)) else _FAINT for clip in found])
    absent = np.array([event.score for one in wordless for event in one.false])
    if not len(present) or not len(absent):
        return settings, 0.5
    slope, offset = fit_logistic(log_odds(present), log_odds(absent))
    if slope <= 0:  # a network that tells nothing apart; an inverted score would only hide it
        return settings, 0.5
    settings = dataclasses.replace(settings, slope=slope, offset=offset)
    allowed = int(alarms_per_hour * sum(one.seconds for one in wordless) / 3600)
    return settings, _threshold(raw, settings, data, allowed, absent)


def _threshold(raw: Spotter, settings: SearchSettings, data: Validation, allowed: int, false: Doubles) -> float:
    """The threshold, to three digits, that lets `allowed` false alarms pass; `false` are the raw scores of faint ones.

    What is heard depends on the threshold, since an event ends the search for others for a while: so each choice is
    listened to, and raised until it is right.
    """
    threshold = 0.0
    while len(false) > allowed and threshold < 1:
        loudest = settings.slope * log_odds(np.sort(false)[::-1])[allowed] + settings.offset
        # One step up in the last digit, so that this very alarm stays below
        threshold = float(min(1.0, np.ceil(1000 / (1 + np.exp(-loudest)) + 1) / 1000))
        odds = (log_odds(np.array(threshold)) - settings.offset) / settings.slope
        _, *others = _heard(raw.replace(threshold=float(1 / (1 + np.exp(-odds)))), data)
        false = np.array([event.score for kind in others for one in kind for event in one.false])
    return threshold or 0.5


def _heard(spotter: Spotter, data: Validation) -> tuple[list[Heard], list[Heard], list[Heard]]:
    """What is heard in clips, in speech and in noise, in several orders."""
    return apart((one for seed in range(ORDERS) for one in listen_to(spotter, mixed(data, seed))), data)


def biases(spotter: Spotter, clips: Sequence[Recording], noise: Sequence[Recording]) -> tuple[float, float]:
    """The biases of "unknown" and of "silence" that label most rightly: clips, and each second of `noise` as silence.

    No word but the keywords is known here, so that the others are as new to the closed set as a stranger's word.
    """
    closed_set = ClosedSet(spotter.keywords, ())
    labels = closed_set.labels
    unknown, silence = labels.index(UNKNOWN), labels.index(SILENCE)
    second = round(1 / spotter.card.frame_seconds)

    def logits(pieces: Sequence[NDArray[np.float32]]) -> Doubles:
        rows = [np.log(np.maximum(closed_set.posteriors(piece), 1e-300)) for piece in pieces]
        return np.array(rows).reshape(-1, len(labels))

    words = logits([clip_log_probs(spotter, clip) for clip in clips])
    targets = np.array([labels.index(w) if w in labels else unknown for w in (clip.words[0] for clip in clips)])
    long = [clip_log_probs(spotter, recording) for recording in noise]
    empty = logits([x[i : i + second] for x in long for i in range(0, len(x) - second + 1, second)])

    def right(bias: tuple[float, float]) -> float:
        shift = np.zeros(len(labels))
        shift[[unknown, silence]] = bias
        as_words = float(((words + shift).argmax(1) == targets).mean())
        as_silence = float(((empty + shift).argmax(1) == silence).mean()) if len(empty) else 0.0
        return (1 - SILENCE_SHARE) * as_words + SILENCE_SHARE * as_silence

    silence_biases = BIASES if len(empty) else (0.0,)
    # Among equals the one nearest to none
    return max(((u, s) for s in silence_biases[::-1] for u in BIASES[::-1]), key=right)


def delays(spotter: Spotter, clips: Sequence[Heard]) -> tuple[float, float]:
    """Median seconds by which the events of clips start and end later than the words in them, by loudness."""
    rate = spotter.card.features.sample_rate
    late = [
        (event.start - clip.start - start, event.end - clip.start - end)
        for clip in clips
        if (event := _loudest(clip)) is not None
        for start, end in [voiced(read_samples(clip.recording.path, rate), rate)]
    ]
    if not late:
        return 0.0, 0.0
    start_delay, end_delay = np.median(late, axis=0).round(3).tolist()
    return start_delay, end_delay


def log_odds(probability: Doubles) -> Doubles:
    """log(p / (1 - p)), finite at both ends."""
    probability = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(probability) - np.log1p(-probability))


def fit_logistic(present: Doubles, absent: Doubles) -> tuple[float, float]:
    """Slope and offset of P(present | x) by Newton's method, both classes weighing the same."""
    x = np.concatenate([present, absent])
    x = np.stack([x, np.ones_like(x)], axis=1)
    target = np.concatenate([np.ones(len(present)), np.zeros(len(absent))])
    weight = np.concatenate([np.full(len(present), 1 / len(present)), np.full(len(absent), 1 / len(absent))])
    beta = np.zeros(2)
    for _ in range(50):
        probability = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (weight * (target - probability)) - _RIDGE * beta
        hessian = (x.T * (weight * probability * (1 - probability))) @ x + _RIDGE * np.eye(2)
        beta = beta + np.linalg.solve(hessian, gradient)
    return float(beta[0]), float(beta[1])


def _loudest(clip: Heard) -> Event | None:
    events = [event for event in clip.events if event.keyword in clip.recording.words]
    return max(events, key=lambda event: event.score, default=None)
