"""Options that several commands share."""

from __future__ import annotations

import pytest

from lcspeech import pretrained
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
