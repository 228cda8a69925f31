"""Names to verified files: every byte counts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lcspeech import ModelError, Spotter, UnknownModelError, UsageError, pretrained
from lcspeech.card import ModelCard

DEFAULT, NAME = "commands", "commands-tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained.shipped() / NAME, tmp_path / "copy"))


def test_the_shipped_model_is_the_default() -> None:
    assert next(iter(pretrained.models())) == DEFAULT
    expected = (pretrained.shipped() / DEFAULT / "model.onnx").read_bytes()
    assert pretrained.load() == pretrained.load(DEFAULT) == expected


@pytest.mark.parametrize("name", ["", "model.onnx"])
def test_a_path_is_a_model_too(folder: Path, name: str) -> None:
    assert pretrained.load(folder / name) == pretrained.load(NAME)
    assert pretrained.load(str(folder / name)) == pretrained.load(NAME)


def test_the_most_accurate_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, accuracy in (("a-poor", 0.5), ("b-best", 0.9), ("c-good", 0.7), ("d-unmeasured", None)):
        copy = tmp_path / name
        shutil.copytree(pretrained.shipped() / NAME, copy)
        card = json.loads((copy / "card.json").read_text()) | {"name": name}
        (copy / "card.json").write_text(json.dumps(card))
        if accuracy is None:
            (copy / "metrics.json").unlink()
        else:
            (copy / "metrics.json").write_text(json.dumps({"clips": {"accuracy": accuracy}}))
        pretrained.write_checksums(copy)
    shutil.copytree(tmp_path / "b-best", tmp_path / ".b-best.tmp")  # an installation that was broken off
    monkeypatch.setattr(pretrained, "shipped", lambda: tmp_path)
    assert list(pretrained.models()) == ["b-best", "c-good", "a-poor", "d-unmeasured"]
    assert [folder.accuracy for folder in pretrained.models().values()] == [0.9, 0.7, 0.5, 0.0]


def test_the_checksums_cover_every_file() -> None:
    folder = pretrained.shipped() / NAME
    listed = dict(line.split()[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert set(listed) == {
        "README.md",
        "accuracy.json",
        "card.json",
        "metrics.json",
        "model.onnx",
        "soak.json",
        "speed.json",
    }
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("name", "most"), [("commands-tiny", 200_000), ("commands", 450_000)])
def test_the_card_beside_the_model_is_the_one_in_it(name: str, most: int) -> None:
    card = pretrained.models()[name].card
    assert isinstance(card, ModelCard)
    assert card == Spotter.load(name).card
    assert card.parameters <= most
    assert card.licence == "Apache-2.0"
    assert all(source.licence.startswith("CC BY ") for source in card.data)


@pytest.mark.parametrize("place", [0, 1_000, -1])
def test_a_flipped_byte_is_found(folder: Path, place: int) -> None:
    path = folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged.*SHA256SUMS; install the model again"):
        pretrained.load(folder)


def test_a_truncated_model_is_found(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelError, match="damaged"):
        pretrained.load(path)


def test_checksums_are_read_in_either_form(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("  model", " *model") + f"{'0' * 64}  a name of words\n")
    pretrained.load(folder)
    (folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match="damaged"):
        pretrained.load(folder)


@pytest.mark.parametrize("content", ["one two three\n", "one\n", "abcd model.onnx\n"])
def test_checksums_that_are_none_are_an_error(folder: Path, content: str) -> None:
    (folder / "SHA256SUMS").write_text(content)
    with pytest.raises(ModelError, match="cannot read the model"):
        pretrained.load(folder)


def test_a_model_of_ones_own_needs_no_checksums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    assert pretrained.load(folder) == pretrained.load(NAME)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    pretrained.write(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        pretrained.write(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)

    def write(content: bytes) -> None:
        for _ in range(100):
            pretrained.write(path, content)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, [b"one", b"two", b"three"]))
    assert path.read_bytes() in {b"one", b"two", b"three"}
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        pretrained.write(tmp_path / "nowhere" / "file", b"new")
    assert raised.value.filename == str(tmp_path / "nowhere" / "file")


def test_a_shipped_name_is_that_model_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (NAME, pretrained.OPEN):
        (tmp_path / name).write_text("hello")
    monkeypatch.chdir(tmp_path)
    assert pretrained.load(NAME) == (pretrained.folder_of(NAME) / pretrained.MODEL).read_bytes()
    assert Spotter.load(pretrained.OPEN).card.name == pretrained.OPEN
    with pytest.raises(ModelError, match=f"'{NAME}': not a model"):
        Spotter.load(Path(NAME))  # a path is one


def test_a_link_stays_one_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    pretrained.write(path, b"old")
    path.chmod(0o600)
    link.symlink_to(path)
    pretrained.write(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        pretrained.write(tmp_path, b"new")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    pretrained.write(pipe, b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()


def test_standard_output_is_not_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    program = "from lcspeech import pretrained as p; from pathlib import Path; p.write(Path('/dev/stdout'), b'new\\n')"
    with log.open("a") as output:
        subprocess.run([sys.executable, "-c", program], stdout=output, check=True)
    assert log.read_text() == "old\nnew\n"


def test_written_checksums_are_right(folder: Path) -> None:
    (folder / "card.json").write_text("changed")
    pretrained.write_checksums(folder)
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    assert f"{hashlib.sha256(b'changed').hexdigest()}  card.json" in lines
    assert [line.split()[1] for line in lines] == [
        "README.md",
        "accuracy.json",
        "card.json",
        "metrics.json",
        "model.onnx",
        "soak.json",
        "speed.json",
    ]


@pytest.mark.parametrize("name", ["no-such-model", "", "/no/such/folder"])
def test_an_unknown_model_lists_those_there_are(name: str) -> None:
    with pytest.raises(UnknownModelError, match=f"unknown model '{name}'; shipped: {DEFAULT}"):
        pretrained.load(name)


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=f"no model.onnx in the folder '{tmp_path}'; give that of a model"):
        pretrained.load(tmp_path)


def test_a_damaged_card_is_named(folder: Path) -> None:
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card.json' is damaged: its SHA-256 is not the one in SHA256SUMS"):
        pretrained.read_folder(folder)
    pretrained.write_checksums(folder)
    with pytest.raises(ModelError, match="not a model card of lcspeech"):
        pretrained.read_folder(folder)
    (folder / "card.json").unlink()
    with pytest.raises(ModelError, match="not a model's folder"):
        pretrained.read_folder(folder)


@pytest.mark.parametrize("name", ["card.json", "metrics.json"])
def test_cards_and_figures_are_checked_too(folder: Path, name: str) -> None:
    (folder / name).write_text((folder / name).read_text().replace("marvin", "marvim").replace("0", "1"))
    with pytest.raises(ModelError, match=f"{name}' is damaged"):
        pretrained.read_folder(folder)


def test_a_name_too_long_for_a_file_is_an_unknown_model() -> None:
    with pytest.raises(UnknownModelError, match="unknown model 'aaa"):
        pretrained.load("a" * 300)


def test_a_disk_that_is_not_to_be_written_to_is_told_with_the_name_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match=r"Read-only file system: '.*/word\.json'"):
        pretrained.write(tmp_path / "word.json", b"{}")


def test_a_damaged_model_does_not_take_the_others_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (DEFAULT, NAME):
        shutil.copytree(pretrained.shipped() / name, tmp_path / name)
    (tmp_path / DEFAULT / "card.json").write_text("{")
    monkeypatch.setattr(pretrained, "shipped", lambda: tmp_path)
    assert pretrained.load(NAME) == (tmp_path / NAME / "model.onnx").read_bytes()
    with pytest.raises(ModelError, match="is damaged"):
        pretrained.load(DEFAULT)


def test_a_folder_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for content in ("old", "new"):
        with pretrained.replacing(folder) as building:
            (building / "card.json").write_text(content)
            assert not folder.exists() or (folder / "card.json").read_text() == "old"
    with pytest.raises(KeyboardInterrupt), pretrained.replacing(folder):
        raise KeyboardInterrupt
    assert (folder / "card.json").read_text() == "new"
    with pytest.raises(UsageError, match="is a file; give a folder"), pretrained.replacing(folder / "card.json"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no model's folder; give another"), pretrained.replacing(tmp_path):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    with pretrained.replacing(tmp_path / "empty") as building:
        (building / "card.json").write_text("new")
    assert (tmp_path / "empty" / "card.json").exists()
