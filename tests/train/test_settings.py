"""Settings: every key of the TOML file, no other, and each one a flag with the file's comment."""

# ruff: noqa: E402
from __future__ import annotations

import argparse
import dataclasses
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lcspeech.errors import UsageError
from lcspeech.train.settings import add_arguments, load_settings, overrides

RECIPE = Path(__file__).parents[2] / "recipes" / "train_kws.toml"

SMALL = """\
# A comment of the file, not of a key
name = "tiny"          # folder name of the model
keywords = [           # words to spot
    "yes", "no",
]
epochs = 60            # 100 % of the run
rate = 0.003           # peak
snr_db = [2.0, 30.0]   # range
plain = 1
"""


def write(folder: Path, **changes: object) -> Path:
    """The recipe's settings with some values replaced, or left out where None."""
    values: dict[str, Any] = tomllib.loads(RECIPE.read_text()) | changes
    path = folder / "settings.toml"
    path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None))
    return path


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_the_recipe_loads() -> None:
    s = load_settings(RECIPE)
    values = tomllib.loads(RECIPE.read_text())
    assert dataclasses.asdict(s) == {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    assert {"yes", "no", "stop", "sheila"} < set(s.keywords)
    assert s.segment_frames % 4 == 0
    assert s.segment_frames >= 98 + s.trailing_frames  # a clip fits in
    assert s.utterance_batch <= s.batch  # the utterances borrow the states of clips
    assert 0 < s.picture_share <= 1
    assert 0 < s.silence_share < 1


def test_the_recipes_numbers_have_the_types_of_the_fields() -> None:
    s = load_settings(RECIPE)
    kinds = {"str": str, "int": int, "float": float}
    for field in dataclasses.fields(s):
        value, kind = getattr(s, field.name), str(field.type)
        if kind.startswith("tuple["):
            assert all(type(item) is kinds[kind[6:-6]] for item in value), field.name
        else:
            assert type(value) is kinds[kind], field.name


def test_loading_keeps_every_value(tmp_path: Path) -> None:
    s = load_settings(write(tmp_path, name="other", epochs=3, keywords=["up"], snr_db=[0.0, 5.0]))
    assert (s.name, s.epochs, s.keywords, s.snr_db) == ("other", 3, ("up",), (0.0, 5.0))
    expected = dataclasses.replace(load_settings(RECIPE), name="other", epochs=3, keywords=("up",), snr_db=(0.0, 5.0))
    assert s == expected


def test_overrides_win_and_lists_become_tuples(tmp_path: Path) -> None:
    s = load_settings(write(tmp_path), overrides={"epochs": 2, "snr_db": [1.0, 2.0], "keywords": ["yes"]})
    assert (s.epochs, s.snr_db, s.keywords) == (2, (1.0, 2.0), ("yes",))
    assert s.batch == load_settings(RECIPE).batch
    assert hash(s) == hash(dataclasses.replace(s))  # no list is left inside


@pytest.mark.parametrize(
    ("name", "value"),
    [("utterance_every", -1), ("alarms_per_hour", -1.0), ("trailing_frames", -5), ("seed", -1), ("gate_doubt", 1.5)],
)
def test_numbers_have_limits(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"setting '{name}' is {value}; give"):
        load_settings(RECIPE, overrides={name: value})


def test_a_later_file_wins(tmp_path: Path) -> None:
    (tmp_path / "more.toml").write_text("epochs = 5\nbatch = 7\n")
    s = load_settings(RECIPE, tmp_path / "more.toml", overrides={"batch": 8})
    assert s == dataclasses.replace(load_settings(RECIPE), epochs=5, batch=8)
    parser = argparse.ArgumentParser()
    add_arguments(parser, RECIPE, tmp_path / "more.toml")
    assert "one validation and one checkpoint each (default: 5)" in " ".join(parser.format_help().split())


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings(RECIPE).epochs = 1  # type: ignore[misc]


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, epoch=3)
    with pytest.raises(UsageError, match=r"unknown setting 'epoch' in '.*settings.toml'; known are: .*batch.*epochs"):
        load_settings(path)
    with pytest.raises(UsageError, match=r"unknown setting 'epoch' in '.*settings.toml'"):  # the first of two files
        load_settings(path, RECIPE)
    with pytest.raises(UsageError, match="unknown setting 'colour'"):
        load_settings(RECIPE, overrides={"colour": 1})


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, batch=None)
    with pytest.raises(UsageError, match=r"setting 'batch' is missing in '.*settings.toml'"):
        load_settings(path)
    assert load_settings(path, overrides={"batch": 3}).batch == 3


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("epochs = = 3")
    with pytest.raises(UsageError, match=r"cannot read the settings in '.*settings.toml': .*line 1"):
        load_settings(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the settings in '.*absent.toml'"):
        load_settings(tmp_path / "absent.toml")


def test_binary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"name = '\xff\xfe'\n")
    with pytest.raises(UsageError, match="cannot read the settings"):
        load_settings(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((name, 0) for name in ("epochs", "steps_per_epoch", "batch", "hidden", "threads", "scale")),
        *(("snr_db", value) for value in ([3.0], [1.0, 2.0, 3.0], [5.0, 3.0])),
        ("rt60_frames", [10.0]),
        ("rt60_frames", [0.0, 10.0]),
        *((name, value) for name in ("dropout", "silence_share", "average") for value in (-0.1, 1.5)),
        *(("learning_rate", -1.0), ("speed", 1.5), ("cut_frames", 200), ("utterance_batch", 0), ("name", "../x")),
        ("norms_from", "banana"),
        ("keywords", ["yes", "no", "yes"]),
        ("keywords", []),
    ],
)
def test_what_makes_no_sense_is_refused(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"setting '{key}' is .*; give "):
        load_settings(RECIPE, overrides={key: value})


