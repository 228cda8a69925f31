"""Scores that mean something: the logistic fit by its own equations, the choices on words that are really spoken."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Spotter, pretrained
from lcspeech.card import SearchSettings
from lcspeech.encoder import Encoder
from lcspeech.evaluation.calibration import calibrate, fit_logistic, log_odds, unknown_bias
from lcspeech.evaluation.protocols import Recording, clip_accuracy, listen_to

DEMO = Path(__file__).parents[2] / "demos" / "audio" / "commands.flac"


def sigmoid(x: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(1 / (1 + np.exp(-x)))


def test_log_odds_are_finite_at_both_ends() -> None:
    odds = log_odds(np.array([0.0, 0.2, 0.5, 1.0]))
    assert odds[1:3] == pytest.approx([np.log(0.25), 0])
    assert (odds[3], -odds[0]) == pytest.approx((np.log(1e9), np.log(1e9)), rel=1e-6)


def test_the_fit_finds_the_line_that_made_the_data() -> None:
    # Two normal densities of one variance: the log-odds are exactly linear, slope (b - a) / var
    random = np.random.default_rng(0)
    slope, offset = fit_logistic(random.normal(3, 2, 40_000), random.normal(-1, 2, 10_000))
    assert slope == pytest.approx(4 / 4, abs=0.03)
    assert offset == pytest.approx(-(9 - 1) / (2 * 4), abs=0.05)


def test_both_classes_weigh_the_same() -> None:
    random = np.random.default_rng(1)
    present, absent = random.normal(1, 1, 900), random.normal(0, 1, 30)
    slope, offset = fit_logistic(present, absent)
    p, q = sigmoid(slope * present + offset), sigmoid(slope * absent + offset)
    assert (1 - p).mean() == pytest.approx(q.mean(), abs=2e-3)  # the offset's score equation
    assert ((1 - p) * present).mean() == pytest.approx((q * absent).mean(), abs=2e-3)  # the slope's


def test_separable_classes_stay_finite() -> None:
    slope, offset = fit_logistic(np.array([1.0, 2.0]), np.array([-2.0, -1.0]))
    assert 0 < slope < 100
    assert abs(offset) < 1


@pytest.fixture(scope="module")
def plain() -> Spotter:
    """The shipped model as it was before its calibration."""
    encoder = Encoder(pretrained.load())
    encoder.card = dataclasses.replace(encoder.card, search=SearchSettings())
    return Spotter(encoder, encoder.card.spotted())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    """The words of the bundled recording, one by one."""
    folder = tmp_path_factory.mktemp("clips")
    samples, rate = soundfile.read(DEMO, dtype="float32")
    recordings = []
    for i, event in enumerate(json.loads(DEMO.with_suffix(".json").read_text())["events"]):
        path = folder / f"{i}.wav"
        start, end = (round(seconds * rate) for seconds in (event["start"] - 0.2, event["end"] + 0.2))
        soundfile.write(path, samples[start:end], rate)
        recordings.append(Recording(path, (event.get("keyword", event.get("other")),)))
    return recordings


def test_the_unknown_bias_is_the_one_that_labels_most_clips_rightly(plain: Spotter, clips: list[Recording]) -> None:
    def right(bias: float) -> int:
        encoder = Encoder(pretrained.load())
        search = SearchSettings(unknown_bias=bias)
        encoder.card = dataclasses.replace(encoder.card, search=search, fillers=())
        return sum(part.count for part in clip_accuracy(Spotter(encoder, encoder.card.spotted()), clips).values())

    best = unknown_bias(plain, clips)
    assert right(best) == max(right(bias) for bias in (-10.0, -6.0, -3.0, 0.0, best))


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_threshold_lets_so_many_alarms_pass(plain: Spotter, clips: list[Recording], allowed: int) -> None:
    speech = [Recording(clip.path, ()) for clip in clips]  # whatever is heard in these is false
    hours = listen_to(plain, speech).seconds / 3600
    settings, threshold = calibrate(plain, clips, speech, (allowed + 0.5) / hours)
    card = dataclasses.replace(plain.card, search=settings)
    encoder = Encoder(pretrained.load())
    encoder.card = card
    calibrated = Spotter(encoder, card.spotted(), threshold)
    assert len(listen_to(calibrated, speech).false) == allowed
    assert settings.slope > 0


def test_without_speech_the_map_stays_the_identity(plain: Spotter, clips: list[Recording]) -> None:
    settings, threshold = calibrate(plain, clips, [], 1.0)
    assert (settings.slope, settings.offset, threshold) == (1.0, 0.0, 0.5)
