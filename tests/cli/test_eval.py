"""`lcspeech eval`: what it prints, what it writes, and what it says to what cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lcspeech import Keyword
from lcspeech.cli import main
from tests.cli.conftest import DEMO, MODEL
from tests.cli.process import run
from tests.evaluation.corpus import noise, speech_commands

SHARED = Path(__file__).parents[3] / "shared" / "data"
LABELS = DEMO.with_suffix(".json")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return speech_commands(tmp_path / "data")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return noise(tmp_path / "talk" / "1.wav", 2.0).parent


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main(["eval", *map(str, arguments), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert isinstance(result, dict)
    return result


def test_clips_as_json(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "clips", "--data", data, "--workers", 1)
    assert {"accuracy", "interval", "clips", "per_word", "confusion", "model", "protocol"} <= set(result)
    assert (result["protocol"], result["model"], result["split"]) == ("v2-12", MODEL, "validation")
    assert result["clips"] == sum(word["clips"] for word in result["per_word"].values())
    assert result["clips"] == sum(count for row in result["confusion"].values() for count in row.values())
    right = sum(row.get(word, 0) for word, row in result["confusion"].items())
    assert result["accuracy"] == pytest.approx(right / result["clips"])


def test_clips_as_a_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "clips", "--data", str(data), "--protocol", "v2-35", "--split", "all", "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{MODEL}, v2-35, all split of ")
    assert [line.split()[0] for line in lines if line.startswith(("all ", "yes ", "bed "))] == ["all", "bed", "yes"]


def test_a_damaged_clip_is_told_and_is_a_failure(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "yes" / "bad.wav").write_bytes(b"no audio")
    assert main(["eval", "clips", "--data", str(data), "--split", "all", "--protocol", "words", "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "bad.wav" in captured.err
    assert "words, all split" in captured.out


def test_a_stream_is_the_same_on_any_number_of_workers(
    data: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("stream", "--data", data, "--speech", talk, "--hours", 0.005, "--snr", 20, 0, "--seed", 5)
    alone, together = (run_json(capsys, *arguments, "--workers", workers) for workers in (1, 2))
    assert alone == together
    assert list(alone["snr_db"]) == ["20", "0"]
    assert alone["hours"] == pytest.approx(sum(one["hours"] for one in alone["snr_db"].values()))
    yes = alone["keywords"]["yes"]
    assert yes["clips"] == 4
    assert set(yes["curve"][0]) == {"threshold", "miss_rate", "false_alarms_per_hour"}
    assert {"miss_rate", "interval"} <= set(yes["at"]["0.5"])
    assert set(alone["latency"]) == {"median", "p95"}
    assert run_json(capsys, *arguments[:-1], 6, "--workers", 1) != alone


def test_the_public_benchmark_on_any_folder(data: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A flat folder of one keyword, as its recordings come."""
    arguments = ("--speech", talk, "--noise", data / "_background_noise_", "--hours", 0.01, "--workers", 1)
    result = run_json(
        capsys, "stream", "--data", data / "yes", "--keyword", "yes", "--protocol", "picovoice", *arguments
    )
    assert list(result["keywords"]) == ["yes"]
    assert result["keywords"]["yes"]["clips"] == 2
    assert list(result["snr_db"]) == ["10"]


def test_a_damaged_recording_does_not_end_a_stream(data: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "yes" / "bad.wav").write_bytes(b"no audio")
    arguments = ["eval", "stream", "--data", data, "--speech", talk, "--hours", 0.005, "--snr", 20, "--workers", 1]
    assert main([*map(str, arguments), "--split", "all", "--json"]) == 1
    captured = capsys.readouterr()
    assert "bad.wav" in captured.err
    assert json.loads(captured.out)["unread"] == 1


def test_a_keyword_without_clips_is_told(data: Path, talk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "stream", "--data", data, "--speech", talk, "--hours", 0.005, "--snr", 20, "--workers", 1]
    assert main([*map(str, arguments), "--keyword", "yes", "marvin"]) == 0
    assert "no clips of marvin" in capsys.readouterr().err


