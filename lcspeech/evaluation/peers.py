"""Other keyword spotters, each with one keyword that it brings, for their cost on the same audio in the same run.

None is ever needed: those that are installed take part. ``pip install 'lcspeech[bench]'`` installs all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from lcspeech.errors import MissingDependencyError

_FAINTEST = 1e-40  # score of a detection by PocketSphinx
_POCKETSPHINX_FRAME_RATE = 100  # per second

Feed = Callable[[NDArray[np.int16]], None]


@dataclass(frozen=True)
class Peer:
    """A spotter for 16 kHz audio: `open` loads it and returns what hears a block ``[n]``."""

    package: str  # on PyPI
    keyword: str
    open: Callable[[], Feed]

    @property
    def version(self) -> str | None:
        """The installed version, None if there is none."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def _micro_wake_word() -> Feed:
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    features, model = MicroWakeWordFeatures(), MicroWakeWord.from_builtin(Model.OKAY_NABU)

    def feed(block: NDArray[np.int16]) -> None:
        for frame in features.process_streaming(block.tobytes()):
            model.process_streaming(frame)

    return feed


def _open_wake_word() -> Feed:
    from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

    features, model = OpenWakeWordFeatures.from_builtin(), OpenWakeWord.from_builtin(Model.OKAY_NABU)

    def feed(block: NDArray[np.int16]) -> None:
        for embedding in features.process_streaming(block.tobytes()):
            for _ in model.process_streaming(embedding):
                pass

    return feed


def _porcupine() -> Feed:
    import pvporcupine

    porcupine = pvporcupine.create(keywords=["porcupine"])  # versions after 1.9 need a key
    rest = np.empty(0, np.int16)

    def feed(block: NDArray[np.int16]) -> None:
        nonlocal rest
        samples, size = np.concatenate([rest, block]), porcupine.frame_length
        whole = len(samples) // size * size
        for frame in samples[:whole].reshape(-1, size):
            porcupine.process(frame.tolist())
        rest = samples[whole:]

    return feed


def _pocketsphinx() -> Feed:
    from pocketsphinx import Decoder

    decoder = Decoder(keyphrase="forward", kws_threshold=1e-20, lm=None, loglevel="FATAL")
    decoder.start_utt()

    def feed(block: NDArray[np.int16]) -> None:
        decoder.process_raw(block.tobytes(), False, False)
        if decoder.hyp() is not None:  # heard: it must be started anew to hear more
            decoder.end_utt()
            decoder.start_utt()

    return feed


def pocketsphinx_detections(samples: NDArray[np.float32], phrase: str) -> list[tuple[float, float]]:
    """Where PocketSphinx hears a phrase in 16 kHz audio ``[n]``, however faintly: end in seconds, and score.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise MissingDependencyError("PocketSphinx is not installed: pip install pocketsphinx") from error
    decoder = Decoder(keyphrase=phrase, kws_threshold=_FAINTEST, lm=None, loglevel="FATAL")
    decoder.start_utt()
    pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    decoder.process_raw(pcm.tobytes(), False, False)
    decoder.end_utt()
    return [(heard.end_frame / _POCKETSPHINX_FRAME_RATE, heard.prob) for heard in decoder.seg()]


PEERS = (
    Peer("pymicro-wakeword", "okay nabu", _micro_wake_word),
    Peer("pvporcupine", "porcupine", _porcupine),
    Peer("pyopen-wakeword", "okay nabu", _open_wake_word),
    Peer("pocketsphinx", "forward", _pocketsphinx),
)


def installed() -> tuple[Peer, ...]:
    """The peers that are there."""
    return tuple(peer for peer in PEERS if peer.version is not None)