@pytest.mark.parametrize(("key", "value"), [("epochs", "ten"), ("scale", "wide"), ("keywords", "yes"), ("batch", 1.5)])
def test_a_wrong_type_is_refused(tmp_path: Path, key: str, value: object) -> None:
    path = write(tmp_path, **{key: value})
    with pytest.raises(UsageError, match=key):
        load_settings(path)


@pytest.fixture
def small(tmp_path: Path) -> argparse.ArgumentParser:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    parser = argparse.ArgumentParser(prog="train")
    add_arguments(parser, path)
    return parser


def helps(parser: argparse.ArgumentParser) -> dict[str, str | None]:
    return {action.dest: action.help for action in parser._actions}


def test_each_flag_says_what_the_file_says(small: argparse.ArgumentParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(small.format_help().split())
    assert "--name STR folder name of the model (default: tiny)" in text
    assert "--keywords STR [STR ...] words to spot (default: ['yes', 'no'])" in text
    assert "--epochs INT 100 % of the run (default: 60)" in text
    assert "--rate FLOAT peak (default: 0.003)" in text
    assert "--snr-db FLOAT [FLOAT ...] range (default: [2.0, 30.0])" in text
    assert "--plain INT plain (default: 1)" in text


def test_flags_have_the_types_of_the_file(small: argparse.ArgumentParser) -> None:
    line = "--epochs 3 --rate 1e-4 --snr-db -5 20 --keywords up down --name big"
    args = small.parse_args(shlex.split(line))
    assert vars(args) == {
        "name": "big",
        "keywords": ["up", "down"],
        "epochs": 3,
        "rate": 1e-4,
        "snr_db": [-5.0, 20.0],
        "plain": None,
    }


def test_a_flag_that_is_not_given_is_none(small: argparse.ArgumentParser) -> None:
    assert set(vars(small.parse_args([])).values()) == {None}


def test_a_flag_of_the_wrong_type_is_refused(
    small: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        small.parse_args(["--epochs", "ten"])
    assert caught.value.code == 2
    assert "argument --epochs: invalid int value: 'ten'" in capsys.readouterr().err


def test_every_setting_of_the_recipe_is_a_flag_with_a_comment() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, RECIPE)
    texts = helps(parser)
    for key, value in tomllib.loads(RECIPE.read_text()).items():
        text = texts[key] or ""
        assert text.endswith(f" (default: {value})")
        assert not text.startswith(f"{key} (default"), f"'{key}' has no comment in {RECIPE.name}"


def test_flags_go_over_the_recipe() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser, RECIPE)
    args = parser.parse_args(["--epochs", "2", "--validation-speakers", "19", "--seed", "7"])
    args.run_dir = Path("runs")  # of the recipe, no setting
    assert overrides(args) == {"epochs": 2, "validation_speakers": ["19"], "seed": 7}
    s = load_settings(RECIPE, overrides=overrides(args))
    assert s == dataclasses.replace(load_settings(RECIPE), epochs=2, validation_speakers=("19",), seed=7)
