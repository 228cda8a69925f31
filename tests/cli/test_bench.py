"""`lcspeech bench`; what it measures is tested in tests/evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcspeech import pretrained
from lcspeech.cli import main
from lcspeech.evaluation import peers, speed
from lcspeech.evaluation.speed import Bench, LiveCost, ModelSpeed, PeerSpeed
from tests.cli.conftest import MODEL, RATE

LIVE = (LiveCost(0.08, 0.111, 0.222, 0.333, 0.777),)
FIGURES = ModelSpeed(
    MODEL, 9, 0.25, 61.2, 1234.5, {"48000 Hz": 0.888}, LIVE, 1.043, 1.126, 0.16, 0.44, 0.99, 253_758, 191_032, 0
)
PEER = PeerSpeed("pymicro-wakeword", "2.5.0", "okay nabu", 0.234)
KEYLESS = PeerSpeed("pvporcupine", "3.0.0", "porcupine", None, "ValueError: no key")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is asked of the measurement, which this stands in for."""
    calls: list[tuple[Any, ...]] = []

    def bench(*arguments: Any) -> Bench:
        calls.append(arguments)
        return Bench("2026-01-02", "abacus, one core", (FIGURES,), (PEER, KEYLESS))

    monkeypatch.setattr(speed, "bench", bench)
    monkeypatch.setattr(peers, "installed", lambda: ("peer",))
    return calls


def test_json_is_one_object_with_all_figures(asked: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["machine"] == "abacus, one core"
    assert found["models"][0]["live"] == [
        {"block_seconds": 0.08, "front_end": 0.111, "encoder": 0.222, "search": 0.333, "total": 0.777}
    ]
    assert found["peers"][0]["percent_of_a_core"] == 0.234
    names, speech, others = asked[0]
    assert names == list(pretrained.models())  # all that are shipped
    assert len(speech) == 60 * RATE
    assert others == ("peer",)


def test_the_table_names_machine_models_and_peers(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["bench", "--model", MODEL]) == 0
    output = capsys.readouterr().out
    texts = (
        "abacus, one core, 2026-01-02",
        MODEL,
        "0.78 (0.11 + 0.22 + 0.33)",
        "0.89",
        "1.04",
        "1.13",
        "0.44",
        "0.99",
        "1234",
        "254",
    )
    for text in (*texts, "191,032", "not counted", "pymicro-wakeword", "0.23", "ValueError: no key"):
        assert text in output
    assert asked[0][0] == [MODEL]


def test_a_file_is_measured_with(asked: list[tuple[Any, ...]], silence: Path) -> None:
    assert main(["bench", "--file", str(silence), "--json"]) == 0
    np.testing.assert_array_equal(asked[0][1], np.zeros(RATE, np.float32))


@pytest.mark.parametrize(("option", "code"), [("--model", 2), ("--file", 1)])
def test_what_does_not_exist_is_one_line(option: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", option, "banana"]) == code
    assert "banana" in capsys.readouterr().err.splitlines()[-1]
