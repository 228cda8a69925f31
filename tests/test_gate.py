"""The gate of a dynamic model: the same events for all blocks, nothing computed in silence, and no word cut off."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech import Event, ModelError, Spotter, Stream, pretrained
from lcspeech.card import GATE_KEY
from lcspeech.encoder import Encoder, EncoderStream
from lcspeech.evaluation import gating
from lcspeech.evaluation.levels import LEVEL, levelled
from lcspeech.features import log_mel
from lcspeech.gate import Gate, GatedStream
from lcspeech.search import is_gates
from lcspeech.units import BLANK
from tests.words import spoken

NAME = "commands-dynamic"
DEMO = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"
RATE = 16_000
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    return Spotter.load(NAME)


@pytest.fixture(scope="module")
def samples() -> Floats:
    """Words of the bundled recording before and after three seconds in which there is next to nothing."""
    words = np.asarray(soundfile.read(DEMO, dtype="float32", stop=8 * RATE)[0])
    faint = np.random.default_rng(0).normal(0, 1e-4, 3 * RATE).astype(np.float32)
    return np.concatenate([words, faint, words])


def calls(spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames of each of the encoder's calls while a stream goes by."""
    heard: list[int] = []
    process = EncoderStream.process

    def counted(self: EncoderStream, log_mel: Floats) -> Floats:
        heard.append(len(log_mel))
        return process(self, log_mel)

    with monkeypatch.context() as patch:
        patch.setattr(EncoderStream, "process", counted)
        stream = spotter.stream()
        for start in range(0, len(samples), 640):
            stream.feed(samples[start : start + 640])
    return heard


def assert_same(events: list[Event] | tuple[Event, ...], expected: tuple[Event, ...]) -> None:
    assert [event.keyword for event in events] == [event.keyword for event in expected]
    for event, other in zip(events, expected, strict=True):
        assert (event.start, event.end, event.score) == pytest.approx((other.start, other.end, other.score), abs=1e-3)


