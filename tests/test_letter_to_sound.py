"""espeak-ng's IPA as ARPAbet."""

from __future__ import annotations

import pytest

from lcspeech.letter_to_sound import _ARPABET, arpabet, available, letter_to_sound
from lcspeech.units import ARPABET


@pytest.mark.parametrize(
    ("ipa", "phonemes"),
    [
        ("ˌɛlsˈiːspˈiːtʃ\n", "EH L S IY S P IY CH"),
        ("hˈeɪ kəmpjˈuːɾɚ", "HH EY K AH M P Y UW T ER"),
        ("fˈoːɹs", "F AO R S"),
        ("bˈʌʔn̩", "B AH T AH N"),
        ("dʒˈɔɪ", "JH OY"),
        ("(fr)bɔ̃(en-us)", ""),  # a nasal vowel is none of the 39
        ("", ""),
    ],
)
def test_ipa_becomes_arpabet(ipa: str, phonemes: str) -> None:
    assert arpabet(ipa) == tuple(phonemes.split())


def test_the_table_leads_to_phonemes_and_misses_none() -> None:
    assert {phoneme for value in _ARPABET.values() for phoneme in value.split()} == set(ARPABET)


def test_without_the_program_there_is_no_pronunciation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not available()
    assert letter_to_sound("athena") == ()


@pytest.mark.skipif(not available(), reason="espeak-ng is not installed")
def test_a_word_that_no_dictionary_lists() -> None:
    assert letter_to_sound("blorptal")[:4] == ("B", "L", "AO", "R")
    assert letter_to_sound("--help") != ()
