"""Options that several commands share."""

from __future__ import annotations

import pytest

from lcspeech import Spotter, pretrained
from lcspeech.cli._keywords import read_keyword
from lcspeech.cli._options import load_model

BEST = next(iter(pretrained.models()))


@pytest.mark.parametrize(
    ("model", "keywords", "expected"),
    [
        (None, [], BEST),
        (None, ["yes", "marvin:0.7"], BEST),
        (None, ["yes", "hey computer"], pretrained.OPEN),
        (None, ["hey computer:0.7"], pretrained.OPEN),
        (None, ["yes=Y EH S"], pretrained.OPEN),
        (None, ["athena.json"], pretrained.OPEN),
        (BEST, ["hey computer"], BEST),
        (pretrained.OPEN, ["yes"], pretrained.OPEN),
    ],
)
def test_words_that_no_model_was_trained_on_are_for_the_open_one(
    model: str | None, keywords: list[str], expected: str
) -> None:
    assert load_model(model, keywords).card.name == expected
    assert pretrained.OPEN != BEST


@pytest.mark.parametrize("spelling", ["EH1 L S IY1 S P IY1 CH", "eh l s iy s p iy ch"])
def test_phonemes_may_be_written_as_cmudict_does(spelling: str) -> None:
    keyword = read_keyword(Spotter.load("commands-tiny"), f"lcspeech={spelling}")
    assert keyword.symbols == (("EH", "L", "S", "IY", "S", "P", "IY", "CH"),)
    twice = read_keyword(Spotter.load("commands-tiny"), f"lcspeech={spelling}|L IH K:0.3")
    assert (twice.symbols, twice.threshold) == ((*keyword.symbols, ("L", "IH", "K")), 0.3)
