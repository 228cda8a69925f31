"""The model card: an exact round trip through JSON, and everything else refused."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcspeech.card import (
    FORMAT,
    DataSource,
    FeatureSettings,
    GateSettings,
    ModelCard,
    SearchSettings,
    StateSpec,
    WordSpec,
)
from lcspeech.errors import ModelError
from lcspeech.units import Keyword, Units

CARD = ModelCard(
    name="tiny",
    description="two words, “quoted” and accented: ñ",
    units=("<blank>", "N", "OW", "Y", "EH", "S"),
    time_stride=4,
    states=(StateSpec("state0", (1, 2, 40)), StateSpec("state1", (8,))),
    keywords=(WordSpec("yes", (("Y", "EH", "S"), ("Y", "EH")), 0.25), WordSpec("no", (("N", "OW"),))),
    fillers=(WordSpec("own", (("OW", "N"),)),),
    parameters=123,
    licence="Apache-2.0",
    data=(DataSource("Speech Commands", "CC BY 4.0", "https://example.org", "6 h"),),
    features=FeatureSettings(floor=1e-7, f_min=50.0),
    search=SearchSettings(slope=1.25, offset=-0.1, unknown_bias=1 / 3),
    gate=GateSettings(hidden=8, doubt=0.125),
)


def changed(path: list[str | int], value: Any) -> str:
    """`CARD` as JSON with one value replaced."""
    fields: Any = json.loads(CARD.to_json())
    place = fields
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(fields)


def test_round_trip() -> None:
    assert ModelCard.from_json(CARD.to_json()) == CARD


def test_round_trip_keeps_the_types() -> None:
    again = ModelCard.from_json(CARD.to_json())
    assert isinstance(again.features, FeatureSettings)
    assert isinstance(again.states, tuple)
    assert isinstance(again.keywords[0].pronunciations[0], tuple)
    assert hash(again) == hash(CARD)  # frozen all the way down


def test_json_is_indented_text_with_a_final_newline() -> None:
    text = CARD.to_json()
    assert text.startswith('{\n  "name": "tiny"')
    assert text.endswith("}\n")
    assert "ñ" in text
    assert json.loads(text)["format"] == FORMAT == 1


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
WORD = st.builds(WordSpec, TEXT, st.lists(st.lists(TEXT, max_size=3).map(tuple), max_size=2).map(tuple), NUMBER)
WORDS = st.lists(WORD, max_size=2).map(tuple)
CARDS = st.builds(
    ModelCard,
    name=TEXT,
    description=TEXT,
    units=st.lists(TEXT, max_size=4).map(tuple),
    time_stride=st.integers(1),
    states=st.lists(st.builds(StateSpec, TEXT, st.lists(st.integers(), max_size=3).map(tuple)), max_size=2).map(tuple),
    keywords=WORDS,
    fillers=WORDS,
    parameters=st.integers(),
    licence=TEXT,
    data=st.lists(st.builds(DataSource, TEXT, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    features=st.builds(FeatureSettings, floor=st.floats(1e-12, 1.0), n_mels=st.integers(1, 128)),
    search=st.builds(SearchSettings, st.integers(0, 15), st.integers(0, 15), st.floats(0.01, 100.0), NUMBER, NUMBER),
)


@given(CARDS)
@settings(max_examples=50, deadline=None)
def test_round_trip_of_any_card(card: ModelCard) -> None:
    assert ModelCard.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (["time_stride"], 0, "an impossible time stride of 0"),
        (["open", "by_unit"], [0.1], "weights of 1 units, and there are 6"),
        (["search", "blanks_before"], 40, "a search for 40 blanks; there are 15 at most"),
        (["search", "blanks_after"], -1, "impossible search settings"),
        (["search", "temperature"], 0.0, "impossible search settings"),
        (["search", "slope"], math.nan, "impossible search settings"),
        (["open", "slope"], -1.0, "impossible search settings"),
        (["open", "offset"], math.inf, "impossible search settings"),
    ],
)
def test_what_no_search_can_do_is_refused(place: list[Any], value: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ModelCard.from_json(changed(place, value))


def test_a_whole_number_will_do_for_a_float() -> None:
    threshold = ModelCard.from_json(changed(["keywords", 0, "threshold"], 1)).keywords[0].threshold
    assert threshold == 1.0
    assert isinstance(threshold, float)


def test_fields_with_a_default_may_be_missing() -> None:
    fields = json.loads(CARD.to_json())
    del fields["search"], fields["features"]["floor"]
    card = ModelCard.from_json(json.dumps(fields))
    assert card.search == SearchSettings()
    assert card.features.floor == 1e-6


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused_by_its_number(number: object) -> None:
    with pytest.raises(ModelError, match=rf"card of format {number}, this version reads 1; install .*export it again"):
        ModelCard.from_json(changed(["format"], number))


def test_the_format_is_looked_at_first() -> None:
    with pytest.raises(ModelError, match="card of format 2, this version reads 1"):
        ModelCard.from_json('{"format": 2, "a_new_field": []}')


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["name"], 3),
        (["name"], None),
        (["parameters"], "many"),
        (["parameters"], 1.5),
        (["parameters"], True),
        (["features"], [1]),
        (["features"], "default"),
        (["features", "hop"], 160.0),
        (["features", "floor"], "1e-6"),
        (["search", "slope"], False),
        (["units"], "ABC"),
        (["units"], {"A": 1}),
        (["units", 0], 7),
        (["states", 0], "state0"),
        (["states", 0, "shape"], 3),
        (["states", 0, "shape", 1], None),
        (["keywords", 0, "pronunciations", 0], "Y EH S"),
        (["keywords", 0, "pronunciations", 0, 0], ["Y"]),
        (["format"], True),
        (["format"], 1.0),
        (["colour"], "blue"),
        (["features", "window_name"], "hann"),
        (["keywords", 0, "sequences"], []),
    ],
)
def test_a_wrong_type_or_an_extra_key_is_refused(path: list[str | int], value: object) -> None:
    with pytest.raises(ModelError, match=r"^not a model card of lcspeech \(.+\); export the model again$"):
        ModelCard.from_json(changed(path, value))


@pytest.mark.parametrize("key", ["name", "units", "time_stride", "states", "keywords", "data", "licence", "format"])
def test_a_missing_key_is_named(key: str) -> None:
    fields = json.loads(CARD.to_json())
    del fields[key]
    with pytest.raises(ModelError, match=rf"not a model card of lcspeech .*{key}.*; export the model again"):
        ModelCard.from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "no JSON", "{", "[]", "null", "3", '"format"', "{}", CARD.to_json()[:-3]])
def test_what_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"not a model card of lcspeech .*export the model again"):
        ModelCard.from_json(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hop": 0},
        {"hop": -160},
        {"hop": 500},  # longer than the window
        {"window": 600},  # longer than the transform
        {"f_min": -1.0},
        {"f_min": 4_000.0, "f_max": 4_000.0},
        {"f_max": 8_001.0},  # above half the sample rate
        {"sample_rate": 8_000},
        {"floor": 0.0},
        {"floor": math.inf},
        {"n_mels": 0},
    ],
)
def test_impossible_features_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="impossible feature settings"):
        FeatureSettings(**wrong)
    with pytest.raises(ModelError, match="impossible feature settings"):
        ModelCard.from_json(changed(["features"], dataclasses.asdict(FeatureSettings()) | wrong))


def test_a_hop_must_divide_the_second() -> None:
    with pytest.raises(ModelError, match="a hop of 170 samples does not divide a second of 16000"):
        FeatureSettings(hop=170)


def test_default_features_are_the_contract() -> None:
    s = FeatureSettings()
    assert (s.sample_rate, s.window, s.hop, s.n_fft, s.n_mels) == (16_000, 400, 160, 512, 40)
    assert s.frame_rate == 100
    assert FeatureSettings(hop=320).frame_rate == 50


def test_frame_seconds() -> None:
    assert CARD.frame_seconds == 0.04
    assert dataclasses.replace(CARD, time_stride=2, features=FeatureSettings(hop=200)).frame_seconds == 0.025


def test_spotted_are_the_keywords_in_units() -> None:
    units = Units(CARD.units)
    assert CARD.spotted() == (Keyword("yes", ((3, 4, 5), (3, 4)), 0.25, units), Keyword("no", ((1, 2),), 0.5, units))


def test_known_are_the_keywords_then_the_fillers() -> None:
    assert CARD.known() == (*CARD.spotted(), Keyword("own", ((2, 1),), 0.5, Units(CARD.units)))


def test_a_gate_hears_whole_steps_again() -> None:
    with pytest.raises(ModelError, match="give a multiple of its step, 12"):
        GateSettings(replay=50)


@pytest.mark.parametrize("wrong", [{"hidden": -1}, {"step": 0}, {"replay": 0}, {"doubt": 0.0}, {"doubt": 1.0}])
def test_impossible_gates_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="impossible gate settings"):
        GateSettings(**wrong)


def test_outputs_for_heads_are_not_behind_a_gate() -> None:
    for hidden, gate in ((-1, GateSettings()), (4, GateSettings(hidden=8))):
        with pytest.raises(ModelError, match="impossible outputs"):
            dataclasses.replace(CARD, hidden=hidden, gate=gate)


@pytest.mark.parametrize(("key", "value"), [("threshold", 2.0), ("pronunciations", [["NOT A UNIT"]])])
def test_a_word_that_none_can_be_is_told_as_the_models(key: str, value: Any) -> None:
    card = ModelCard.from_json(changed(["keywords", 0, key], value))
    with pytest.raises(ModelError, match="export the model again"):
        card.spotted()
