"""Units, keywords and their selection."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcspeech.errors import UsageError
from lcspeech.units import ARPABET, BLANK, PHONEMES, Keyword, Units

ABC = Units(("<blank>", "A", "B", "C"))
UP, DOWN, GO = Keyword("up", ((3, 27),)), Keyword("down", ((9, 5, 23),)), Keyword("go", ((15, 25),))


def test_phonemes_are_the_39_of_cmudict_behind_the_blank() -> None:
    assert len(ARPABET) == 39
    assert len(PHONEMES) == 40
    assert PHONEMES.symbols[BLANK] == "<blank>"
    assert PHONEMES.symbols[1:] == ARPABET
    assert tuple(sorted(ARPABET)) == ARPABET
    assert not any(phoneme[-1].isdigit() for phoneme in ARPABET)  # no stress marks


def test_encode_gives_places_in_the_inventory() -> None:
    assert ABC.encode(["B", "A", "B", "C"]) == (2, 1, 2, 3)
    assert PHONEMES.encode(("Y", "EH", "S")) == (37, 11, 29)


@given(st.lists(st.sampled_from(ARPABET), min_size=1))
@settings(max_examples=50, deadline=None)
def test_encode_is_undone_by_looking_up(symbols: list[str]) -> None:
    units = PHONEMES.encode(iter(symbols))
    assert [PHONEMES.symbols[unit] for unit in units] == symbols


@pytest.mark.parametrize("symbols", [("A", "X"), ("<blank>",), ("A", "<blank>", "B"), (), ("a",)])
def test_encode_refuses_what_is_no_unit(symbols: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"the units are: A B C$") as caught:
        ABC.encode(symbols)
    assert f"'{' '.join(symbols)}'" in str(caught.value)


@pytest.mark.parametrize("symbols", [(), ("<blank>",), ("<blank>", "A", "A"), ("A", "B", "A")])
def test_an_inventory_needs_distinct_units(symbols: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="each symbol once"):
        Units(symbols)


def test_keyword_keeps_its_fields_and_is_frozen() -> None:
    keyword = Keyword("yes", ((37, 11, 29), (37, 3)), 0.7)
    assert (keyword.name, keyword.sequences, keyword.threshold) == ("yes", ((37, 11, 29), (37, 3)), 0.7)
    assert UP.threshold == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        keyword.threshold = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_threshold_are_allowed(threshold: float) -> None:
    assert Keyword("up", ((3,),), threshold).threshold == threshold


@pytest.mark.parametrize(
    ("name", "sequences", "threshold", "message"),
    [
        ("", ((1,),), 0.5, "needs a name"),
        ("up", (), 0.5, "at least one non-empty unit sequence"),
        ("up", ((1, 2), ()), 0.5, "at least one non-empty unit sequence"),
        ("up", ((1, BLANK, 2),), 0.5, "holds the blank"),
        ("up", ((1,), (-1,)), 0.5, "holds the blank"),
        ("up", ((1,),), 1.01, r"is 1.01; give one from 0 to 1"),
        ("up", ((1,),), -0.01, r"is -0.01; give one from 0 to 1"),
        ("up", ((1,),), float("nan"), "give one from 0 to 1"),
    ],
)
def test_an_impossible_keyword_is_refused(
    name: str, sequences: tuple[tuple[int, ...], ...], threshold: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Keyword(name, sequences, threshold)
