"""`lcspeech enroll` and `calibrate`: from recordings to a keyword file and its threshold."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from lcspeech import Keyword, MicrophoneError, MissingDependencyError, Spotter, enrollment, pretrained, voices
from lcspeech.cli import _record, main
from tests.cli.conftest import RATE, Recording, no_microphone
from tests.cli.process import TIMEOUT, run, start
from tests.learning import learn_briefly
from tests.pulse import VirtualMicrophone
from tests.words import spoken, variants


@pytest.fixture(autouse=True)
def briefly(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    learn_briefly(monkeypatch, tmp_path_factory.mktemp("talk"), steps=10)


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    """A folder with five recordings of "zero"."""
    folder = tmp_path / "zeros"
    folder.mkdir()
    for i, samples in enumerate(variants(spoken("zero")[0], 5)):
        soundfile.write(folder / f"{i}.wav", samples, RATE)
    return folder


@pytest.fixture
def keyword_file(zeros: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = zeros.parent / "null.json"
    assert main(["enroll", "null", str(zeros), "-o", str(path)]) == 0
    capsys.readouterr()
    return path


def test_recordings_become_a_keyword_file(zeros: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = zeros.parent / "null.json"
    assert main(["enroll", "null", *map(str, sorted(zeros.iterdir())), "-o", str(path)]) == 0
    output = capsys.readouterr()
    *rows, last = output.out.splitlines()
    keyword = Keyword.load(path)
    assert [float(row.split()[1]) for row in rows] == list(keyword.scores)
    assert last.startswith(f"{path}: 'null' heard as {' '.join(keyword.symbols[0])}")
    assert last.endswith(f"threshold {keyword.threshold:g}")
    assert "the recordings do not sound like 'null' (N AH L); if they should, record it again" in output.err
    assert main(["enroll", "zero", str(zeros), "-o", str(path)]) == 0
    assert capsys.readouterr().err == ""


def test_a_word_is_learned_but_not_when_it_has_to_be_quick(keyword_file: Path, zeros: Path) -> None:
    assert Keyword.load(keyword_file).head is not None
    assert main(["enroll", "null", str(zeros), "--quick", "-o", str(keyword_file)]) == 0
    assert Keyword.load(keyword_file).head is None


def test_voices_say_a_word_and_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if voices.ESPEAK not in voices.installed() and "CI" not in os.environ:
        pytest.skip("espeak-ng is not installed (Debian: apt install espeak-ng)")
    monkeypatch.setattr(voices, "installed", lambda: (voices.ESPEAK,))
    monkeypatch.chdir(tmp_path)
    assert main(["enroll", "lcspeech=EH L S IY S P IY CH", "--voices"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("lcspeech.json: 'lcspeech' heard as EH L S IY S P IY CH; threshold 0.")
    assert "only espeak-ng is installed; with flite, too, more is found" in said.err
    assert Keyword.load("lcspeech.json").head is not None
    monkeypatch.setattr(voices, "installed", lambda: ())
    assert main(["enroll", "hey computer", "--voices"]) == 1
    assert "install them (Debian: apt install flite espeak-ng), or give recordings" in capsys.readouterr().err
    assert main(["enroll", "x=Q Q", "--voices"]) == 2
    assert "not a sequence of units" in capsys.readouterr().err
    assert main(["enroll", "x=", "--voices"]) == 2
    assert "empty pronunciation" in capsys.readouterr().err
    assert main(["enroll", "x=OW K S:0.4", "--voices"]) == 2
    assert "a threshold is not learned, 'x=OW K S:0.4'; give it to those that listen" in capsys.readouterr().err


def test_what_is_doubtful_is_told(
    zeros: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(zeros.parent)
    monkeypatch.setattr(enrollment, "say", lambda *_: variants(spoken("zero")[1], 3))
    for arguments, file, said in (
        (["zerro", "--voices"], "zerro.json", "'zerro' is not in CMUdict, espeak-ng spells"),
        (["a/b=Z IH R OW", "--voices"], "a_b.json", ""),
        ([" oh = OW ", "--voices"], "oh.json", "'oh' is short, 1 unit, and other words hold it: hardly heard where it"),
        (
            ["null", str(zeros), "--model", "commands-tiny"],
            "null.json",
            "'commands-tiny' can only hear how a word is pro",
        ),
    ):
        assert main(["enroll", *arguments]) == 0
        err = capsys.readouterr().err
        assert said in err
        assert said or not err
        assert Keyword.load(file).name == arguments[0].partition("=")[0].strip()
    assert main(["spot", str(zeros / "0.wav"), "--keyword", "oh.json"]) == 0
    assert "raises few false alarms: 'lcspeech calibrate' tells how many in your room" in capsys.readouterr().err


def test_without_a_dictionary_it_is_told_what_that_costs(
    zeros: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: str) -> None:
        raise MissingDependencyError("no CMUdict; install it")

    monkeypatch.setattr("lcspeech.spotter.spell", missing)
    assert main(["enroll", "athena", str(zeros), "--quick", "-o", str(zeros.parent / "a.json")]) == 0
    assert "it is spelled as it is heard, which finds less: no CMUdict" in capsys.readouterr().err


def test_the_file_spots_the_word(keyword_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "zero.wav", np.concatenate([spoken("zero")[0], spoken("yes")[0]]), RATE)
    assert main(["spot", str(tmp_path / "zero.wav"), "--json", "--keyword", str(keyword_file)]) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert event["keyword"] == "null"
    assert main(["spot", str(tmp_path / "zero.wav"), "--json", "--keyword", f"{keyword_file}:1"]) == 0
    assert capsys.readouterr().out == ""


def test_negatives_raise_the_threshold(keyword_file: Path, zeros: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Keyword.load(keyword_file).threshold
    assert main(["enroll", "null", str(zeros), "--negatives", str(zeros), "-o", str(keyword_file)]) == 0
    keyword = Keyword.load(keyword_file)
    assert keyword.threshold > before
    below = [row.endswith("  below the threshold") for row in capsys.readouterr().out.splitlines()[:-1]]
    assert below == [score < keyword.threshold for score in keyword.scores]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{zeros}", "--record", "5"], 2, "give recordings of the word, or --record N"),
        ([], 2, "give recordings of the word, --record N to make them, or --voices to have it said"),
        (["--voices", "--quick"], 2, "with --quick nothing is learned"),
        (["--voices", "--model", "commands"], 2, "let it learn, for the model 'open'"),
        (["--record", "2"], 2, "'2' is not a whole number of recordings from 3 to 50"),
        (["{zeros}/0.wav", "{zeros}/1.wav"], 2, "2 recordings of 'null'; give at least 3"),
        (["{zeros}", "-o", "{zeros}/none/null.json"], 2, "no folder '"),
        (["{zeros}", "-o", "{zeros}/null.txt"], 2, "let it end in .json"),
        (["{zeros}", "-o", "{zeros}/" + 250 * "a" + ".json"], 2, "is too long; name it with --output"),
        (["{zeros}/0.wav", "{zeros}/1.wav", "{zeros}/0.wav"], 1, "the same recording as another"),
        (["{zeros}/7.wav", "{zeros}/0.wav", "{zeros}/1.wav"], 1, "7.wav': No such file"),
        (["{zeros}", "--negatives", "{zeros}/.."], 0, ""),
    ],
)
def test_wrong_usage_names_the_remedy(
    arguments: list[str],
    code: int,
    said: str,
    zeros: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(zeros.parent)
    assert main(["enroll", "null", *(argument.format(zeros=zeros) for argument in arguments)]) == code
    assert said in capsys.readouterr().err
    assert (zeros.parent / "null.json").exists() == (code == 0)


def test_without_a_microphone_nothing_can_be_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_microphone(monkeypatch)
    assert main(["enroll", "null", "--record", "3", "-o", str(tmp_path / "a.json")]) == 1
    assert "no microphone found" in capsys.readouterr().err


@pytest.mark.audio_device
def test_recording_prompts_checks_and_plays_back(virtual_microphone: VirtualMicrophone, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "zero.wav", spoken("zero")[0], RATE)  # half of what is recorded: a late start still fits
    output = tmp_path / "null.json"
    with start("enroll", "null", "--quick", "--record", "3", "-o", output, env=virtual_microphone.env) as process:
        lines, said = [], 0
        while line := process.stderr.readline().decode():
            lines.append(line)
            if "say 'null' now" in line:
                said += 1
                if said > 1:  # the first is left silent, and asked for again
                    assert virtual_microphone.play(tmp_path / "zero.wav").wait(TIMEOUT) == 0
        assert process.wait(TIMEOUT) == 0, lines[-1]
    assert "recording 1 of 3: it is silent" in "".join(lines)
    understood = [line.split("understood ")[1].split(";")[0].split() for line in lines if "understood" in line]
    assert [units[:2] for units in understood] == [["Z", "IH"]] * 3  # and not the playback of the last one
    assert len(Keyword.load(output).scores) == 3


def test_a_microphone_that_has_gone_is_not_taken_for_silence() -> None:
    blocks = [np.zeros(800, np.float32)] * 4
    microphone: Any = SimpleNamespace(
        sample_rate=RATE, present=True, device=SimpleNamespace(name="USB"), discard=lambda: None
    )

    def read() -> np.ndarray:
        microphone.present = len(blocks) > 1
        return blocks.pop()

    microphone.read = read
    with pytest.raises(MicrophoneError, match="'USB' delivers nothing any more; plug it in, and begin again"):
        _record._hear(microphone, RATE)
    assert blocks == []


# ---- calibrate


def test_a_room_sets_the_threshold(
    keyword_file: Path, recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Keyword.load(keyword_file)
    assert main(["calibrate", str(keyword_file), "--room", str(recording.path), "--target-fa", "0"]) == 0
    output = capsys.readouterr()
    after = Keyword.load(keyword_file)
    assert after.threshold > before.threshold  # it holds two zeros, which count as false alarms here
    assert (after.name, after.sequences, after.scores) == (before.name, before.sequences, before.scores)
    first, alarms, misses, written = output.out.splitlines()
    assert first == f"null: threshold {after.threshold:g}"
    assert alarms.startswith("false alarms: 0.00 per hour, 95 % interval 0.00 to ")
    assert misses.startswith("misses: ")
    assert "of 5 recordings score below" in misses
    assert written == f"{keyword_file}: written"
    calibration = json.loads(keyword_file.read_text())["calibration"]
    assert (calibration["target_per_hour"], calibration["false_alarms"], calibration["recordings"]) == (0, 0, 5)
    assert 0 < calibration["hours"] < 0.1
    assert calibration["interval"][0] == 0 < calibration["interval"][1]
    assert after.calibration == calibration
    assert "h cannot tell 0 per hour; record a longer time" in output.err


def test_a_threshold_beside_the_file_is_replaced_too(
    keyword_file: Path, recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", f"{keyword_file}:0.9", "--room", str(recording.path), "--target-fa", "0"]) == 0
    assert f"{keyword_file}: written" in capsys.readouterr().out


def test_where_to_write_is_looked_at_before_the_room_is_heard(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", "yes", "--room", str(recording.path), "-o", str(tmp_path / "nowhere" / "yes.json")]
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"no folder '{tmp_path / 'nowhere'}'" in output.err


def test_a_typed_word_is_calibrated_without_a_file(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", "hey computer:0.7", "--room", str(recording.path)]
    assert main(arguments) == 0
    assert "misses: not known, no recordings of 'hey computer' were scored" in capsys.readouterr().out
    assert main([*arguments, "-o", str(tmp_path / "hey.json")]) == 0
    assert Keyword.load(tmp_path / "hey.json").threshold == 0.7  # a minute can only raise it


def test_a_file_is_calibrated_for_the_model_that_will_hear_it(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, load = [], Spotter.load
    monkeypatch.setattr(Spotter, "load", lambda model=None: (loaded.append(model), load(model))[1])
    room, file = ["--room", str(recording.path)], str(tmp_path / "up.json")
    assert main(["calibrate", "up", *room]) == 0  # as `listen --keyword up`
    assert main(["calibrate", "up", *room, "-o", file]) == 0
    assert main(["spot", str(recording.path), "--keyword", file]) == 0
    assert main(["calibrate", "up", *room, "-o", file, "--model", "commands-tiny"]) == 0
    assert loaded == [None, pretrained.OPEN, pretrained.OPEN, "commands-tiny"]


def test_a_threshold_that_was_chosen_for_another_model_is_told(
    recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, room = str(tmp_path / "up.json"), ["--room", str(recording.path)]
    assert main(["calibrate", "up", *room, "-o", file, "--model", "commands-tiny"]) == 0
    told = "the threshold of 'up' was chosen for 'commands-tiny', not for 'open'; listen with --model commands-tiny"
    for keyword, model, is_told in (
        (file, "open", True),
        (f"{file}:0.4", "open", True),
        (file, "commands-tiny", False),
    ):
        capsys.readouterr()
        assert main(["spot", str(recording.path), "--keyword", keyword, "--model", model]) == 0
        assert (told in capsys.readouterr().err) == (is_told and ":" not in keyword)


def test_scores_of_another_models_are_no_misses(
    zeros: Path, recording: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, room = str(tmp_path / "zero.json"), ["--room", str(recording.path)]
    assert main(["enroll", "zero", str(zeros), "--quick", "--model", "commands", "-o", file]) == 0
    capsys.readouterr()
    assert main(["calibrate", file, *room, "--model", "open", "-o", str(tmp_path / "other.json")]) == 0
    output = capsys.readouterr()
    assert "misses: not known, no recordings of 'zero' were scored by 'open'" in output.out
    assert "the threshold of 'zero' was chosen for 'commands', not for 'open'" in output.err
    assert main(["calibrate", file, *room, "--model", "commands"]) == 0
    output = capsys.readouterr()
    assert "of 5 recordings score below" in output.out
    assert "was chosen for" not in output.err


@pytest.mark.parametrize(
    ("name", "said"), [("null:0.5", "a threshold is not learned"), ("null.json", "give the word's, and the file as")]
)
def test_what_is_no_name_is_refused(name: str, said: str, zeros: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", name, str(zeros)]) == 2
    assert said in capsys.readouterr().err


def test_what_was_measured_is_written_before_it_is_printed(keyword_file: Path, recording: Recording) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = ("calibrate", keyword_file, "--room", recording.path, "--target-fa", 0)
        result = run(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert "No space left" in result.stderr
    assert "calibration" in keyword_file.read_text()


def test_recordings_of_several_words_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("zero", "yes", "down"):
        for i, clip in enumerate(variants(spoken(word)[0], 2)):
            soundfile.write(tmp_path / f"{word}{i}.wav", clip, RATE)
    code = main(["enroll", "mixed", str(tmp_path), "-o", str(tmp_path / "mixed.json")])
    assert code == 1 or "the same word?" in capsys.readouterr().err  # refused, or at least told


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["yes", "--room", "none.wav"], 1, "cannot open 'none.wav'"),
        (["yes"], 2, "--room"),
        (["none.json", "--room", "none.wav"], 2, "cannot read the keyword file"),
        (["yes", "--room", "none.wav", "--target-fa", "-1"], 2, "'-1' is not a rate"),
        (["yes", "--room", "none.wav", "--target-fa", "few"], 2, "'few' is not a rate"),
    ],
)
def test_calibrate_names_the_remedy(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *arguments]) == code
    assert said in capsys.readouterr().err


def test_calibrate_refuses_at_once_where_it_cannot_write(
    keyword_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = keyword_file.parent / "room.wav"
    soundfile.write(room, np.zeros(RATE), RATE)
    before = room.read_bytes()
    for output, said in ((room, "let it end in .json"), (keyword_file.parent, "is a folder")):
        assert main(["calibrate", str(keyword_file), "--room", str(room), "-o", str(output)]) == 2
        assert said in capsys.readouterr().err
    assert room.read_bytes() == before


def test_a_keyword_file_may_be_written_large_and_lie_anywhere(
    keyword_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = keyword_file.parent / "room.wav"
    soundfile.write(room, np.zeros(RATE), RATE)
    for folder, name in (("run=3", "null.json"), ("a:b", "null.JSON")):
        (keyword_file.parent / folder).mkdir()
        path = keyword_file.parent / folder / name
        path.write_bytes(keyword_file.read_bytes())
        assert main(["spot", str(room), "--keyword", str(path)]) == 0
        assert main(["spot", str(room), "--keyword", f"{path}:0.4"]) == 0
        assert main(["calibrate", str(path), "--room", str(room)]) == 0
        assert "calibration" in path.read_text()
    capsys.readouterr()


def test_an_empty_name_is_none(zeros: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", " ", str(zeros)]) == 2
    assert "an empty NAME; name the word" in capsys.readouterr().err


def test_negatives_that_hold_the_word_are_told(zeros: Path, capsys: pytest.CaptureFixture[str]) -> None:
    negatives = zeros.parent / "negatives"
    negatives.mkdir()
    soundfile.write(negatives / "0.wav", variants(spoken("yes")[0], 1)[0], RATE)
    soundfile.write(negatives / "a.wav", np.concatenate([variants(spoken("zero")[0], 1)[0], spoken("zero")[0]]), RATE)
    assert main(["enroll", "null", str(zeros), "--negatives", str(negatives), "-o", str(zeros.parent / "n.json")]) == 0
    captured = capsys.readouterr()
    told = f"'{negatives / 'a.wav'}' scores higher than all recordings; leave negatives that hold the word out"
    assert told in captured.err
    assert captured.out.count("below the threshold") == 5
