"""A keyword from a few recordings: what is kept, what is refused, and that the word is found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import AudioError, Keyword, Spotter, UnknownKeywordError, UsageError, enroll, enrollment, learning
from lcspeech.audio import Resampler
from lcspeech.card import OpenSettings
from lcspeech.enrollment import (
    LOWEST_THRESHOLD,
    VARIANTS,
    Fit,
    fault,
    read_recording,
    steps,
    substituted,
    understood,
)
from lcspeech.pronunciation import Pronunciation
from tests.learning import learn_briefly
from tests.words import RATE, Floats, spoken, synthetic, variants


@pytest.fixture(scope="module")
def spotter() -> Spotter:
    return Spotter.load("commands-tiny")


@pytest.fixture(scope="module")
def zero() -> list[Floats]:
    return variants(spoken("zero")[0], 5)


@pytest.fixture(scope="module")
def keyword(spotter: Spotter, zero: list[Floats]) -> Keyword:
    return enroll("null", zero, spotter=spotter, sample_rate=RATE)


def test_a_word_is_what_the_network_hears(keyword: Keyword) -> None:
    assert keyword.name == "null"
    assert keyword.symbols[0] in {("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW")}
    assert len(keyword.scores) == 5
    assert all(0.1 < score <= 1 for score in keyword.scores)
    assert keyword.threshold == min(0.5, sorted(keyword.scores)[1])  # four of the five are heard


def test_the_word_is_found_and_others_are_not(spotter: Spotter, keyword: Keyword) -> None:
    listener = spotter.replace(keywords=[keyword])
    (event,) = listener.spot(spoken("zero")[0], sample_rate=RATE)
    assert event.keyword == "null"
    assert [listener.spot(clip, sample_rate=RATE) for clip in spoken("yes")] == [(), ()]


def test_files_are_the_same_as_their_samples(
    spotter: Spotter, zero: list[Floats], keyword: Keyword, tmp_path: Path
) -> None:
    files = [tmp_path / f"{i}.wav" for i in range(len(zero))]
    for file, samples in zip(files, zero, strict=True):
        soundfile.write(file, samples, RATE, subtype="FLOAT")
    assert enroll("null", files, spotter=spotter) == keyword


def test_a_word_of_any_language_here_german_by_a_synthetic_voice(spotter: Spotter) -> None:
    clips = synthetic("Haus", "de", (35, 45, 50, 55, 65), (140, 150, 160, 150, 170))
    others = [c for text in ("Tisch", "Fahrradweg", "Zitrone") for c in synthetic(text, "de", (40, 60), (150, 160))]
    keyword = enroll("Haus", clips, spotter=spotter, sample_rate=RATE, negatives=others)
    listener = spotter.replace(keywords=[keyword], threshold=0.0)
    (again,) = synthetic("Haus", "de", (48,), (155,))  # not among the recordings
    assert listener.peak(again, RATE) > 3 * max(listener.peak(other, RATE) for other in others)


def test_the_threshold_clears_the_negatives(spotter: Spotter, zero: list[Floats], keyword: Keyword) -> None:
    (negative, *_) = zero
    peak = spotter.replace(keywords=[keyword]).peak(negative, RATE)
    above = enroll("null", zero, spotter=spotter, sample_rate=RATE, negatives=[negative])
    assert above.threshold == pytest.approx(min(1.0, peak + 1e-3), abs=1.1e-4)
    assert enroll("null", zero, spotter=spotter, sample_rate=RATE, negatives=[np.zeros(RATE)]) == keyword


def test_the_threshold_is_lowered_for_words_that_are_heard_faintly(
    monkeypatch: pytest.MonkeyPatch, spotter: Spotter, zero: list[Floats]
) -> None:
    for peaks, threshold in (
        ((0.9, 0.3, 0.4, 0.8, 0.01), 0.3),
        ((0.9, 0.01, 0.4, 0.8, 0.01), LOWEST_THRESHOLD),
        ((0.9, 0.6, 0.7, 0.8, 0.01), 0.5),
    ):
        heard = iter(peaks)
        monkeypatch.setattr(Spotter, "peak", lambda *_, heard=heard: next(heard))
        keyword = enroll("null", zero, spotter=spotter, sample_rate=RATE)
        assert (keyword.threshold, keyword.scores) == (threshold, peaks)


def test_unfit_recordings_are_named_all_at_once_and_why(zero: list[Floats], spotter: Spotter, tmp_path: Path) -> None:
    clips = {
        "good.wav": zero[0],
        "silent.wav": np.zeros(RATE, np.float32),
        "clipped.wav": np.clip(100 * zero[1], -1, 1),
        "long.wav": np.tile(zero[2], 99),
    }
    for name, samples in clips.items():
        soundfile.write(tmp_path / name, samples, RATE)
    with pytest.raises(AudioError) as caught:
        enroll("null", [tmp_path / name for name in clips], spotter=spotter)
    complaints = str(caught.value).split("; '")
    assert len(complaints) == 3
    for complaint, (name, said) in zip(
        complaints, {"silent": "it is silent", "clipped": "it is clipped", "long": "is too long"}.items(), strict=True
    ):
        assert f"{name}.wav': " in complaint
        assert said in complaint


def test_a_recording_unlike_the_others_is_named(zero: list[Floats], spotter: Spotter) -> None:
    with pytest.raises(AudioError, match=r"^recording 3: it is unlike the others; record the same word again$"):
        enroll("null", [*zero[:2], spoken("yes")[0], *zero[2:]], spotter=spotter, sample_rate=RATE)


def test_noise_is_no_word(zero: list[Floats], spotter: Spotter) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32)
    with pytest.raises(AudioError, match="recording 5: no word can be heard in it"):
        enroll("null", [*zero[:4], hiss], spotter=spotter, sample_rate=RATE)


def test_samples_that_are_none_are_named(zero: list[Floats], spotter: Spotter) -> None:
    with pytest.raises(AudioError, match="recording 2: samples that are not finite"):
        enroll("null", [zero[0], zero[1] * np.nan, zero[2]], spotter=spotter, sample_rate=RATE)


def test_too_few_recordings_are_refused(zero: list[Floats], spotter: Spotter) -> None:
    with pytest.raises(UsageError, match="2 recordings of 'null'; give at least 3"):
        enroll("null", zero[:2], spotter=spotter, sample_rate=RATE)
    with pytest.raises(UsageError, match="sample_rate=16000"):
        enroll("null", zero, spotter=spotter)


def test_silence_around_a_word_may_be_as_long_as_it_likes(
    spotter: Spotter, zero: list[Floats], keyword: Keyword, tmp_path: Path
) -> None:
    files = [tmp_path / f"{i}.wav" for i in range(len(zero))]
    for file, samples in zip(files, zero, strict=True):
        soundfile.write(file, np.pad(samples, 5 * RATE), RATE, subtype="FLOAT")
    again = enroll("null", files, spotter=spotter)
    assert again.symbols[0] == keyword.symbols[0]
    assert again.scores == pytest.approx(keyword.scores, abs=0.2)


def test_samples_of_another_rate_are_heard_as_files_of_it(spotter: Spotter, zero: list[Floats], tmp_path: Path) -> None:
    high = [np.concatenate([(r := Resampler(RATE, 48_000)).process(clip), r.flush()]) for clip in zero]
    files = [tmp_path / f"{i}.wav" for i in range(len(high))]
    for file, samples in zip(files, high, strict=True):
        soundfile.write(file, samples, 48_000, subtype="FLOAT")
    from_files = enroll("null", files, spotter=spotter)
    assert enroll("null", high, spotter=spotter, sample_rate=48_000) == from_files
    assert enroll("null", [*files[:2], *high[2:]], spotter=spotter, sample_rate=48_000) == from_files


def test_a_text_is_no_list_of_recordings(spotter: Spotter, zero: list[Floats]) -> None:
    for given in ({"recordings": "a.wav"}, {"recordings": zero, "negatives": Path("negatives")}):
        with pytest.raises(UsageError, match="in place of a list of files"):
            enroll("null", spotter=spotter, sample_rate=RATE, **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"in place of a list of recordings; give \[samples, ...\]"):
        enroll("null", np.zeros((RATE, 2)), spotter=spotter, sample_rate=RATE)  # type: ignore[arg-type]


def test_a_negative_that_cannot_be_heard_is_named(spotter: Spotter, zero: list[Floats]) -> None:
    with pytest.raises(AudioError, match="negative 2: samples that are not finite"):
        enroll("null", zero, spotter=spotter, sample_rate=RATE, negatives=[zero[0], np.full(RATE, np.nan)])


@pytest.mark.parametrize(("gain", "said"), [(1.3, ""), (8.0, "clipped")])
def test_a_little_clipping_is_borne_and_found_below_full_scale(zero: list[Floats], gain: float, said: str) -> None:
    clip = zero[0] / abs(zero[0]).max()
    assert (
        (said in fault(0.5 * np.clip(gain * clip, -1, 1), RATE))
        if said
        else fault(np.clip(gain * clip, -1, 1), RATE) == ""
    )


@pytest.mark.parametrize(
    ("level", "said"), [(0.0, "silent"), (1e-4, "silent"), (0.01, ""), (0.9, ""), (1.5, "clipped")]
)
def test_levels(level: float, said: str) -> None:
    tone = np.clip(level * np.sin(np.arange(RATE) / 5), -1, 1).astype(np.float32)
    assert (said in fault(tone, RATE)) if said else fault(tone, RATE) == ""


def test_nothing_is_silent() -> None:
    assert "silent" in fault(np.empty(0, np.float32), RATE)


def test_what_was_understood(spotter: Spotter) -> None:
    assert understood(spotter, spoken("zero")[0], RATE) in {("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW")}
    assert understood(spotter, np.zeros(RATE, np.float32), RATE) == ()


def test_kept_are_the_sequences_that_explain_all_recordings_together() -> None:
    log_probs = np.log(np.array([[0.5, 0.4, 0.01], [0.5, 0.4, 0.01], [0.001, 0.01, 0.3]]))
    own = np.array([[True, False, False], [False, True, False], [False, False, True]])
    fit = Fit(((1,), (2,), (3,)), log_probs, own, np.zeros(3))
    assert fit.best(1) == ((2,),)  # explains all three best on its own
    assert fit.best(2) == ((2,), (3,))  # (1,) is likelier in two of them, but adds nothing to the third
    assert fit.best(9) == ((2,), (3,), (1,))
    assert fit.misfit(2) == pytest.approx(np.log(0.3 / 0.01))
    assert fit.misfit(0) == pytest.approx(np.log(0.5 / 0.4))
    assert fit.without(2).sequences == ((1,), (2,))
    assert fit.without(2).best(1) == ((1,),)


def test_of_two_sequences_the_one_that_talk_is_rarely_taken_for_is_kept() -> None:
    log_probs, own = np.array([[-4.0, -9.0], [-5.0, -8.0]]), np.eye(2, dtype=bool)
    short, long = (1, 2), (1, 2, 3, 4)
    assert Fit((short, long), log_probs, own, np.array([6.0, 9.0])).best(1) == (short,)
    assert Fit((short, long), log_probs, own, np.array([6.0, 12.0])).best(1) == (long,)


@pytest.mark.parametrize(("worse", "known"), [(10.0, ((3,),)), (20.0, ())])
def test_how_the_dictionary_spells_it_is_kept_unless_it_is_another_word(
    worse: float, known: tuple[tuple[int, ...], ...]
) -> None:
    log_probs = np.array([[-1.0, -5.0, -1.0 - worse], [-5.0, -1.0, -1.0 - worse], [-2.0, -5.0, -2.0 - worse]])
    fit = Fit(((1,), (2,), (3,)), log_probs, np.ones((3, 3), bool), np.zeros(3))
    assert fit.likeliest([(3,)]) == known
    assert fit.likeliest([(7,)]) == ()
    assert fit.best(3, kept=[(3,)]) == ((3,), (1,), (2,))


def test_a_word_of_the_dictionary_is_kept_as_it_is_spelled_and_as_it_is_heard(
    spotter: Spotter, zero: list[Floats]
) -> None:
    keyword = enroll("zero", zero, spotter=spotter, sample_rate=RATE)
    spelled, *others = keyword.symbols
    assert spelled in {("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW")}
    assert len(others) == len(set(others)) == VARIANTS
    assert all(sum(a != b for a, b in zip(spelled, other, strict=True)) == 1 for other in others)


def test_what_differs_in_one_unit() -> None:
    assert list(substituted((1, 3), 4)) == [(2, 3), (3, 3), (1, 1), (1, 2)]


# ---- learned


@pytest.fixture(name="briefly")
def _briefly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    learn_briefly(monkeypatch, tmp_path)


def said_by_nobody(monkeypatch: pytest.MonkeyPatch) -> list[Pronunciation | str]:
    """Voices that say "zero", whatever they are told: that is returned."""
    told: list[Pronunciation | str] = []

    def say(texts: list[Pronunciation | str], _: int) -> list[Floats]:
        told.extend(texts)
        return variants(spoken("zero")[1], 4)

    monkeypatch.setattr(enrollment, "say", say)
    return told


@pytest.mark.usefixtures("briefly")
def test_a_word_is_learned_and_each_recording_scored_by_what_others_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, clips = Spotter.load("open"), variants(spoken("zero")[0], 7)
    taught: list[tuple[int, ...]] = []
    learn = learning.Learner.learn
    monkeypatch.setattr(
        learning.Learner,
        "learn",
        lambda self, without=(), on_step=None: (taught.append(tuple(without)), learn(self, without, on_step))[1],
    )
    done: list[None] = []
    keyword = enroll("zero", clips, spotter=opened, sample_rate=RATE, on_step=lambda: done.append(None))
    assert taught == [(0, 5), (1, 6), (2,), (3,), (4,), ()]
    assert len(done) == steps(7) == learning.HEARING + 6 * learning.STEPS
    assert keyword.symbols == (("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW"))
    assert keyword.head is not None
    assert len(keyword.scores) == 7
    learner = learning.Learner(opened.replace(keywords=["zero"]).keywords[0], opened, clips)
    of_others = opened.replace(keywords=[learn(learner, (0, 5))])
    assert keyword.scores[0] == pytest.approx(of_others.peak(clips[0], RATE), abs=1e-4)
    (event,) = opened.replace(keywords=[keyword]).spot(spoken("zero")[1], sample_rate=RATE)
    assert event.keyword == "zero"
    assert opened.replace(keywords=[keyword]).spot(spoken("yes")[0], sample_rate=RATE) == ()


@pytest.mark.usefixtures("briefly")
def test_a_word_of_no_dictionary_is_learned_as_it_is_heard(zero: list[Floats]) -> None:
    keyword = enroll("qxqx", zero, sample_rate=RATE)
    assert keyword.head is not None
    assert len(keyword.sequences) <= enrollment.SEQUENCES
    assert enroll("qxqx", zero, sample_rate=RATE, learn=False).head is None


@pytest.mark.usefixtures("briefly")
def test_given_pronunciations_are_kept(zero: list[Floats], spotter: Spotter) -> None:
    given = Keyword.spelled("null", [("Z", "IY", "R", "AO")], threshold=0.9)
    keyword = enroll(given, zero, sample_rate=RATE)
    assert (keyword.name, keyword.symbols) == ("null", given.symbols)
    assert keyword.threshold <= 0.5
    assert enroll(given, zero, spotter=spotter, sample_rate=RATE).symbols[0] == given.symbols[0]
    two = Keyword.spelled("null", [("Z", "IY", "R", "AO"), ("N", "AH", "L")])
    symbols = enroll(two, zero, spotter=spotter, sample_rate=RATE).symbols
    assert symbols[:2] == two.symbols
    assert len(symbols) == 2 + VARIANTS


@pytest.mark.usefixtures("briefly")
def test_voices_teach_a_word_alone_and_beside_recordings(zero: list[Floats], monkeypatch: pytest.MonkeyPatch) -> None:
    told = said_by_nobody(monkeypatch)
    keyword = enroll("zero", voices=True)
    assert told == ["zero"]
    assert (keyword.scores, keyword.threshold) == ((), enrollment.VOICES_THRESHOLD)
    (event,) = Spotter.load("open").replace(keywords=[keyword]).spot(spoken("zero")[0], sample_rate=RATE)
    assert event.keyword == "zero"
    both = enroll("zero", zero, sample_rate=RATE, voices=True)
    assert len(both.scores) == 5
    assert both.head not in (keyword.head, enroll("zero", zero, sample_rate=RATE).head)


@pytest.mark.usefixtures("briefly")
def test_voices_say_phonemes_where_they_would_guess_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told = said_by_nobody(monkeypatch)
    for given in (Keyword.spelled("zero", [("S", "IH", "R", "OW")]), Keyword.spelled("zéro", [("Z", "EH", "R", "OW")])):
        enroll(given, voices=True)
        assert told.pop() == given.symbols[0]


def test_voices_have_to_know_a_word_and_somebody_to_learn(spotter: Spotter, zero: list[Floats]) -> None:
    with pytest.raises(UnknownKeywordError):
        enroll("漢字", voices=True)
    for given in ({"spotter": spotter}, {"learn": False}):
        with pytest.raises(UsageError, match="nothing is learned from voices so"):
            enroll("zero", zero, sample_rate=RATE, voices=True, **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="2 recordings of 'zero'; give at least 3"):
        enroll("zero", zero[:2], sample_rate=RATE, voices=True)


def test_a_phrase_that_takes_too_long_to_say_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrollment, "say", lambda *_: [np.zeros(6 * RATE, np.float32)] * 3)
    with pytest.raises(UsageError, match="voices take longer than 5 s for 'zero'; give a shorter phrase"):
        enroll("zero", voices=True)


@pytest.mark.usefixtures("briefly")
def test_negatives_count_in_what_is_learned(zero: list[Floats]) -> None:
    near = variants(spoken("zero")[1], 1)
    keyword = enroll("null", zero, sample_rate=RATE, negatives=near)
    opened = Spotter.load("open")
    assert opened.replace(keywords=[keyword]).spot(near[0], sample_rate=RATE) == ()
    before = enroll("null", zero, sample_rate=RATE)
    assert opened.replace(keywords=[keyword]).peak(near[0], RATE) < opened.replace(keywords=[before]).peak(
        near[0], RATE
    )


def test_each_recording_is_scored_by_what_the_others_spell(
    monkeypatch: pytest.MonkeyPatch, spotter: Spotter, zero: list[Floats]
) -> None:
    left_out, without = [], Fit.without

    def noted(self: Fit, i: int) -> Fit:
        left_out.append(i)
        return without(self, i)

    monkeypatch.setattr(Fit, "without", noted)
    enroll("null", zero, spotter=spotter, sample_rate=RATE)
    assert left_out == [0, 1, 2, 3, 4]


def test_rarity_is_in_nats_of_the_hits() -> None:
    settings = OpenSettings(per_unit=1.0, by_unit=(0.0, 0.5, 0.0, 0.0), slope=0.5)
    fit = Fit.of([np.log(np.full((9, 4), 0.25))], [[(1, 2, 3), (1,)]], settings)
    assert fit.rarity.tolist() == [7.0, 3.0]


def test_no_more_of_a_file_is_read_than_may_hold_a_word(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", 0.1 * np.sin(np.arange(180 * RATE) / 5), RATE)
    assert len(read_recording(tmp_path / "long.flac", RATE)) < 120 * RATE