@given(st.lists(st.integers(100, 40_000), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None)
def test_streaming_equals_offline(blocks: list[int]) -> None:
    spotter = Spotter.load(NAME)
    words = np.asarray(soundfile.read(DEMO, dtype="float32", stop=5 * RATE)[0])
    samples = np.concatenate([words, np.zeros(3 * RATE, np.float32), words])
    whole = spotter.spot(samples, sample_rate=RATE)
    assert len(whole) >= 2
    stream, events, parts, start = spotter.stream(), [], [], 0
    other = Stream(spotter, RATE, lead=False)
    while start < len(samples):
        for size in blocks:
            events += stream.feed(samples[start : start + size])
            parts.append(other.encode(samples[start : start + size]))
            start += size
    assert_same(events + stream.flush(), whole)
    streamed = np.concatenate([*parts, other.encode_rest()])
    streamed = streamed[:, : len(spotter.units)]
    np.testing.assert_allclose(streamed, spotter.log_probs(samples, sample_rate=RATE), rtol=0, atol=1e-4)


@pytest.mark.parametrize("now", [40_000, 130_000])  # while there is a word, and while there is none
@pytest.mark.parametrize("block", [160, 1_280, 40_000])
def test_the_future_never_changes_the_past(spotter: Spotter, samples: Floats, block: int, now: int) -> None:
    other = samples.copy()
    other[now:] = np.random.default_rng(0).uniform(-1, 1, len(other) - now)
    first, second = (spotter.log_probs(x, sample_rate=RATE, block=block) for x in (samples, other))
    features = spotter.card.features
    frames = ((now - features.window) // features.hop + 1) // spotter.card.time_stride
    np.testing.assert_array_equal(first[:frames], second[:frames])  # to the bit
    assert not np.array_equal(first[frames:], second[frames:])


@pytest.mark.parametrize("seconds", [3.3, 9.77, 11.02])  # the second: while the search rests
def test_a_stream_goes_on_from_a_saved_state(spotter: Spotter, samples: Floats, seconds: float) -> None:
    cut, first = int(seconds * RATE), spotter.stream()
    events = first.feed(samples[:cut])
    file = io.BytesIO()
    np.savez(file, **first.state)
    file.seek(0)
    with np.load(file) as saved:
        second = spotter.stream(state=dict(saved))
    assert_same(events + second.feed(samples[cut:]) + second.flush(), spotter.spot(samples, sample_rate=RATE))


def test_in_silence_the_encoder_rests(spotter: Spotter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(calls(spotter, np.zeros(20 * RATE, np.float32), monkeypatch)) <= 5  # of 56 steps


def test_when_it_opens_the_last_moments_are_heard_again(
    spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = spotter.card.gate
    heard = calls(spotter, samples, monkeypatch)
    steps = {count * gate.step for count in (1, 2, 3)}
    assert not steps.isdisjoint(heard)
    opening = {step + gate.replay for step in steps}
    assert not opening.isdisjoint(heard)
    missed = range(gate.step, gate.replay + 1, gate.step)  # by a shorter rest, all of which is heard
    assert set(heard) <= steps | {step + rest for step in steps for rest in missed}
    assert sum(heard) < 0.8 * len(samples) / RATE * 100  # and yet less than all is


def test_a_rest_no_longer_than_what_is_heard_again_leaves_no_trace(
    spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, gate = spotter.card, spotter.gate
    assert gate is not None
    step, stride, rest = gate.settings.step, card.time_stride, gate.settings.replay // gate.settings.step
    plan = [*[True] * 10, *[False] * rest, *[True] * 5, *[False] * (rest + 1), *[True] * 5]
    frames = log_mel(samples[RATE:], card.features)[: len(plan) * step]
    decisions = iter(plan)

    def run(_: Gate, heard: Floats, state: Floats) -> tuple[NDArray[np.bool_], Floats, Floats]:
        count = len(heard) // stride
        return np.full(count, next(decisions)), np.zeros((count, len(card.units)), np.float32), state

    monkeypatch.setattr(Gate, "run", run)
    stream = GatedStream(spotter.encoder, gate, spotter.quiet)
    pieces = np.split(frames, range(step, len(frames), step))
    rows = np.concatenate([stream.process(piece) for piece in pieces])
    whole, _ = spotter.encoder.run(frames[: len(rows) * stride], spotter.quiet)
    is_open = np.repeat(plan, step // stride)
    first = np.arange(len(rows)) < (15 + rest) * (step // stride)
    np.testing.assert_allclose(rows[is_open & first], whole[is_open & first], rtol=0, atol=1e-4)
    assert np.abs(rows[is_open & ~first] - whole[is_open & ~first]).max() > 1e-3  # from silence


def test_words_are_found_as_without_the_gate(spotter: Spotter) -> None:
    recording = np.asarray(soundfile.read(DEMO, dtype="float32")[0])
    both = spotter, gating.without_gate(spotter)
    found, expected = ([event.keyword for event in one.spot(recording, sample_rate=RATE)] for one in both)
    assert len(found) >= 0.9 * len(expected) > 8


@pytest.mark.parametrize("change", ["whispered", "in noise", "quiet"])
def test_it_opens_when_it_is_unsure(spotter: Spotter, change: str) -> None:
    random = np.random.default_rng(0)
    names = ("yes", "no", "up", "down", "left", "right", "go", "zero", "one", "five", "eight")
    clips = [(name, levelled(clip, RATE)) for name in names for clip in spoken(name)]
    if change == "whispered":
        clips = [(name, gating.whispered(clip, RATE, random)) for name, clip in clips]
    scene = gating.scene(clips, RATE, pause=2.0)
    if change == "in noise":  # at 0 dB
        scene = gating.with_noise(scene, random.standard_normal(RATE).astype(np.float32), LEVEL)
    if change == "quiet":  # by 30 dB
        scene = gating.Scene(scene.samples / np.float32(10**1.5), scene.words)
    rows = spotter.log_probs(scene.samples, sample_rate=RATE)
    is_open = ~is_gates(rows)
    spans = [slice(*(round(t / spotter.card.frame_seconds) for t in (start, end))) for _, start, end in scene.words]
    opened = [is_open[span].any() for span in spans]
    assert sum(opened) >= len(opened) - 1
    ungated = gating.without_gate(spotter)
    assert gating.heard(spotter, scene)["found"] >= gating.heard(ungated, scene)["found"] - 3


def test_a_gate_that_never_opens_still_says_what_it_hears(spotter: Spotter) -> None:
    """Rows of a closed gate are distributions that know no unit but blank."""
    log_probs = spotter.log_probs(np.zeros(5 * RATE, np.float32), sample_rate=RATE)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-5)
    assert (log_probs[-20:, BLANK] > np.log(0.8)).all()


def test_what_was_known_of_words_holds_when_the_gate_closes(spotter: Spotter, samples: Floats) -> None:
    stream, units = spotter.stream(), len(spotter.units)
    rows = np.concatenate([stream.encode(samples), stream.encode_rest()])
    closed = np.flatnonzero(is_gates(rows[:, :units])[1:]) + 1
    assert 10 < len(closed) < len(rows)
    assert rows.shape[1] == spotter.card.columns > units
    np.testing.assert_array_equal(rows[closed, units:], rows[closed - 1, units:])


def test_a_file_without_its_gate_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(pretrained.load(NAME))
    kept = [prop for prop in model.metadata_props if prop.key != GATE_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="export it again"):
        Spotter.load(path)


def test_others_have_none() -> None:
    spotter = Spotter.load("commands-tiny")
    assert spotter.gate is None
    assert not isinstance(spotter.encoding(), GatedStream)


def test_a_gate_that_is_not_its_cards_is_refused() -> None:
    encoder = Encoder(pretrained.load(NAME))
    encoder.card = dataclasses.replace(encoder.card, gate=dataclasses.replace(encoder.card.gate, hidden=8))
    with pytest.raises(ModelError, match="export it again"):
        Gate(encoder)
