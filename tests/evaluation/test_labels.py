"""Label files: both forms, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcspeech.errors import DataError
from lcspeech.evaluation.detection import Label
from lcspeech.evaluation.labels import read_labels
from tests.evaluation.corpus import DEMO


def test_an_audacity_track(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("2.5\t3.0\tno\n\\\t100.0\t200.0\n1.000000\t1.500000\tyes\n\n")
    assert read_labels(path) == [Label("yes", 1.0, 1.5), Label("no", 2.5, 3.0)]


def test_a_mark_at_the_begin_is_no_part_of_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("1.0\t1.5\tyes\n", encoding="utf-8-sig")
    assert read_labels(path) == [Label("yes", 1.0, 1.5)]


def test_a_track_with_spaces(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0.5 1.0 yes\n2   2.5   hey computer\n")
    assert read_labels(path) == [Label("yes", 0.5, 1.0), Label("hey computer", 2.0, 2.5)]
    path.write_text("0.5 yes\n")
    with pytest.raises(DataError, match=r"'0\.5 yes' is not start, end and word"):
        read_labels(path)


def test_the_truth_of_the_bundled_recording() -> None:
    labels = read_labels(DEMO.with_suffix(".json"))
    assert len(labels) == 22  # the words that are no keywords are not among them
    assert labels[0] == Label("no", 1.634, 2.02)


@pytest.mark.parametrize(
    "text",
    ["yes", "1.0\tyes", "a\tb\tyes", "2.0\t1.0\tyes", "-1\t1\tyes", "nan\t1\tyes", "{", '{"words": []}', "[1]",
     '{"events": [{"keyword": "yes", "start": 1}]}', '{"events": [{"keyword": 5, "start": 1, "end": 2}]}'],
)  # fmt: skip
def test_what_is_no_label_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="not a label file"):
        read_labels(path)


def test_a_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the labels .*No such file"):
        read_labels(tmp_path / "absent.txt")
