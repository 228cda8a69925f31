"""The tree of errors: what a command's exit code and a caller's `except` rely on."""

from __future__ import annotations

import inspect
import re

import pytest

from lcspeech import errors

CLASSES = {
    name: item
    for name, item in vars(errors).items()
    if inspect.isclass(item) and issubclass(item, BaseException) and item.__module__ == errors.__name__
}


def drawn_parents() -> dict[str, str | None]:
    """Each class in the docstring's drawing, with the one that it hangs from."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    drawing = (errors.__doc__ or "").partition("::")[2]
    for line in drawing.splitlines():
        if match := re.match(r"    ((?:│   |    )*(?:├── |└── )?)(\w+)", line):
            path = [*path[: len(match[1]) // 4], match[2]]
            parents[match[2]] = path[-2] if len(path) > 1 else None
    return parents


def test_the_drawing_names_every_class() -> None:
    assert drawn_parents().keys() == CLASSES.keys()


def test_the_drawing_shows_the_real_parents() -> None:
    parents = drawn_parents()
    assert parents.pop("LcspeechError") is None
    assert {name: CLASSES[name].__bases__ for name in parents} == {n: (CLASSES[p or ""],) for n, p in parents.items()}


@pytest.mark.parametrize("error", CLASSES.values())
def test_every_error_is_caught_as_lcspeech_error(error: type[Exception]) -> None:
    assert issubclass(error, errors.LcspeechError)
    with pytest.raises(errors.LcspeechError, match="what was wrong"):
        raise error("what was wrong, and the remedy")


def test_no_error_passes_for_one_of_python() -> None:
    assert errors.LcspeechError.__bases__ == (Exception,)
    assert not any(issubclass(e, OSError | ValueError | RuntimeError) for e in CLASSES.values())


def test_exit_code_2_is_for_usage_errors_alone() -> None:
    usage = {name for name, error in CLASSES.items() if issubclass(error, errors.UsageError)}
    assert usage == {"UsageError", "UnknownKeywordError", "UnknownModelError", "UnknownDeviceError"}


@pytest.mark.parametrize("error", CLASSES.values())
def test_every_error_is_described(error: type[Exception]) -> None:
    assert error.__doc__
    assert error.__doc__.endswith(".")
