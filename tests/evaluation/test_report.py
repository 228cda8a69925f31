"""The page: self-contained, well-formed, and its numbers, pictures and sounds are those of the results."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lcspeech import Spotter
from lcspeech.evaluation import plots
from lcspeech.evaluation.clips import V2_12, evaluate_clips, protocol_clips
from lcspeech.evaluation.detection import Label, Point
from lcspeech.evaluation.listening import ListeningTask, RecordingPlan, hear
from lcspeech.evaluation.metrics import Proportion, Rate
from lcspeech.evaluation.report import clips_report, stream_report
from lcspeech.evaluation.summary import summarise
from tests.evaluation.corpus import DEMO, RATE, speech_commands

VOID = {"meta", "img", "input", "br"}


class Checker(HTMLParser):
    """Every tag is closed by its own."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check(page: str) -> list[str]:
    """Raises unless the page is whole and fetches nothing; returns its pictures and sounds."""
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert all(address.startswith("data:") for address in checker.addresses)
    assert "://" not in page
    return checker.addresses


def content(address: str) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def test_the_page_of_clips(tmp_path: Path) -> None:
    spotter = Spotter.load()
    clips = protocol_clips(speech_commands(tmp_path), "all", V2_12, [])
    clips[0] = dataclasses.replace(clips[0], label="<i>&")  # is wrong for sure, and must not break the page
    results = evaluate_clips(spotter, clips, V2_12)
    results = dataclasses.replace(results, words=(*results.words, "<i>&"))
    page = clips_report(spotter.card, results, "all of <them>")
    images = check(page)
    wrong = sum(not one.right for one in results.read)
    assert len(images) == 2 * min(8, wrong) > 0
    assert f"{100 * results.accuracy.value:.1f} %" in page
    assert "<i>&" not in page
    assert "&lt;i&gt;&amp;" in page


def test_the_page_of_streams() -> None:
    spotter = Spotter.load()
    labels = (Label("marvin", 20.0, 20.5), Label("no", 1.634, 2.02))
    result = hear(spotter, ListeningTask(RecordingPlan(DEMO, labels, 60.0), 0.5))
    whole = summarise([result], [keyword.name for keyword in spotter.keywords])
    page = stream_report(spotter.card, 22, whole, {})
    assert "22 keywords." in page
    assert "In 0.017 h, rates below" in page
    addresses = check(page)
    assert "Worst misses" in page
    assert "Worst false alarms" in page
    sound, rate = soundfile.read(io.BytesIO(content(addresses[1])), dtype="float32")
    assert rate == RATE
    demo, _ = soundfile.read(DEMO, dtype="float32")
    expected = demo[round(19.4 * RATE) : round(21.1 * RATE)]
    assert sound == pytest.approx(expected * 0.7 / np.abs(expected).max(), abs=1e-4)


def test_a_page_without_any_event() -> None:
    spotter = Spotter.load().replace(threshold=1.0)
    result = hear(spotter, ListeningTask(RecordingPlan(DEMO, (), 60.0), 0.5))
    page = stream_report(spotter.card, 22, summarise([result], [k.name for k in spotter.keywords]), {})
    assert check(page) == []
    assert "no event" in page


def test_a_picture_is_a_png_of_its_values() -> None:
    log_mel = np.tile(np.linspace(-10, 2, 40, dtype=np.float32), (7, 1))  # [frames, bands], rising with the band
    data = content(plots.picture(log_mel))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (7, 40)
    start = data.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompress(data[start:-16]), np.uint8).reshape(40, 1 + 3 * 7)
    assert (rows[:, 0] == 0).all()
    assert rows[0, 1:4].tolist() == [252, 236, 166]  # the loudest, and on top the highest band
    assert rows[-1, 1:4].tolist() == [13, 17, 38]


def test_a_curve_is_drawn_where_its_points_are() -> None:
    points = [
        Point(0.1, Proportion(0, 10), Rate(100, 1.0)),
        Point(0.5, Proportion(5, 10), Rate(10, 1.0)),
        Point(1.0, Proportion(10, 10), Rate(0, 1.0)),
    ]
    svg = plots.det({"all": points})
    line = re.search(r'<polyline points="([^"]*)"', svg)
    assert line is not None
    (x0, y0), (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line[1].split())
    assert y0 - y1 == pytest.approx(y1 - y2)
    assert x0 - x1 == pytest.approx((x1 - x2) / np.log10(10 / 0.5), abs=0.2)  # no alarm in 1 h is drawn at half a one


@pytest.mark.parametrize("values", [[0.2], [0.3, 0.3, 0.3], [-0.1, 0.0, 0.25, 0.5] * 10])
def test_a_histogram_of_anything(values: list[float]) -> None:
    svg = plots.histogram(values, {"median": float(np.median(values))}, "seconds")
    assert "nan" not in svg
    assert "median" in svg
    check(svg)
