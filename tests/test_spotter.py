"""Samples to events: streaming equals offline, the future never changes the past, and streams are independent."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lcspeech import (
    AudioError,
    Event,
    Keyword,
    ModelError,
    Spotter,
    Stream,
    UnknownKeywordError,
    UsageError,
    pretrained,
)
from lcspeech.decoder import Hits
from lcspeech.encoder import Encoder, EncoderStream
from lcspeech.units import PHONEMES, Units
from tests.words import RATE, spoken

DEMO = Path(__file__).parents[1] / "demos" / "audio" / "commands.flac"
TALK = Path(__file__).parents[1] / "pretrained" / "talk.ogg"
TOLERANCE = 1e-4  # contract 1
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    return Spotter.load()


@pytest.fixture(scope="module")
def samples() -> Floats:
    """The first seconds of the bundled recording, in which some words are spoken."""
    return np.asarray(soundfile.read(DEMO, dtype="float32", stop=12 * RATE)[0])


def stream_in(stream: Stream, samples: Floats, blocks: list[int]) -> list[Event]:
    """Events of samples cut into blocks of these sizes over and over."""
    events, start = [], 0
    while start < len(samples):
        for size in blocks:
            events += stream.feed(samples[start : start + size])
            start += size
    return events + stream.flush()


def assert_same(events: list[Event] | tuple[Event, ...], expected: tuple[Event, ...]) -> None:
    assert [event.keyword for event in events] == [event.keyword for event in expected]
    for event, other in zip(events, expected, strict=True):
        assert (event.start, event.end) == pytest.approx((other.start, other.end), abs=1e-3)
        assert event.score == pytest.approx(other.score, abs=1e-3)


def test_there_are_events_to_compare(spotter: Spotter, samples: Floats) -> None:
    truth = [e["keyword"] for e in json.loads(DEMO.with_suffix(".json").read_text())["events"] if "keyword" in e]
    events = spotter.spot(samples, sample_rate=RATE)
    assert len(events) >= 3
    assert {event.keyword for event in events} <= set(truth)
    for event in events:
        assert isinstance(event, Event)
        assert 0 <= event.start < event.end <= 12
        assert spotter.thresholds[0] <= event.score <= 1


@given(st.lists(st.integers(1, 6_000), min_size=1, max_size=6))
@settings(max_examples=15, deadline=None)
def test_streaming_equals_offline(blocks: list[int]) -> None:
    spotter = Spotter.load()
    samples = np.asarray(soundfile.read(DEMO, dtype="float32", stop=6 * RATE)[0])
    if sum(blocks) / len(blocks) < 200:
        samples = samples[:RATE]  # very many blocks
    assert_same(stream_in(spotter.stream(), samples, blocks), spotter.spot(samples, sample_rate=RATE))
    offline = spotter.log_probs(samples, sample_rate=RATE)
    stream, start, parts = Stream(spotter, RATE, lead=False), 0, []
    while start < len(samples):
        for size in blocks:
            parts.append(stream.encode(samples[start : start + size]))
            start += size
    streamed = np.concatenate([*parts, stream.encode_rest()])[:, : len(spotter.units)]
    np.testing.assert_allclose(streamed, offline, rtol=0, atol=TOLERANCE)


def test_single_samples_equal_the_whole(spotter: Spotter, samples: Floats) -> None:
    second = samples[2 * RATE : 3 * RATE]
    offline = spotter.log_probs(second, sample_rate=RATE)
    np.testing.assert_allclose(spotter.log_probs(second, sample_rate=RATE, block=1), offline, rtol=0, atol=TOLERANCE)


def test_steps_are_long_until_a_word_is_near(
    spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, lengths = EncoderStream.process, []

    def heard(self: EncoderStream, log_mel: Floats) -> Floats:
        lengths.append(len(log_mel))
        return process(self, log_mel)

    monkeypatch.setattr(EncoderStream, "process", heard)
    stream, size = spotter.stream(), RATE // 100
    late = []
    for start in range(0, len(samples), size):
        events = stream.feed(samples[start : start + size])
        late += [stream.seconds - event.end for event in events]
    steps = [length for length in lengths if length]
    assert {spotter.step} < set(steps) <= {spotter.step, *spotter.short_steps}
    assert sum(length == spotter.step for length in steps) * spotter.step > 0.7 * sum(steps)
    assert late
    assert max(late) < 0.4
    lengths.clear()
    stream = spotter.stream()
    for _ in range(500):
        stream.feed(np.zeros(size, np.float32))
    assert set(lengths) - {0} == {spotter.step}


def heard_at(spotter: Spotter, samples: Floats, block: int) -> tuple[list[float], list[int]]:
    """When each event came, in seconds of the stream, and the lengths of the network's steps."""
    stream, times, steps = spotter.stream(), list[float](), list[int]()
    process = stream._encoder.process

    def counted(log_mel: Floats) -> Floats:
        steps.extend([len(log_mel)] * bool(len(log_mel)))
        return process(log_mel)

    stream._encoder.process = counted  # type: ignore[method-assign]
    for start in range(0, len(samples), block):
        times += [stream.seconds for _ in stream.feed(samples[start : start + block])]
    return times, steps


