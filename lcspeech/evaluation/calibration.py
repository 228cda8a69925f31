"""From raw probabilities to scores that mean something: the logistic map, the unknown bias and the threshold of a card.

All three are chosen on validation data, and go into the model's card.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lcspeech.card import SearchSettings
from lcspeech.evaluation.protocols import Recording, clip_log_probs, listen_to
from lcspeech.scoring import UNKNOWN, ClosedSet
from lcspeech.spotter import Spotter

Doubles = NDArray[np.float64]

UNKNOWN_BIASES = tuple(float(bias) for bias in range(-10, 1))  # nats
_FAINT = 0.01  # raw probability below which nothing is worth calibrating
_RIDGE = 1e-3  # keeps the logistic fit finite when the classes are separable


def calibrate(
    spotter: Spotter, clips: Sequence[Recording], speech: Sequence[Recording], alarms_per_hour: float
) -> tuple[SearchSettings, float]:
    """Search settings whose score is the probability of a real keyword, and the threshold for `alarms_per_hour`.

    The score is a logistic function of the raw log-odds, fitted on the loudest moments of keyword clips against
    events in speech that its transcript does not explain, both weighing the same. Without `speech` the map stays the
    identity. The spotter's card must hold the identity too.
    """
    settings = dataclasses.replace(spotter.card.search, unknown_bias=unknown_bias(spotter, clips))
    raw = spotter.replace(threshold=_FAINT)
    names = {keyword.name for keyword in spotter.keywords}
    present = np.array([_peak(raw, clip) for clip in clips if clip.words[0] in names])
    heard = listen_to(raw, speech)
    absent = np.sort([event.score for event in heard.false])[::-1]
    if not len(present) or not len(absent):
        return settings, 0.5
    slope, offset = fit_logistic(log_odds(present), log_odds(absent))
    allowed = int(alarms_per_hour * heard.seconds / 3600)
    loudest = log_odds(np.append(absent, _FAINT))[allowed : allowed + 1]  # of the alarms that must not be heard
    threshold = float(1 / (1 + np.exp(-(slope * loudest[0] + offset)))) if len(loudest) else 0.5
    # One step up in the last digit that the card keeps, so that this very alarm stays below
    threshold = min(1.0, np.ceil(threshold * 1000 + 1) / 1000)
    return dataclasses.replace(settings, slope=slope, offset=offset), threshold


def unknown_bias(spotter: Spotter, clips: Sequence[Recording]) -> float:
    """The bias of "unknown" that labels clips best when no word but the keywords is known.

    The other words are then as new to its closed set as a stranger's word.
    """
    names = [keyword.name for keyword in spotter.keywords]
    scored = [(clip_log_probs(spotter, clip), clip.words[0] in names, clip.words[0]) for clip in clips]
    best, best_accuracy = 0.0, -1.0
    for bias in UNKNOWN_BIASES:
        closed_set = ClosedSet(spotter.keywords, (), bias)
        labels = [closed_set.labels[int(closed_set.posteriors(log_probs).argmax())] for log_probs, _, _ in scored]
        right = [label == (word if known else UNKNOWN) for label, (_, known, word) in zip(labels, scored, strict=True)]
        accuracy = float(np.mean(right))
        if accuracy > best_accuracy:
            best, best_accuracy = bias, accuracy
    return best


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


def _peak(spotter: Spotter, clip: Recording) -> float:
    events = listen_to(spotter, [clip]).found
    return max((event.score for event in events if event.keyword == clip.words[0]), default=_FAINT)