def test_keywords_are_those_of_listen(
    data: Path, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word of no model is heard by the open one, and a file, a spelling and a threshold are understood."""
    (data / "yes").rename(clips := data.parent / "athena")
    file = tmp_path / "athena.json"
    Keyword.spelled("athena", [("AH", "TH", "IY", "N", "AH")], threshold=0.9).save(file)
    mixing = ("--speech", talk, "--noise", data / "_background_noise_", "--hours", 0.01, "--protocol", "picovoice")
    arguments = ("stream", "--data", clips, *mixing, "--workers", 1, "--keyword")
    results = [run_json(capsys, *arguments, word) for word in (file, f"{file}:0", "athena=AH TH IY N AH:0", "athena")]
    for result in results:
        assert (result["model"], list(result["keywords"]), result["all"]["clips"]) == ("open", ["athena"], 2)
        assert result["keywords"] == results[0]["keywords"]
    alarms = [result["operating"]["false_alarms_per_hour"] for result in results]
    assert alarms[0] < alarms[1] == alarms[2]
    assert main(["eval", *map(str, (*arguments, tmp_path / "nobody.json"))]) == 2
    assert "cannot read the keyword file" in capsys.readouterr().err


def test_a_test_archive_needs_no_split(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("yes", "no", "_unknown_", "_silence_"):
        noise(data.parent / "archive" / folder / "1.wav.wav", 0.3)
    archive = ("clips", "--data", data.parent / "archive", "--workers", 1)
    results = [run_json(capsys, *archive, *split) for split in ((), ("--split", "testing"), ("--split", "all"))]
    for result in results:
        assert set(result["per_word"]) == {"yes", "no", "unknown", "silence"}
        assert result["confusion"] == results[0]["confusion"]
    assert results[0]["split"] == "all"
    assert run_json(capsys, *archive, "--protocol", "words")["clips"] == 3  # without the unknown
    assert main(["eval", *map(str, archive), "--split", "validation"]) == 1
    assert "leave --split out" in capsys.readouterr().err


def test_a_report_is_written_though_nobody_reads_the_output(data: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    with Path("/dev/full").open("w") as full:
        arguments = ("--data", data, "--split", "all", "--protocol", "words", "--workers", 1, "--report", report)
        assert run("eval", "clips", *arguments, stdout=full, stderr=None, capture_output=False).returncode == 1
    assert "</html>" in report.read_text()


def test_figures_are_printed_though_the_report_cannot_be_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lcspeech.pretrained.write", full)
    arguments = [
        "--data",
        data,
        "--split",
        "all",
        "--protocol",
        "words",
        "--workers",
        1,
        "--report",
        tmp_path / "r.html",
    ]
    assert main(["eval", "clips", *map(str, arguments), "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["clips"] == 25
    assert "No space left" in captured.err


def test_a_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [event for event in json.loads(LABELS.read_text())["events"] if "keyword" in event]
    track = tmp_path / "labels.txt"
    lines = [f"{e['start']}\t{e['end']}\t{e['keyword'].capitalize()}\n" for e in truth]  # as people write them
    track.write_text("".join(lines) + "9\t9.5\tbanana\n1000\t1001\tbanana\n")
    results = []
    for labels in (LABELS, track):
        assert main(["eval", "stream", "--recording", str(DEMO), "--labels", str(labels), "--json"]) == 0
        captured = capsys.readouterr()
        results.append(json.loads(captured.out))
    assert "no keyword of this model, and not looked for: banana\n" in captured.err
    assert f"'{track}' has labels after the end of '{DEMO}'" in captured.err
    assert results[0] == results[1]
    assert results[0]["all"]["clips"] == len(truth)
    assert results[0]["operating"]["miss_rate"] < 0.4


def test_a_damaged_recording_does_not_take_the_others_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = tmp_path / "torn.flac"
    torn.write_bytes(DEMO.read_bytes()[:-20_000])
    whole, both = (["eval", "stream", "--json", "--recording", *map(str, r)] for r in ([DEMO], [torn, DEMO]))
    assert main([*whole, "--labels", str(LABELS)]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main([*both, "--labels", str(LABELS), str(LABELS)]) == 1
    captured = capsys.readouterr()
    assert "torn.flac" in captured.err
    assert json.loads(captured.out) == {**expected, "unread": 1}
    assert main(["eval", "stream", "--recording", str(torn), "--labels", str(LABELS)]) == 1
    assert "torn.flac" in capsys.readouterr().err


def test_a_stream_as_a_table_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    arguments = ["eval", "stream", "--recording", str(DEMO), "--labels", str(LABELS), "--report", str(report)]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "all together" in captured.out
    assert "latency after a word's end: median 0." in captured.out
    assert str(report) in captured.err
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["clips", "--data", "EMPTY"], 1, "no word folders"),
        (["clips", "--data", "absent"], 1, "no word folders"),
        (["clips", "--data", "FLAT"], 1, "no word folders"),
        (["clips", "--data", "DATA", "--workers", "0"], 2, "from 1 to"),
        (["clips", "--data", "DATA", "--protocol", "v3"], 2, "invalid choice"),
        (["clips", "--data", "DATA", "--model", "banana"], 2, "unknown model"),
        (["clips", "--data", "DATA", "--report", "absent/x.html"], 2, "no report can be written"),
        (["stream"], 2, "--data and --speech"),
        (["stream", "--data", "DATA"], 2, "--data and --speech"),
        (["stream", "--data", "absent", "--speech", "TALK"], 1, "no folder 'absent'"),
        (["stream", "--data", "EMPTY", "--speech", "TALK"], 1, "no clips of"),
        (["stream", "--data", "FLAT", "--speech", "TALK"], 1, "no clips of"),
        (["stream", "--data", "DATA", "--speech", "absent"], 1, "no folder 'absent'"),
        (["stream", "--data", "DATA", "--speech", "EMPTY"], 1, "no audio"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--noise", "absent"], 1, "give --noise"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--speakers", "7"], 1, "does not tell speakers"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--snr", "loud"], 2, "not a number of dB"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--snr", "nan"], 2, "not a number of dB"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--hours", "0"], 2, "hours above 0"),
        (["stream", "--data", "DATA", "--speech", "TALK", "--seed", "x"], 2, "a whole number from 0"),
        (
            ["stream", "--data", "DATA", "--speech", "TALK", "--keyword", "banana"],
            1,
            "no clips of the validation split",
        ),
        (
            ["clips", "--data", "DATA", "--protocol", "words", "--noise", "DATA"],
            2,
            "--noise is for the silence of v2-12",
        ),
        (["stream", "--recording", "DEMO"], 2, "1 recordings and 0 label files"),
        (["stream", "--labels", "LABELS"], 2, "0 recordings and 1 label files"),
        (["stream", "--recording", "DEMO", "--labels", "absent.txt"], 1, "cannot read the labels"),
        (["stream", "--recording", "absent.wav", "--labels", "LABELS"], 1, "cannot open"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--data", "DATA"], 2, "put together out"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--snr", "5"], 2, "put together out"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--seed", "0"], 2, "put together out"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--protocol", "long"], 2, "put together out"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--keyword", "marvin"], 1, "no label of a keyword"),
        (["stream", "--recording", "DEMO", "--labels", "LABELS", "--tolerance", "-1"], 2, "not a number of seconds"),
        ([], 2, "WHAT"),
    ],
)
def test_errors_name_the_remedy(
    arguments: list[str], code: int, message: str, data: Path, talk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, flat = data.with_name("empty"), data.with_name("flat")
    empty.mkdir()
    shutil.copytree(data / "yes", flat)
    places = {"DATA": data, "TALK": talk, "EMPTY": empty, "FLAT": flat, "DEMO": DEMO, "LABELS": LABELS}
    assert main(["eval", *(str(places.get(argument, argument)) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real data in ../shared/data")
def test_real_background_speech(capsys: pytest.CaptureFixture[str]) -> None:
    data, speech = SHARED / "speech_commands", SHARED / "librispeech" / "train-clean-5"
    arguments = ("--hours", 0.02, "--clips", 3, "--keyword", "yes", "no", "--snr", 20, "--speakers", 1737, 2136)
    result = run_json(capsys, "stream", "--data", data, "--speech", speech, "--workers", 1, *arguments)
    assert {name: curve["clips"] for name, curve in result["keywords"].items()} == {"yes": 3, "no": 3}
    assert result["background"]["speech"]["hours"] > 0
