"""Words are cut where they end, and put together anew with pauses between."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lcspeech.card import FeatureSettings
from lcspeech.errors import UsageError
from lcspeech.features import log_mel
from lcspeech.pronunciation import pronunciations
from lcspeech.train.data import Utterance
from lcspeech.train.loop import read_checkpoint
from lcspeech.train.network import Network, NetworkSettings, Verifier
from lcspeech.train.splice import Cut, cut_words, spliced, with_spliced
from lcspeech.units import PHONEMES
from tests.train.test_batches import CORPUS
from tests.words import spoken

FEATURES = FeatureSettings()
FLOOR = float(np.log(FEATURES.floor))
OPEN = Path("pretrained/open-flite.pt")  # what cut the words for those that ship


def utterance_of(*words: str) -> tuple[Utterance, list[int]]:
    """Recordings of the words, one after another, without silence around, and the frames where they are joined."""
    clips = [without_silence(log_mel(spoken(word)[0], FEATURES)) for word in words]
    units = PHONEMES.encode(p for word in words for p in pronunciations(word)[0])
    joints = np.cumsum([len(clip) for clip in clips])[:-1]
    return Utterance(np.concatenate(clips).astype(np.float16), words, tuple(units), "1"), joints.tolist()


def without_silence(heard: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(heard.mean(1) > heard.mean(1).max() - 3)
    return heard[max(0, loud[0] - 3) : loud[-1] + 4]


@pytest.fixture(scope="module")
def network() -> Network:
    return read_checkpoint(OPEN, FEATURES)[0]


def test_words_are_cut_where_the_next_begins(network: Network) -> None:
    words = ("zero", "five", "no", "eight")
    utterance, joints = utterance_of(*words)
    cuts = cut_words(network, [utterance])
    assert tuple(cut.word for cut in cuts) == words
    assert sum((cut.units for cut in cuts), ()) == utterance.units
    first = next(i for i in range(60) if np.array_equal(utterance.log_mel[i], cuts[0].log_mel[0]))
    ends = first + np.cumsum([len(cut.log_mel) for cut in cuts])[:-1]
    assert np.abs(ends - joints).max() <= 12
    assert {cut.speaker for cut in cuts} == {"1"}
    assert all(cut.pause.mean() < cut.log_mel.astype(float).mean() for cut in cuts)


def test_a_network_with_a_verifier_aligns_as_well(network: Network) -> None:
    utterance, _ = utterance_of("zero", "five")
    verified = read_checkpoint(OPEN, FEATURES)[0]
    verified.verifier = Verifier(verified.gru.hidden_size, 3)
    for one, other in zip(cut_words(network, [utterance]), cut_words(verified, [utterance]), strict=True):
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


def test_what_cannot_be_aligned_is_left_out(network: Network) -> None:
    whole, _ = utterance_of("yes", "no")
    fast = dataclasses.replace(
        whole, words=("seven",) * 40, units=tuple(PHONEMES.encode(["S", "EH", "V", "AH", "N"])) * 40
    )
    unspelled = dataclasses.replace(whole, units=None)
    unknown = dataclasses.replace(whole, words=("yes", "xqzzy"))
    assert cut_words(network, [fast, unspelled, unknown]) == ()
    assert len(cut_words(network, [whole])) == 2


def cut(word: str, speaker: str, value: float, frames: int = 20) -> Cut:
    log_mel = np.full((frames, FEATURES.n_mels), value, np.float16)
    return Cut(log_mel, word, tuple(PHONEMES.encode(["AH"])) * len(word), speaker, np.full((12, 40), -9.0, np.float16))


def test_utterances_are_of_one_speaker_with_pauses_between_the_words() -> None:
    cuts = [cut("a", "1", 1.0), cut("bb", "1", 2.0), cut("ccc", "2", 3.0), *[cut("a", "1", 1.0)] * 50]
    made = spliced(cuts, 60, FLOOR, seed=3)
    again = spliced(cuts, 60, FLOOR, seed=3)
    assert len(made) == 60
    lengths = {"a": 1, "bb": 2, "ccc": 3}
    for utterance, same in zip(made, again, strict=True):
        np.testing.assert_array_equal(utterance.log_mel, same.log_mel)
        assert set(utterance.words) <= ({"ccc"} if utterance.speaker == "2" else {"a", "bb"})
        assert utterance.units is not None
        assert len(utterance.units) == sum(lengths[word] for word in utterance.words)
        levels = utterance.log_mel[:, 0].astype(float)
        assert np.sum(levels > 0) == 20 * len(utterance.words)
        pauses = {-9.0} if (levels == -9.0).any() else {float(np.float16(FLOOR))}
        assert set(levels[levels < 0]) == pauses
        assert levels[0] < 0 > levels[-1]
    words = [word for utterance in made if utterance.speaker == "1" for word in utterance.words]
    assert 0.35 < np.mean([word == "bb" for word in words]) < 0.65  # however often each was said


def test_they_join_the_synthetic_ones(network: Network) -> None:
    utterance, _ = utterance_of("yes", "no", "zero")
    corpus = dataclasses.replace(CORPUS, utterances=(utterance,), synthetic=(utterance,))
    more = with_spliced(corpus, network, 5, FEATURES, seed=1)
    assert more.synthetic[0] is utterance
    assert len(more.synthetic) == 6
    assert more.utterances == corpus.utterances


def test_there_must_be_a_network_and_words() -> None:
    with pytest.raises(UsageError, match="--aligner"):
        with_spliced(CORPUS, None, 5, FEATURES, seed=1)
    torch.manual_seed(0)
    untrained = Network(NetworkSettings(0.25, 16, 0.0), FEATURES, len(PHONEMES)).eval()
    with pytest.raises(UsageError, match="librispeech"):
        with_spliced(dataclasses.replace(CORPUS, utterances=()), untrained, 5, FEATURES, seed=1)
