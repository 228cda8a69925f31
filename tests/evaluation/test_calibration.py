"""Scores that mean something: the logistic fit by its own equations, the choices on words that are really spoken."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Spotter, pretrained
from lcspeech.card import SearchSettings
from lcspeech.encoder import Encoder
from lcspeech.evaluation.calibration import ORDERS, biases, calibrate, fit_logistic, log_odds
from lcspeech.evaluation.levels import voiced
from lcspeech.evaluation.protocols import Recording, Validation, apart, clip_accuracy, listen_to, mixed

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


def test_the_biases_are_those_that_label_most_clips_rightly(plain: Spotter, clips: list[Recording]) -> None:
    def right(unknown: float, silence: float) -> int:
        encoder = Encoder(pretrained.load())
        search = SearchSettings(unknown_bias=unknown, silence_bias=silence)
        encoder.card = dataclasses.replace(encoder.card, search=search, fillers=())
        return sum(part.count for part in clip_accuracy(Spotter(encoder, encoder.card.spotted()), clips).values())

    best = biases(plain, clips, [])
    assert best[1] == 0  # nothing says how silence sounds
    assert right(*best) == max(right(bias, 0) for bias in (-10.0, -6.0, -3.0, 0.0, best[0]))


def test_the_silence_bias_weighs_words_against_noise(plain: Spotter, clips: list[Recording], tmp_path: Path) -> None:
    path = tmp_path / "hiss.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.003, 10 * 16_000), 16_000)
    unknown, silence = biases(plain, clips, [Recording(path, ())])
    encoder = Encoder(pretrained.load())
    search = SearchSettings(unknown_bias=unknown, silence_bias=silence)
    encoder.card = dataclasses.replace(encoder.card, search=search, fillers=())
    assert Spotter(encoder, encoder.card.spotted()).classify(path)[0][0] == "silence"


def test_late_spelling_is_put_right(plain: Spotter, clips: list[Recording]) -> None:
    settings, _ = calibrate(plain, Validation(tuple(clips), (), ()), 1.0)
    encoder = Encoder(pretrained.load())
    encoder.card = dataclasses.replace(plain.card, search=settings)
    spotter = Spotter(encoder, encoder.card.spotted())
    late = []
    for clip in clips:
        start, end = voiced(soundfile.read(clip.path, dtype="float32")[0], 16_000)
        (heard,) = listen_to(spotter, [clip])
        late += [(e.start - 0.5 - start, e.end - 0.5 - end) for e in heard.events]
    assert len(late) >= 8
    assert np.median(late, axis=0) == pytest.approx((0, 0), abs=0.06)
    assert settings.start_delay > settings.end_delay


def backward(clips: list[Recording]) -> Iterator[Recording]:
    """Each word played backward: it sounds like speech, and whatever is heard in it is false."""
    for clip in clips:
        samples, rate = soundfile.read(clip.path, dtype="float32")
        path = clip.path.with_name(f"backward-{clip.path.name}")
        soundfile.write(path, samples[::-1], rate)
        yield Recording(path, ())


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_the_threshold_lets_so_many_alarms_pass(plain: Spotter, clips: list[Recording], allowed: int) -> None:
    heard = [
        one.recording for one in listen_to(plain, clips) if [e.keyword for e in one.events] == [*one.recording.words]
    ]
    wordless = tuple(backward(clips))
    data = Validation(tuple(heard), wordless[::2], wordless[1::2])
    hours = sum(one.seconds for one in listen_to(plain, wordless)) / 3600
    settings, threshold = calibrate(plain, data, (allowed + 0.5) / hours)
    encoder = Encoder(pretrained.load())
    encoder.card = dataclasses.replace(plain.card, search=settings)

    def alarms(threshold: float) -> int:
        spotter, count = Spotter(encoder, encoder.card.spotted(), threshold), 0
        for seed in range(ORDERS):
            _, speech, noise = apart(listen_to(spotter, mixed(data, seed)), data)
            count += sum(len(one.false) for one in (*speech, *noise))
        return count

    assert alarms(threshold) <= (allowed + 0.5) * ORDERS < alarms(threshold - 0.003)
    assert settings.slope > 0


def test_a_network_that_tells_nothing_apart_keeps_the_identity(plain: Spotter, clips: list[Recording]) -> None:
    said = [clip for clip in clips if clip.words[0] in {keyword.name for keyword in plain.keywords}]
    speech = tuple(Recording(clip.path, ()) for clip in said)  # the words themselves, as if nobody had said them
    quiet = tuple(Recording(other.path, clip.words) for other, clip in zip(backward(said), said, strict=True))
    settings, threshold = calibrate(plain, Validation(quiet, speech, ()), 1.0)
    assert (settings.slope, settings.offset, threshold) == (1.0, 0.0, 0.5)


def test_without_speech_the_map_stays_the_identity(plain: Spotter, clips: list[Recording]) -> None:
    settings, threshold = calibrate(plain, Validation(tuple(clips), (), ()), 1.0)
    assert (settings.slope, settings.offset, threshold) == (1.0, 0.0, 0.5)
