"""Synthetic voices, flite's and espeak-ng's: who says a typed word, of which there are no recordings.

They are other programs, and only those that are installed speak (Debian: ``apt install flite espeak-ng``).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from lcspeech.audio import load_soundfile, resampled
from lcspeech.errors import MissingDependencyError
from lcspeech.pronunciation import Pronunciation

Floats = NDArray[np.float32]

FLITE, ESPEAK = "flite", "espeak-ng"
RATE = 16_000  # Hz, of all that is said
FLITE_VOICES = ("awb", "rms", "slt", "kal16")  # those of 16 kHz
STRETCH, PITCH = (0.75, 1.3), (80.0, 240.0)  # flite's: of durations; of the mean fundamental frequency in Hz
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt3")
_ESPEAK_VOICES = (*(f"en-us+{name}" for name in (*_VARIANTS, "croak", "whisper")), "en-gb", "en-gb-scotland", "en-029")
_ESPEAK_PITCH, _ESPEAK_SPEED = (20, 80), (120, 200)  # of 0 to 99; words per minute
_TIMEOUT = 30  # seconds; a word takes a hundredth of one
_VOWELS = {  # ARPAbet's, as espeak-ng writes them
    **{"AA": "A:", "AE": "a", "AH": "V", "AO": "O:", "AW": "aU", "AY": "aI", "EH": "E", "ER": "3:", "EY": "eI"},
    **{"IH": "I", "IY": "i:", "OW": "oU", "OY": "OI", "UH": "U", "UW": "u:"},
}
_CONSONANTS = {"CH": "tS", "DH": "D", "HH": "h", "JH": "dZ", "NG": "N", "SH": "S", "TH": "T", "Y": "j", "ZH": "Z"}


def installed() -> tuple[str, ...]:
    """The programs that are there to speak."""
    return tuple(program for program in (FLITE, ESPEAK) if shutil.which(program))


def say(texts: Sequence[str | Pronunciation], count: int, seed: int = 0) -> list[Floats]:
    """Text or phonemes, said `count` times by voices of each program that is installed, all different, float32 ``[n]``.

    Several `texts` are said by turns. The same programs and `seed` say the same.

    Raises:
        MissingDependencyError: if none is installed, or one does not speak.
    """
    if not (programs := installed()):
        raise MissingDependencyError(
            f"typed words are said by {FLITE} and {ESPEAK}; install them (Debian: apt install {FLITE} {ESPEAK}), or "
            "give recordings"
        )
    jobs = [(program, number) for program in programs for number in range(count)]

    def speak(program: str, number: int) -> Floats:
        random = np.random.default_rng([seed, number])
        text = texts[number % len(texts)]
        if program == FLITE:
            voice = FLITE_VOICES[number % len(FLITE_VOICES)]
            return flite(text, voice, random.uniform(*STRETCH), np.exp(random.uniform(*np.log(PITCH))))
        pitch, speed = (int(random.integers(*limits)) for limits in (_ESPEAK_PITCH, _ESPEAK_SPEED))
        return espeak(text, _ESPEAK_VOICES[number % len(_ESPEAK_VOICES)], pitch, speed)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(speak, *zip(*jobs, strict=True)))


def flite(text: str | Pronunciation, voice: str, stretch: float = 1.0, pitch: float = 120.0) -> Floats:
    """What flite's `voice` says, float32 ``[n]`` at 16 kHz: `stretch` times as long, and `pitch` Hz high on average.

    Raises:
        MissingDependencyError: if flite is not installed, or does not speak.
    """
    if isinstance(text, str):
        said = ["-t", text]
    else:
        said = ["-p", " ".join(["pau", *_spelled(text, str.lower, schwa="ax", stress="{}1"), "pau"])]
    settings = ["--setf", f"duration_stretch={stretch:.3f}", "--setf", f"int_f0_target_mean={pitch:.1f}"]
    return _run([FLITE, "-voice", voice, *settings, *said, "-o", "/dev/stdout"])


def espeak(text: str | Pronunciation, voice: str, pitch: int = 50, speed: int = 160) -> Floats:
    """What espeak-ng's `voice` says, float32 ``[n]`` at 16 kHz: its `pitch` 0 to 99, its `speed` in words a minute.

    Raises:
        MissingDependencyError: if espeak-ng is not installed, or does not speak.
    """
    if not isinstance(text, str):
        mnemonics = {**_VOWELS, **_CONSONANTS}
        spelled = _spelled(text, lambda unit: mnemonics.get(unit, unit.lower()), schwa="@", stress="'{}")
        text = f"[[{'|'.join(spelled)}]]"
    return _run([ESPEAK, "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", "--", text])


def _spelled(phonemes: Pronunciation, written: Callable[[str], str], schwa: str, stress: str) -> list[str]:
    """ARPAbet as another program writes it, stressed on the first vowel that is no schwa, which it does not say."""
    vowels = [i for i, phoneme in enumerate(phonemes) if phoneme in _VOWELS]
    stressed = next((i for i in vowels if phonemes[i] not in ("AH", "ER")), vowels[0] if vowels else None)
    spelled = [schwa if phoneme == "AH" else written(phoneme) for phoneme in phonemes]
    if stressed is not None:
        spelled[stressed] = stress.format(written(phonemes[stressed]))
    return spelled


def _run(command: list[str]) -> Floats:
    soundfile = load_soundfile()
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)
        samples, rate = soundfile.read(BytesIO(done.stdout), dtype="float32")
    except FileNotFoundError as error:
        raise MissingDependencyError(f"no {command[0]}; install it (Debian: apt install {command[0]})") from error
    except (subprocess.SubprocessError, soundfile.SoundFileError, OSError) as error:
        raise MissingDependencyError(f"{command[0]} does not speak ({error}); install a newer one") from error
    return resampled(samples, rate, RATE)
