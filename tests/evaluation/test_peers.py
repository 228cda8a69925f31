"""The adapters of other packages, each held to a stand-in with that package's interface."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lcspeech.evaluation import peers
from lcspeech.evaluation.peers import PEERS, Peer, installed

BLOCK = np.arange(1_280, dtype=np.int16)


def two_stages(features: str, model: str, heard: list[Any]) -> Callable[[], SimpleNamespace]:
    """A module of Rhasspy's: features from bytes, then a model over each."""

    class Features:
        def process_streaming(self, audio: bytes) -> list[tuple[int, int]]:
            return [(0, len(audio)), (1, len(audio))]

    class Model:
        OKAY_NABU = "okay nabu"

    class Spotter:
        @staticmethod
        def from_builtin(keyword: str) -> Spotter:
            assert keyword == Model.OKAY_NABU
            return Spotter()

        def process_streaming(self, feature: tuple[int, int]) -> Any:
            heard.append(feature)
            return iter([0.5])

    Features.from_builtin = Features  # type: ignore[attr-defined]
    return lambda: SimpleNamespace(**{features: Features, model: Spotter, "Model": Model})


@pytest.mark.parametrize(
    ("package", "module", "features", "model"),
    [
        ("pymicro-wakeword", "pymicro_wakeword", "MicroWakeWordFeatures", "MicroWakeWord"),
        ("pyopen-wakeword", "pyopen_wakeword", "OpenWakeWordFeatures", "OpenWakeWord"),
    ],
)
def test_each_feature_goes_through_the_model(
    package: str, module: str, features: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    monkeypatch.setitem(sys.modules, module, two_stages(features, model, heard)())
    open_named(package)(BLOCK)
    assert heard == [(0, 2_560), (1, 2_560)]  # 16-bit samples


def open_named(package: str) -> peers.Feed:
    return next(peer for peer in PEERS if peer.package == package).open()


def test_porcupine_gets_frames_of_its_own_length(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[list[int]] = []

    def create(keywords: list[str]) -> SimpleNamespace:
        assert keywords == ["porcupine"]
        return SimpleNamespace(frame_length=512, process=frames.append)

    monkeypatch.setitem(sys.modules, "pvporcupine", SimpleNamespace(create=create))
    feed = open_named("pvporcupine")
    for start in range(0, 1_280, 320):
        feed(BLOCK[start : start + 320])
    assert frames == [BLOCK[:512].tolist(), BLOCK[512:1_024].tolist()]


def test_pocketsphinx_is_started_anew_after_each_word(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Decoder:
        def __init__(self, **options: Any) -> None:
            assert options["keyphrase"] == "forward"

        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(*_: Any) -> Any:
                calls.append(name)
                return "forward" if name == "hyp" and calls.count("hyp") == 2 else None

            return call

    monkeypatch.setitem(sys.modules, "pocketsphinx", SimpleNamespace(Decoder=Decoder))
    feed = open_named("pocketsphinx")
    feed(BLOCK)
    feed(BLOCK)
    assert calls == ["start_utt", "process_raw", "hyp", "process_raw", "hyp", "end_utt", "start_utt"]


def test_those_that_are_not_there_take_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed() -> peers.Feed:
        raise AssertionError

    numpy, missing = Peer("numpy", "word", feed), Peer("no-such-package", "word", feed)
    monkeypatch.setattr(peers, "PEERS", (missing, numpy))
    assert installed() == (numpy,)
    assert numpy.version == np.__version__
