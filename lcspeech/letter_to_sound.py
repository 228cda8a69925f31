"""Letter-to-sound for words that no dictionary lists: espeak-ng's American English, put into ARPAbet."""

from __future__ import annotations

import re
import shutil
import subprocess

PROGRAM = "espeak-ng"

# espeak-ng's IPA of the voice en-us, without stress and length marks, to phonemes; the longest match counts
_ARPABET = {
    **{"ɑ": "AA", "ɒ": "AA", "a": "AA", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ɔ": "AO", "aʊ": "AW", "aɪ": "AY"},
    **{"ɛ": "EH", "e": "EH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER", "eɪ": "EY", "ɪ": "IH", "ᵻ": "IH", "i": "IY"},
    **{"oʊ": "OW", "əʊ": "OW", "o": "OW", "oɹ": "AO R", "ɔɪ": "OY", "ʊ": "UH", "u": "UW", "y": "UW"},
    **{"b": "B", "tʃ": "CH", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "dʒ": "JH", "k": "K"},
    **{"x": "K", "l": "L", "ɫ": "L", "ɬ": "L", "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "s": "S"},
    **{"ʃ": "SH", "t": "T", "ɾ": "T", "ʔ": "T", "θ": "TH", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH"},
    **{"n\u0329": "AH N", "l\u0329": "AH L", "m\u0329": "AH M"},  # syllabic
}
_LONGEST = max(map(len, _ARPABET))
_TIMEOUT = 10  # seconds; a word takes a hundredth of one


def available() -> bool:
    """Whether espeak-ng is installed."""
    return shutil.which(PROGRAM) is not None


def letter_to_sound(word: str) -> tuple[str, ...]:
    """The phonemes that espeak-ng gives a word; () if it is not installed, fails, or says what is no phoneme."""
    if not available():
        return ()
    command = [PROGRAM, "-q", "--ipa", "-v", "en-us", "--", word]
    try:
        spoken = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=_TIMEOUT, check=True)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    return arpabet(spoken.stdout)


def arpabet(ipa: str) -> tuple[str, ...]:
    """espeak-ng's IPA, e.g. ``"hˈeɪ"``, as ARPAbet without stress, ``("HH", "EY")``; () if a sound is not in it."""
    rest = re.sub(r"\([a-z-]+\)|[ˈˌː\s_\u200d]", "", ipa)  # marks of another language, stress, length
    phonemes: list[str] = []
    while rest:
        size = next((n for n in range(_LONGEST, 0, -1) if rest[:n] in _ARPABET), 0)
        if not size:
            return ()
        phonemes += _ARPABET[rest[:size]].split()
        rest = rest[size:]
    return tuple(phonemes)
