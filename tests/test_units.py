"""Units, keywords and their files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
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
        ("up", ((1, 40),), 0.5, "beyond the 40"),
        ("up", ((1,),), 1.01, r"is 1.01; give one from 0 to 1"),
        ("up", ((1,),), -0.01, r"is -0.01; give one from 0 to 1"),
        ("up", ((1,),), float("nan"), "give one from 0 to 1"),
        ("\udcff", ((1,),), 0.5, r"'\\udcff' is no valid text"),
    ],
)
def test_an_impossible_keyword_is_refused(
    name: str, sequences: tuple[tuple[int, ...], ...], threshold: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Keyword(name, sequences, threshold)


def test_sequences_may_be_lists() -> None:
    keyword = Keyword("up", [[1, 2], [3]])  # type: ignore[arg-type,list-item]
    assert keyword.sequences == ((1, 2), (3,))
    assert hash(keyword) == hash(Keyword("up", ((1, 2), (3,))))


# ---- keyword files


def test_a_saved_keyword_is_read_again(tmp_path: Path) -> None:
    keyword = Keyword("hé, toi", ((16, 13), (37,)), 0.25, scores=(0.5, 1.0), model="open")
    keyword.save(tmp_path / "word.json")
    assert Keyword.load(tmp_path / "word.json") == keyword
    assert Keyword.load(tmp_path / "word.json").model == "open"
    assert [path.name for path in tmp_path.iterdir()] == ["word.json"]
    assert json.loads((tmp_path / "word.json").read_text()) == {
        "format": 1,
        "name": "hé, toi",
        "pronunciations": ["HH EY", "Y"],
        "threshold": 0.25,
        "scores": [0.5, 1.0],
        "model": "open",
    }


def test_symbols_and_not_indices_travel(tmp_path: Path) -> None:
    Keyword("abc", ((1, 2, 3),), units=ABC).save(tmp_path / "word.json")
    other = Units(("<blank>", "C", "B", "A"))
    assert Keyword.load(tmp_path / "word.json", other).sequences == ((3, 2, 1),)
    assert Keyword("abc", ((1, 2, 3),), units=ABC).within(other).sequences == ((3, 2, 1),)
    with pytest.raises(UsageError, match="not a sequence of units: 'A B C'"):
        Keyword.load(tmp_path / "word.json")


GOOD = {"format": 1, "name": "a", "pronunciations": ["AA"], "threshold": 0.5, "scores": []}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a keyword file"),
        ("[1, 2]", "is not a keyword file"),
        ("[" * 100_000, "is not a keyword file"),
        ("{}", "is not a keyword file .'format'."),
        (json.dumps(GOOD | {"format": 2}), "format 2, this version reads 1"),
        (json.dumps(GOOD | {"name": 7}), "its name is no text"),
        (json.dumps(GOOD | {"pronunciations": [7]}), "is not a keyword file"),
        (json.dumps(GOOD | {"calibration": 5}), "its calibration is no object"),
        (json.dumps(GOOD | {"model": 5}), "its model is no name"),
        (json.dumps(GOOD | {"pronunciations": []}), "at least one non-empty unit sequence"),
        (json.dumps(GOOD | {"threshold": "high"}), "is not a keyword file"),
        (json.dumps(GOOD | {"threshold": 2}), "give one from 0 to 1"),
        (json.dumps({key: GOOD[key] for key in GOOD if key != "scores"}), "is not a keyword file"),
    ],
)
def test_what_is_no_keyword_file_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "word.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as raised:
        Keyword.load(path)
    assert str(path) in str(raised.value)


def test_a_missing_keyword_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the keyword file '.*nix.json' \(No such file"):
        Keyword.load(tmp_path / "nix.json")


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\0b"])
def test_a_name_is_one_line(name: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        Keyword.spelled(name, [("Y", "EH", "S")])


def test_symbols_are_no_units() -> None:
    with pytest.raises(UsageError, match="spelled"):
        Keyword("yes", (("Y", "EH", "S"),))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\x7fb", " ", "a\nb"])
def test_names_that_break_lines_or_are_blank_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Keyword(name, ((1,),))


def test_numbers_of_any_kind_are_kept_as_floats(tmp_path: Path) -> None:
    keyword = Keyword("yes", ((1, 2),), np.float32(0.5), scores=[np.float32(0.25)])  # type: ignore[arg-type]
    assert hash(keyword) == hash(Keyword("yes", ((1, 2),), scores=(0.25,)))
    keyword.save(tmp_path / "yes.json")
    assert Keyword.load(tmp_path / "yes.json") == keyword
    for wrong in ({"threshold": "high"}, {"scores": ["low"]}):
        with pytest.raises(UsageError, match="is no number"):
            Keyword("yes", ((1,),), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="named 5; give text"):
        Keyword(5, ((1,),))  # type: ignore[arg-type]


def test_a_pronunciation_that_is_given_twice_counts_once() -> None:
    assert Keyword("yes", ((1, 2), (3,), (1, 2))).sequences == ((1, 2), (3,))