@pytest.mark.parametrize("block", [160, 1_280])
def test_hardly_an_event_waits_for_the_end_of_a_step(
    spotter: Spotter, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = np.asarray(soundfile.read(DEMO, dtype="float32")[0])
    times, steps = heard_at(spotter, recording, block)
    monkeypatch.setattr(Stream, "_next_step", lambda stream: stream.spotter.short_step)
    soonest, many = heard_at(spotter, recording, block)
    late = np.array(times) - soonest
    assert late.min() >= 0
    assert late.mean() < 0.015  # a word as short as a step may begin and end within one
    assert late.max() < 0.15
    assert {8, 16} < set(steps)
    assert np.mean(steps) > 20
    assert len(many) > 2 * len(steps)


@pytest.mark.parametrize("blocks", [1, 2])  # of 40 ms
def test_a_step_is_complete_with_the_block_that_brings_its_last_sample(
    spotter: Spotter, samples: Floats, blocks: int
) -> None:
    stream, size, steps = spotter.stream(), blocks * 640, 0
    for start in range(0, len(samples), size):
        heard = len(stream._log_mel.pending) - spotter.lead + len(samples[start : start + size])
        due = heard >= stream._step * spotter.card.features.hop
        stream.feed(samples[start : start + size])
        assert (len(stream._log_mel.pending) == spotter.lead) == due
        steps += due
    assert steps > 20


def test_a_stream_that_goes_on_takes_the_step_that_was_next(spotter: Spotter) -> None:
    recording = np.asarray(soundfile.read(DEMO, dtype="float32")[0])
    stream, steps = spotter.stream(), set()
    for start in range(0, 20 * RATE, 640):
        stream.feed(recording[start : start + 640])
        steps.add(stream._step)
        assert spotter.stream(state=stream.state)._step == stream._step
    assert len(steps) >= 3


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_streaming_equals_offline_at_other_rates(spotter: Spotter, samples: Floats, rate: int) -> None:
    at_rate = np.interp(np.arange(0, 6, 1 / rate), np.arange(len(samples)) / RATE, samples).astype(np.float32)
    whole = spotter.spot(at_rate, sample_rate=rate)
    assert len(whole) >= 1
    assert_same(stream_in(spotter.stream(rate), at_rate, [rate // 50 + 1, 7, 1]), whole)
    streamed = spotter.log_probs(at_rate, sample_rate=rate, block=777)
    np.testing.assert_allclose(streamed, spotter.log_probs(at_rate, sample_rate=rate), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("block", [160, 1_280, 40_000])
def test_the_future_never_changes_the_past(spotter: Spotter, samples: Floats, block: int) -> None:
    now, other = 40_000, samples[:80_000].copy()
    other[now:] = np.random.default_rng(0).uniform(-1, 1, len(other) - now)
    first, second = (spotter.log_probs(x, sample_rate=RATE, block=block) for x in (samples[:80_000], other))
    features = spotter.card.features
    frames = ((now - features.window) // features.hop + 1) // spotter.card.time_stride
    np.testing.assert_array_equal(first[:frames], second[:frames])  # to the bit
    assert not np.array_equal(first[frames:], second[frames:])


def test_the_future_never_changes_past_events(spotter: Spotter, samples: Floats) -> None:
    heard = []
    for seed in (0, 1):
        stream = spotter.stream()
        heard.append([event for i in range(0, 100_000, 800) for event in stream.feed(samples[i : i + 800])])
        stream.feed(np.random.default_rng(seed).uniform(-1, 1, RATE).astype(np.float32))
    assert heard[0] == heard[1] != []


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_a_stream_goes_on_from_a_saved_state(spotter: Spotter, samples: Floats, rate: int) -> None:
    audio = np.repeat(samples, rate // RATE)
    whole = spotter.spot(audio, sample_rate=rate)
    first = spotter.stream(rate)
    events = first.feed(audio[: 5 * rate + 77])
    file = io.BytesIO()
    np.savez(file, **first.state)
    file.seek(0)
    with np.load(file) as saved:  # pickle is not allowed
        second = spotter.stream(rate, state=dict(saved))
    assert second.seconds == first.seconds
    assert_same(events + second.feed(audio[5 * rate + 77 :]) + second.flush(), whole)


@pytest.mark.parametrize("model", ["commands-dynamic", "commands-tiny"])
def test_a_stream_goes_on_from_its_very_beginning(model: str, samples: Floats) -> None:
    """Steps, and a gate's decisions, stay in their places though nothing was heard yet when it was saved."""
    spotter, samples = Spotter.load(model), samples[: 12 * RATE]
    blocks = [samples[start : start + 1280] for start in range(0, len(samples), 1280)]
    expected = np.concatenate([hits.scores for hits in searched(spotter.stream(), blocks)])
    for saved in range(6):
        stream = spotter.stream()
        first = searched(stream, blocks[:saved])
        rest = searched(spotter.stream(state=stream.state), blocks[saved:])
        np.testing.assert_allclose(np.concatenate([hits.scores for hits in first + rest]), expected, atol=1e-4)


def searched(stream: Stream, blocks: list[Floats]) -> list[Hits]:
    found: list[Hits] = []
    for block in blocks:
        stream.feed(block)
        found += stream.hits
    return found


def test_a_damaged_state_is_refused(spotter: Spotter) -> None:
    state = spotter.stream().state
    name = next(name for name in state if name.startswith("encoder/"))
    with pytest.raises(UsageError, match=f"damaged, its '{name}'"):
        spotter.stream(state={**state, name: state[name][..., :-1]})
    with pytest.raises(UsageError, match="another version"):
        spotter.stream(state={**state, "stream/samples": state["stream/samples"][:1]})


def test_a_state_is_a_copy(spotter: Spotter, samples: Floats) -> None:
    stream = spotter.stream()
    stream.feed(samples[:20_000])
    state = stream.state
    before = {name: array.copy() for name, array in state.items()}
    stream.feed(samples[20_000:60_000])
    resumed = spotter.stream(state=state)
    resumed.feed(samples[20_000:60_000])
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(resumed.state[name], array)


def test_a_state_of_something_else_is_refused(spotter: Spotter) -> None:
    with pytest.raises(UsageError, match="another version"):
        spotter.stream(state={"search/alpha": np.zeros(3)})
    state = spotter.replace(keywords=["yes", "no"]).stream().state
    with pytest.raises(UsageError, match="other keywords"):
        spotter.stream(state=state)
    with pytest.raises(UsageError, match="other keywords"):  # the same in another order
        spotter.replace(keywords=["no", "yes"]).stream(state=state)
    with pytest.raises(UsageError, match="16000 Hz"):
        spotter.replace(keywords=["yes", "no"]).stream(48_000, state=state)
    assert spotter.replace(keywords=["yes", "no"], threshold=0.9).stream(state=state).seconds == 0
    drawn = Keyword("own", (tuple(np.arange(1, 6)),))  # numpy's numbers are numbers, too
    saved = Keyword("own", ((1, 2, 3, 4, 5),))
    assert spotter.replace(keywords=[saved]).stream(state=spotter.replace(keywords=[drawn]).stream().state).seconds == 0


def test_one_spotter_serves_many_streams_in_many_threads(spotter: Spotter, samples: Floats) -> None:
    pieces = [samples[i * RATE : (i + 6) * RATE] for i in range(4)]
    expected = [spotter.spot(piece, sample_rate=RATE) for piece in pieces]
    found: list[list[Event]] = [[] for _ in pieces]

    def work(index: int) -> None:
        found[index] = stream_in(spotter.stream(), pieces[index], [1_280])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(expected)
    for events, others in zip(found, expected, strict=True):
        assert_same(events, others)


def test_types_and_channels_do_not_matter(spotter: Spotter, samples: Floats) -> None:
    expected = spotter.spot(samples, sample_rate=RATE)
    integers = np.round(samples * 32_768).clip(-32_768, 32_767).astype(np.int16)
    assert_same(spotter.spot(integers, sample_rate=RATE), expected)
    stereo = np.stack([samples * 2, np.zeros_like(samples)], axis=1)
    assert_same(spotter.spot(stereo.astype(np.float64), sample_rate=RATE), expected)


def test_a_file_is_the_same_as_its_samples(spotter: Spotter, samples: Floats, tmp_path: Path) -> None:
    path = tmp_path / "words.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    expected = spotter.spot(samples, sample_rate=RATE)
    assert_same(spotter.spot(path), expected)
    assert_same(spotter.spot(str(path)), expected)


def test_bad_samples_leave_the_stream_as_it_was(spotter: Spotter, samples: Floats) -> None:
    stream = spotter.stream()
    stream.feed(samples[:30_000])
    before = stream.state
    bad = samples[:100].copy()
    bad[50] = np.nan
    loud = samples[:100] * np.float32(32_768)
    loud[0] = 9_000  # 16-bit samples as floats, the commonest mistake
    for block in (bad, np.full(10, np.inf, np.float32), np.array(["a"]), loud, loud.astype(np.float64), [1e25]):
        with pytest.raises(AudioError):
            stream.feed(block)
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert stream.feed(np.empty(0, np.float32)) == []
    assert stream.seconds == 30_000 / RATE


def test_an_ended_stream_takes_no_more(spotter: Spotter, samples: Floats) -> None:
    stream = spotter.stream()
    stream.feed(samples[:1_000])
    stream.flush()
    assert stream.flush() == []
    with pytest.raises(UsageError, match="ended"):
        stream.feed(samples[:1_000])
    with pytest.raises(UsageError, match="before"):
        stream.state  # noqa: B018 - it would go on after the silence that flush adds
    with spotter.stream() as other:
        pass
    assert set(other.state) == set(spotter.stream().state)
    with pytest.raises(UsageError, match="within"):
        other.flush()
    with pytest.raises(UsageError, match="ended"):
        other.feed(samples[:1_000])


def test_a_word_at_the_very_end_is_heard(spotter: Spotter, samples: Floats) -> None:
    event = spotter.spot(samples, sample_rate=RATE)[0]
    cut = samples[: round(event.end * RATE) + 800]
    events = spotter.spot(cut, sample_rate=RATE)
    assert [e.keyword for e in events] == [event.keyword]
    assert events[0].end <= len(cut) / RATE


@pytest.mark.parametrize("samples", [np.zeros(1, np.float32), np.zeros(0, np.float32), np.zeros(30 * RATE, np.int16)])
def test_nothing_is_heard_where_nothing_is(spotter: Spotter, samples: NDArray[np.generic]) -> None:
    assert spotter.spot(samples, sample_rate=RATE) == ()
    label, probability = spotter.classify(samples[: 2 * RATE], sample_rate=RATE)[0]  # a clip, not half a minute
    assert label == "silence"
    assert probability > 0.9


def test_a_clip_is_classified_as_a_whole(spotter: Spotter, samples: Floats) -> None:
    event = spotter.spot(samples, sample_rate=RATE)[0]
    clip = samples[max(0, round((event.start - 0.5) * RATE)) : round((event.end + 0.3) * RATE)]
    ranked = spotter.classify(clip, sample_rate=RATE)
    assert ranked[0][0] == event.keyword
    assert {label for label, _ in ranked} == {k.name for k in spotter.keywords} | {"unknown", "silence"}
    assert sum(probability for _, probability in ranked) == pytest.approx(1)
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    streamed = spotter.classify(clip, sample_rate=RATE, block=1_280)
    assert dict(streamed) == pytest.approx(dict(ranked), abs=1e-3)


def test_options_are_replaced_and_the_others_stay(spotter: Spotter, samples: Floats) -> None:
    every = spotter.spot(samples, sample_rate=RATE)
    word = every[0].keyword
    one = spotter.replace(keywords=[word])
    assert {event.keyword for event in one.spot(samples, sample_rate=RATE)} == {word}
    assert one.replace(threshold=1.0).spot(samples, sample_rate=RATE) == ()
    assert [keyword.name for keyword in one.replace(threshold=0.3).keywords] == [word]
    assert one.replace(threshold=0.3).replace(refractory=1.0).threshold == 0.3
    assert len(spotter.replace(threshold=0.05).spot(samples, sample_rate=RATE)) >= len(every)
    assert_same(spotter.spot(samples, sample_rate=RATE), every)  # the first is as it was


def test_a_filler_can_be_asked_for(spotter: Spotter) -> None:
    assert [keyword.name for keyword in spotter.replace(keywords=["happy", "yes"]).keywords] == ["happy", "yes"]


def test_a_single_keyword_needs_no_list(spotter: Spotter) -> None:
    assert spotter.replace(keywords="yes").keywords == spotter.replace(keywords=["yes"]).keywords
    assert spotter.replace(keywords=spotter.keyword("yes")).keywords == (spotter.keyword("yes"),)


def test_keywords_are_names_texts_and_keywords(spotter: Spotter, samples: Floats) -> None:
    (event, *_) = spotter.spot(samples, sample_rate=RATE)
    known = spotter.keyword(event.keyword)
    renamed = Keyword("another name", known.sequences, 0.3)
    mixed = spotter.replace(keywords=["hey computer", renamed, "up", known])
    assert [keyword.name for keyword in mixed.keywords] == ["hey computer", "another name", "up", event.keyword]
    assert mixed.keywords[0].symbols == (("HH", "EY", "K", "AH", "M", "P", "Y", "UW", "T", "ER"),)
    assert mixed.thresholds == (0.5, 0.3, spotter.keyword("up").threshold, known.threshold)
    heard = spotter.replace(keywords=[renamed]).spot(samples, sample_rate=RATE)
    assert event.end in [pytest.approx(other.end, abs=0.1) for other in heard]


def test_a_keyword_of_other_units_is_spelled_anew(spotter: Spotter) -> None:
    few = Units(("<blank>", "S", "EH", "Y"))
    keyword = Keyword("yes", ((3, 2, 1),), 0.4, few)
    assert spotter.replace(keywords=[keyword]).keywords == (Keyword("yes", (PHONEMES.encode(["Y", "EH", "S"]),), 0.4),)
    with pytest.raises(UsageError, match="not a sequence of units: 'ch'"):
        spotter.replace(keywords=[Keyword("x", ((1,),), 0.4, Units(("<blank>", "ch")))])


def test_what_makes_no_sense_is_refused(spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lcspeech.letter_to_sound.PROGRAM", "no-such-program")
    with pytest.raises(UnknownKeywordError, match=r"unknown keyword 'xqzt'.*knows without: .*yes"):
        spotter.replace(keywords=["yes", "xqzt"])
    with pytest.raises(UsageError, match="name at least one"):
        spotter.replace(keywords=[])
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="threshold"):
            spotter.replace(threshold=threshold)
    for block in (0, -1):
        with pytest.raises(UsageError, match="give 1 or more"):
            spotter.classify(samples[:RATE], sample_rate=RATE, block=block)
    with pytest.raises(UsageError, match="refractory"):
        spotter.replace(refractory=-1.0)
    with pytest.raises(UsageError, match="refractory"):
        spotter.replace(refractory=float("inf"))
    with pytest.raises(UsageError, match="sample_rate=16000"):
        spotter.spot(samples)
    for rate in (0, float("nan"), float("inf")):
        with pytest.raises(AudioError, match=f"rate of {rate}"):
            spotter.spot(samples, sample_rate=rate)  # type: ignore[arg-type]


def test_the_longest_refractory_time_lets_one_event_pass(spotter: Spotter, samples: Floats) -> None:
    first = spotter.spot(samples, sample_rate=RATE)[:1]
    assert spotter.replace(refractory=1e308).spot(samples, sample_rate=RATE) == first


def test_nothing_passes_a_threshold_of_one() -> None:
    """However long the phrase, whose probability has no end."""
    spotter = Spotter.load("open")
    talk = np.asarray(soundfile.read(TALK, frames=8 * RATE, dtype="float32")[0])
    log_probs = spotter.log_probs(talk, sample_rate=RATE)
    heard = [int(unit) for unit in log_probs.argmax(1)]
    units = [unit for before, unit in zip([0, *heard], heard, strict=False) if unit not in (0, before)]
    for count in range(4, len(units)):
        phrase = Keyword("phrase", (tuple(units[:count]),), units=spotter.units)
        sure = spotter.replace(keywords=[phrase], threshold=0.99).spot(talk, sample_rate=RATE)
        assert spotter.replace(keywords=[phrase], threshold=1.0).spot(talk, sample_rate=RATE) == ()
        if sure and count > 20:
            break
    assert sure


def test_a_model_whose_stride_is_not_its_cards_is_refused() -> None:
    encoder = Encoder(pretrained.load("commands-tiny"))
    encoder.card = dataclasses.replace(encoder.card, time_stride=8)
    with pytest.raises(ModelError, match="time stride is not that of its card"):
        Spotter(encoder, encoder.card.spotted())


def test_a_long_array_is_heard_in_pieces(spotter: Spotter, samples: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lengths, feed = spotter.spot(samples, sample_rate=RATE), list[int](), Stream.feed
    monkeypatch.setattr(Stream, "feed", lambda stream, x: lengths.append(len(x)) or feed(stream, x))
    monkeypatch.setattr("lcspeech.spotter.BLOCK_SECONDS", 1)
    assert_same(spotter.spot(samples, sample_rate=RATE), whole)
    assert max(lengths) == RATE
    assert sum(lengths) == len(samples)


def test_a_word_of_the_model_is_that_however_it_is_written(spotter: Spotter) -> None:
    known, written = spotter.keyword("up"), spotter.keyword("Up")
    assert written == dataclasses.replace(known, name="Up")


def test_a_keyword_with_the_name_of_a_label_cannot_be_told_from_it(spotter: Spotter, samples: Floats) -> None:
    other = spotter.replace(keywords=[dataclasses.replace(spotter.keyword("up"), name="unknown")])
    with pytest.raises(UsageError, match="another name"):
        other.classify(samples[:RATE], sample_rate=RATE)


def test_two_keywords_of_one_name_are_refused(spotter: Spotter) -> None:
    assert len(spotter.replace(keywords=["up", "up"]).keywords) == 1
    spelled = [Keyword.spelled("light", [symbols]) for symbols in (("Y", "EH", "S"), ("N", "OW"))]
    with pytest.raises(UsageError, match="'light'"):
        spotter.replace(keywords=spelled)


@pytest.mark.parametrize("text", ["marvin:0.6", "athena.json", "x=Y EH S", "up,down", "words/athena"])
def test_what_is_no_word_is_not_spelled(spotter: Spotter, text: str) -> None:
    with pytest.raises(UsageError, match="no word"):
        spotter.keyword(text)


def test_a_keyword_is_text_or_a_keyword(spotter: Spotter) -> None:
    with pytest.raises(UsageError, match="a keyword 1"):
        spotter.replace(keywords=[1])  # type: ignore[list-item]


def test_what_sounds_like_a_known_word_has_its_threshold(spotter: Spotter) -> None:
    own = spotter.keyword("no")
    assert own.threshold != 0.5
    assert spotter.keyword("know").threshold == own.threshold
    assert spotter.spelled("nay", [("N", "OW")]).threshold == own.threshold
    assert spotter.spelled("either", [("N", "OW"), ("N", "EY")]).threshold == 0.5


def test_a_keyword_of_several_words_is_told_by_the_evidence_for_each() -> None:
    spotter = Spotter.load()
    rows = np.log(np.full((30, spotter.card.columns), 1e-4))
    units = len(spotter.card.units)
    rows[:, units:] = -8.0  # evidence against all words
    known = [word.name for word in spotter.card.known()]
    yes, no = (spotter.keyword(word) for word in ("yes", "no"))
    rows[:, units + known.index("no")] = 3.0
    spelling = [0, 0, 0, 0, 0, *no.sequences[0], *[0] * 20]
    for frame, unit in enumerate(spelling[:30]):
        rows[frame, unit] = np.log(0.99)
    rows[len(spelling) :, 0] = np.log(0.99)
    for order in ([yes, no], [no, yes]):
        both = Keyword("answer", tuple(s for word in order for s in word.sequences), no.threshold, no.units)
        score = {}
        for keyword in (no, both):
            search = spotter.replace(keywords=[keyword]).search
            hits, _ = search.run(rows.astype(np.float32), search.initial_state())
            score[keyword.name] = hits.scores.max()
        assert score["no"] > 0.5
        assert score["answer"] == pytest.approx(score["no"], abs=1e-3)


@pytest.mark.parametrize("rate", [16_000.0, 48_000.0])
def test_a_rate_may_be_a_float_that_is_whole(spotter: Spotter, samples: Floats, rate: float) -> None:
    stream = spotter.stream(rate)  # type: ignore[arg-type]
    stream.feed(samples[:20_000])
    spotter.stream(rate, stream.state).feed(samples[:20_000])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("log_mel/pending", np.zeros((2, 2))),
        ("log_mel/pending", np.full(7, np.nan)),
        ("resampler/places", np.zeros(3)),
        ("search/frame", np.array("1")),
    ],
)
def test_a_state_of_another_shape_or_without_numbers_is_refused(spotter: Spotter, key: str, value: np.ndarray) -> None:
    with pytest.raises(UsageError, match="damaged"):
        spotter.stream(state={**spotter.stream().state, key: value})


def test_a_spotter_can_be_copied_and_sent_to_another_process() -> None:
    spotter = Spotter.load("commands-tiny").replace(keywords=["yes"], threshold=0.4, refractory=0.2)
    for same in (pickle.loads(pickle.dumps(spotter)), copy.deepcopy(spotter)):
        assert (same.keywords, same.thresholds, same.refractory) == (spotter.keywords, (0.4,), 0.2)
        assert same.fingerprint.tolist() == spotter.fingerprint.tolist()


def test_a_stream_can_be_copied_and_each_goes_on_by_itself(spotter: Spotter, samples: Floats) -> None:
    whole, half = spotter.stream(), spotter.stream()
    begun = half.feed(samples[: len(samples) // 2])
    copies = [half, copy.copy(half), copy.deepcopy(half), pickle.loads(pickle.dumps(half))]
    expected = whole.feed(samples[: len(samples) // 2]) + whole.feed(samples[len(samples) // 2 :]) + whole.flush()
    assert len(begun) < len(expected)
    for stream in copies:
        assert begun + stream.feed(samples[len(samples) // 2 :]) + stream.flush() == expected
    with pytest.raises(UsageError, match="has been flushed"):
        copy.copy(half)


def test_what_would_change_nothing_is_refused(spotter: Spotter) -> None:
    with pytest.raises(AttributeError, match=r"replace\(threshold="):
        spotter.threshold = 0.9
    with pytest.raises(AttributeError, match="a Spotter never changes"):
        copy.deepcopy(spotter).keywords = ()
    with pytest.raises(AttributeError, match="a Spotter never changes"):
        del spotter.trigger
    with pytest.raises(UsageError, match="give a list of them"):
        spotter.replace(keywords={"yes": 0.3})


def test_an_ended_stream_encodes_nothing(spotter: Spotter) -> None:
    for rate in (RATE, 48_000):
        stream = spotter.stream(rate)
        stream.flush()
        with pytest.raises(UsageError, match="this stream has ended"):
            stream.encode(np.zeros(RATE, np.float32))


def test_names_that_differ_in_case_alone_are_one(spotter: Spotter) -> None:
    with pytest.raises(UsageError, match="two keywords are named 'up'"):
        spotter.replace(keywords=["up", "UP"])


def test_a_word_that_the_model_is_not_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    commands = Spotter.load("commands")
    commands.replace(keywords=["up", "marvin"])
    Spotter.load("open").replace(keywords="athena")
    assert caplog.messages == []
    commands.replace(keywords=["up", "athena"])
    told = "'commands' hardly ever hears words that it was not trained to tell, as athena; Spotter.load('open') does"
    assert caplog.messages == [told]


def test_the_peak_of_a_file_needs_no_more_memory_than_its_blocks(tmp_path: Path) -> None:
    spotter, clip = Spotter.load("commands-tiny"), spoken("yes")[0]
    samples = np.concatenate([np.zeros(RATE * 9, np.float32), clip, np.zeros(RATE * 9, np.float32)])
    soundfile.write(tmp_path / "yes.flac", samples, RATE)
    held = spotter.peak(samples, RATE)
    assert spotter.peak(tmp_path / "yes.flac") == pytest.approx(held, abs=1e-3)
    assert held > 0.9
