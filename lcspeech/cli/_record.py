"""Recordings of a word at the microphone: prompt, level check, and playback of what was understood."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lcspeech.cli._output import complain, log_shown, say
from lcspeech.errors import AudioError, LcspeechError, MicrophoneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lcspeech.microphone import Microphone
    from lcspeech.spotter import Spotter

    Floats = NDArray[np.float32]

SECONDS = 3.0  # of each recording
IGNORED_SECONDS = 0.3  # after the prompt, of what waited in the device's buffer and of the key that was hit
MOST_TRIES = 3  # for each recording, before the microphone is to blame


def record(word: str, count: int, device: str | None, spotter: Spotter) -> list[Floats]:
    """`count` recordings ``[n]`` of a word at the model's rate; those that are silent or clipped are asked for again.

    Raises:
        AudioError: if one is unfit three times in a row.
        MicrophoneError: if there is no microphone, or it stops delivering.
    """
    from lcspeech.microphone import Microphone

    with log_shown(lambda told: complain("warning", told)), Microphone(device) as microphone:
        say(f"lcspeech: {microphone.device.name}, {microphone.sample_rate} Hz")
        return [_take(word, f"{i} of {count}", microphone, spotter) for i in range(1, count + 1)]


def _take(word: str, place: str, microphone: Microphone, spotter: Spotter) -> Floats:
    from lcspeech.enrollment import fault, understood

    rate = spotter.card.features.sample_rate
    problem = ""
    for _ in range(MOST_TRIES):
        say(f"lcspeech: say '{word}' now ({place}, {SECONDS:g} s)")
        samples = _hear(microphone, rate)
        problem = fault(samples, rate)
        if not problem:
            units = " ".join(understood(spotter, samples, rate))
            say(f"lcspeech: understood {units or 'nothing'}; it sounds like this")
            _play(samples, rate)
            return samples
        complain("warning", f"recording {place}: {problem}")
    raise AudioError(f"recording {place}: {problem}")


def _hear(microphone: Microphone, rate: int) -> Floats:
    import numpy as np

    from lcspeech.audio import resampled

    ignored, wanted = (round(seconds * microphone.sample_rate) for seconds in (IGNORED_SECONDS, SECONDS))
    blocks: list[Floats] = []
    microphone.discard()  # it heard the last recording played back
    while sum(map(len, blocks)) < ignored + wanted:
        blocks.append(microphone.read())
        if not microphone.present:  # what it gives then is silence
            raise MicrophoneError(f"'{microphone.device.name}' delivers nothing any more; plug it in, and begin again")
    samples = np.concatenate(blocks)[ignored : ignored + wanted]
    return resampled(samples, microphone.sample_rate, rate)


def _play(samples: Floats, rate: int) -> None:
    from lcspeech.microphone import play

    try:
        play(samples, rate)
    except LcspeechError as error:  # a machine without a loudspeaker can still learn
        complain("warning", error)
