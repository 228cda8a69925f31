"""`lcspeech spot`: what it prints, and what it says of everything that people call audio."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from lcspeech import Spotter, audio, pretrained
from lcspeech.cli import main
from tests.cli.conftest import MODEL, RATE, Recording
from tests.cli.process import TIMEOUT, lcspeech, run


def spotted(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """The objects that ``spot --json`` prints, when nothing goes wrong."""
    assert main(["spot", *map(str, arguments), "--json"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    return [json.loads(line) for line in output.out.splitlines()]


# ---- what is printed


def test_json_is_what_the_python_interface_gives(
    recording: Recording, expected: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = spotted(capsys, recording.path)
    assert [list(event) for event in found] == [["file", "keyword", "start", "end", "score"]] * len(expected)
    assert found == [{"file": str(recording.path), **event} for event in expected]


def test_events_lie_where_the_words_were_spoken(recording: Recording, capsys: pytest.CaptureFixture[str]) -> None:
    found = spotted(capsys, recording.path)
    right = [
        event
        for event in found
        for true in recording.truth
        if event["keyword"] == true["keyword"]
        and true["start"] - 0.3 < event["start"] < event["end"] < true["end"] + 0.3
    ]
    assert len(right) >= 0.9 * len(found) > 0


def test_text_has_a_line_for_each_event(
    recording: Recording, expected: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spot", str(recording.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert [(row[0], row[3]) for row in rows] == [(str(recording.path), e["keyword"]) for e in expected]
    for row, e in zip(rows, expected, strict=True):
        assert [float(row[i]) for i in (1, 2, 4)] == pytest.approx([e["start"], e["end"], e["score"]], abs=0.0101)
    assert len({len(line) for line in lines}) == 1


def test_audacity_labels(
    recording: Recording, expected: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spot", str(recording.path), "--labels", "audacity"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(re.fullmatch(r"\d+\.\d{6}\t\d+\.\d{6}\t[a-z]+", line) for line in lines)
    rows = [line.split("\t") for line in lines]
    assert [(round(float(a), 3), round(float(b), 3), word) for a, b, word in rows] == [
        (e["start"], e["end"], e["keyword"]) for e in expected
    ]


def test_only_the_words_asked_for_and_as_sure_as_asked(
    recording: Recording, expected: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = list(dict.fromkeys(e["keyword"] for e in expected))[:2]
    found = spotted(capsys, recording.path, "--keyword", words[0], "--keyword", *words)
    assert {e["keyword"] for e in found} == set(words)
    surest = max(e["score"] for e in expected)
    sure = spotted(capsys, recording.path, "--threshold", surest - 0.001)
    assert 0 < len(sure) < len(expected)
    assert min(e["score"] for e in sure) >= surest - 0.0011


def test_events_are_printed_while_the_file_is_still_read(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[float, int]] = []  # seconds read, events printed
    read_blocks = audio.read_blocks

    def watched(path: Path, rate: int) -> Iterator[NDArray[np.float32]]:
        samples, printed = 0, 0
        for block in read_blocks(path, rate):
            assert len(block) <= 5 * rate  # memory is flat
            printed += capsys.readouterr().out.count("\n")
            seen.append((samples / rate, printed))
            samples += len(block)
            yield block

    monkeypatch.setattr(audio, "read_blocks", watched)
    assert main(["spot", str(recording.path), "--threshold", "0"]) == 0
    first = next(seconds for seconds, printed in seen if printed)
    assert first < 0.5 * seen[-1][0]


# ---- forms of audio that are all the same


def rewritten(recording: Recording, path: Path, form: str) -> Path:
    """The recording in another form."""
    samples = recording.samples.astype(np.float32) / 2**15
    match form:
        case "96 kHz":
            soundfile.write(path, soxr.resample(samples, RATE, 96_000), 96_000, subtype="PCM_24")
        case "5.1":
            soundfile.write(path, np.repeat(samples[:, None], 6, axis=1), RATE)
        case "FLAC in a file called WAV":
            soundfile.write(path, samples, RATE, format="FLAC")
        case subtype:
            soundfile.write(path, samples, RATE, subtype=subtype)
    return path


@pytest.mark.parametrize("form", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE", "96 kHz", "5.1", "FLAC in a file called WAV"])
def test_the_form_of_a_file_does_not_matter(
    form: str,
    recording: Recording,
    expected: list[dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = spotted(capsys, rewritten(recording, tmp_path / "copy.wav", form))
    sure = [event["keyword"] for event in expected if event["score"] > 0.7]
    assert set(sure) <= {event["keyword"] for event in found}
    if form != "96 kHz":  # resampling there and back moves the samples a little
        assert [e["keyword"] for e in found] == [e["keyword"] for e in expected]
        np.testing.assert_allclose([e["start"] for e in found], [e["start"] for e in expected], atol=1e-3)
        np.testing.assert_allclose([e["score"] for e in found], [e["score"] for e in expected], atol=2e-3)


@pytest.mark.parametrize(
    ("samples", "subtype"),
    [
        (np.zeros(3 * RATE), "PCM_16"),
        (np.zeros(1), "PCM_16"),
        (0.01 * np.random.default_rng(0).standard_normal(RATE), "PCM_U8"),
        (0.5 * np.ones((RATE, 6)), "FLOAT"),
    ],
    ids=["digital silence", "one sample", "8 bits of noise", "a constant in six channels"],
)
def test_nothing_is_heard_where_nothing_is(
    samples: NDArray[np.float64], subtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype=subtype)
    assert spotted(capsys, tmp_path / "a.wav") == []


# ---- bad input: one line on standard error, exit code 1


def missing(_: Path) -> None:
    """There is no such file."""


def empty(path: Path) -> None:
    path.touch()


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), RATE)


def text(path: Path) -> None:
    path.write_text("yes no up down\n" * 100)


def truncated(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).standard_normal(RATE) / 10, RATE, format="FLAC")
    path.write_bytes(path.read_bytes()[:8000])


def truncated_wav(path: Path) -> None:
    soundfile.write(path, np.zeros(RATE), RATE)
    path.write_bytes(path.read_bytes()[:8000])


def header_only(path: Path) -> None:
    soundfile.write(path, np.zeros(RATE), RATE)
    path.write_bytes(path.read_bytes()[:20])


def not_finite(path: Path) -> None:
    soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT")


def infinite_later(path: Path) -> None:
    samples = np.zeros(3 * RATE)
    samples[-1] = np.inf
    soundfile.write(path, samples, RATE, subtype="DOUBLE")


BAD = [missing, empty, no_samples, text, truncated, truncated_wav, header_only, not_finite, infinite_later]


@pytest.mark.parametrize("make", BAD)
def test_bad_audio_is_one_line_that_names_the_file(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.wav"
    make(path)
    assert main(["spot", str(path), "--json"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("lcspeech: error: ")
    assert str(path) in output.err
    assert output.err.count("\n") == 1


def test_one_bad_file_does_not_stop_the_others(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty directory").mkdir()
    text(tmp_path / "text.wav")
    files = [
        tmp_path / "empty directory",
        tmp_path / "missing.wav",
        recording.path,
        tmp_path / "text.wav",
        recording.path,
    ]
    assert main(["spot", *map(str, files), "--json"]) == 1
    output = capsys.readouterr()
    assert [json.loads(line) for line in output.out.splitlines()] == [
        {"file": str(recording.path), **event} for event in expected * 2
    ]
    assert output.err.count("lcspeech: error: ") == output.err.count("\n") == 3


def test_what_a_cut_file_still_holds_is_spotted(
    recording: Recording, expected: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, recording.samples, RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * int(RATE * (expected[1]["end"] + 1.2))])
    code = main(["spot", str(path), "--json"])
    output = capsys.readouterr()
    found = [json.loads(line)["keyword"] for line in output.out.splitlines()]
    assert found[:2] == [event["keyword"] for event in expected[:2]]
    assert code == (1 if output.err else 0)


def test_directories_are_searched(silence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (silence.parent / "deeper").mkdir()
    text(silence.parent / "deeper" / "broken.flac")
    text(silence.parent / "deeper" / "notes.txt")
    assert main(["spot", str(silence.parent)]) == 1
    assert re.findall(r"'([^']*)'", capsys.readouterr().err)[0] == str(silence.parent / "deeper" / "broken.flac")


# ---- wrong usage: exit code 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no FILE; give files or directories"),
        (["-"], "use 'lcspeech listen -'"),
        (["{file}", "--keyword", "yes", "xqzt"], "unknown keyword 'xqzt', not in CMUdict; "),
        (["{file}", "--keyword", "yes:2"], "'yes:2': '2' is not a score; give one from 0 to 1"),
        (["{file}", "--keyword", "yes=Y ES"], "not a sequence of units: 'Y ES'; the units are: AA AE "),
        (["{file}", "--keyword", "=Y EH S"], "keyword '' needs a name"),
        (["{file}", "--keyword", "none.json"], "cannot read the keyword file 'none.json'"),
        (["{file}", "--model", "colossal"], f"unknown model 'colossal'; shipped: {MODEL}"),
        (["{file}", "--threshold", "1.01"], "'1.01' is not a score; give one from 0 to 1"),
        (["{file}", "--threshold", "-0.5"], "'-0.5' is not a score"),
        (["{file}", "--threshold", "nan"], "'nan' is not a score"),
        (["{file}", "--threshold", "high"], "'high' is not a score"),
        (["{file}", "{file}", "--labels", "audacity"], "these are 2; run 'lcspeech spot' for each"),
        (["{file}", "--labels", "audacity", "--json"], "not allowed with argument"),
        (["{file}", "--labels", "praat"], "invalid choice: 'praat'"),
    ],
)
def test_wrong_usage_names_the_remedy(
    arguments: list[str],
    said: str,
    silence: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("lcspeech.letter_to_sound.PROGRAM", "no-such-program")
    assert main(["spot", *(argument.format(file=silence) for argument in arguments)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert "Traceback" not in output.err


def test_an_unknown_keyword_lists_all_known(
    spotter: Spotter, silence: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lcspeech.letter_to_sound.PROGRAM", "no-such-program")
    assert main(["spot", str(silence), "--keyword", "xqzt"]) == 2
    listed = capsys.readouterr().err.rstrip().rpartition("knows without: ")[2].split(", ")
    assert listed == sorted(keyword.name for keyword in spotter.card.known())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "commands", "--keyword", "athena"], "'athena' is a word that 'commands' was not trained to tell"),
        (["--keyword", "up, down"], "'up, down' is one phrase, said in one breath; give each keyword apart"),
    ],
)
def test_keywords_that_will_not_be_heard_are_told(
    arguments: list[str], said: str, silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spot", str(silence), *arguments]) == 0
    assert capsys.readouterr().err.startswith(f"lcspeech: warning: {said}")


# ---- models that cannot be trusted


def test_a_flipped_byte_in_the_model_is_found(
    model_folder: Path, silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    assert main(["spot", str(silence), "--model", str(model_folder)]) == 1
    assert f"error: '{path}' is damaged" in capsys.readouterr().err


def test_a_truncated_model_without_checksums_is_refused(
    model_folder: Path, silence: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "half.onnx"
    content = (model_folder / "model.onnx").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert main(["spot", str(silence), "--model", str(path)]) == 1
    output = capsys.readouterr()
    assert output.err.startswith(f"lcspeech: error: '{path}': not a model that onnxruntime can load")
    assert output.err.count("\n") == 1


def test_a_card_of_another_format_is_refused(
    model_folder: Path, silence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = model_folder / "model.onnx"
    content = path.read_bytes()
    assert content.count(b'"format":1') == 1
    path.write_bytes(content.replace(b'"format":1', b'"format":9'))
    pretrained.write_checksums(model_folder)
    assert main(["spot", str(silence), "--model", str(model_folder)]) == 1
    assert "model.onnx': model card of format 9, this version reads 1; install" in capsys.readouterr().err


# ---- as a process


def test_head_takes_the_first_line_and_no_more(recording: Recording, expected: list[dict[str, Any]]) -> None:
    command = ["bash", "-c", 'set -o pipefail; "$@" | head -n 1', "bash", *lcspeech("spot", recording.path, "--json")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"file": str(recording.path), **expected[0]}


@pytest.mark.parametrize("seconds", [1, 40])
def test_a_bar_on_a_terminal_if_the_audio_is_long(seconds: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(seconds * RATE, np.int16), RATE)
    master, slave = pty.openpty()
    result = run("spot", tmp_path / "a.wav", "--json", capture_output=False, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # how Linux tells that the terminal was closed
        pass
    os.close(master)
    assert (result.returncode, result.stdout) == (0, "")
    assert (b"spotting" in shown) == (seconds > 30)
