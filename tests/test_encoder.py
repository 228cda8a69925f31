"""The network's session: shared weights, a state per stream, and files that are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lcspeech import ModelError, pretrained
from lcspeech.card import METADATA_KEY
from lcspeech.encoder import Encoder, EncoderStream


@pytest.fixture(scope="module")
def content() -> bytes:
    return pretrained.load()


@pytest.fixture(scope="module")
def encoder(content: bytes) -> Encoder:
    return Encoder(content)


def features(frames: int, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(-6, 3, (frames, 40)).astype(np.float32)


def test_rows_are_distributions(encoder: Encoder) -> None:
    log_probs, _ = encoder.run(features(80), encoder.initial_state())
    assert log_probs.shape == (20, encoder.card.columns)
    np.testing.assert_allclose(np.exp(log_probs[:, :40]).sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("frames", [4, 12, 100, 1_024, 1_028])
def test_pieces_equal_the_whole(encoder: Encoder, frames: int) -> None:
    x = features(2_100)  # more than one call holds
    whole, end = encoder.run(x, encoder.initial_state())
    state, parts = encoder.initial_state(), []
    for start in range(0, len(x), frames):
        part, state = encoder.run(x[start : start + frames], state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-4)
    for name, array in end.items():
        np.testing.assert_allclose(state[name], array, rtol=0, atol=1e-4)


def test_a_run_leaves_the_state_it_got(encoder: Encoder) -> None:
    _, state = encoder.run(features(40), encoder.initial_state())
    before = {name: array.copy() for name, array in state.items()}
    first, second = (encoder.run(features(40, seed=1), state)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    fresh, _ = encoder.run(features(40, seed=1), encoder.initial_state())
    assert np.abs(fresh - first).max() > 0.01  # the past is heard


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    state = encoder.initial_state()
    log_probs, after = encoder.run(features(0), state)
    assert log_probs.shape == (0, encoder.card.columns)
    assert after is state


def test_the_states_are_those_of_the_card(encoder: Encoder) -> None:
    shapes = {name: array.shape for name, array in encoder.initial_state().items()}
    assert shapes == {spec.name: (1, *spec.shape) for spec in encoder.card.states}
    assert encoder.card.time_stride == 4
    assert encoder.card.frame_seconds == pytest.approx(0.04)


@pytest.mark.parametrize("damage", [b"", b"not a model", None])
def test_what_is_no_model_is_refused(content: bytes, damage: bytes | None) -> None:
    with pytest.raises(ModelError, match="not a model"):
        Encoder(content[: len(content) // 2] if damage is None else damage)


def test_models_of_others_and_wrong_cards_are_refused(content: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(content)
    card = model.metadata_props[0]
    original = card.value
    card.value = original.replace('"state16"', '"state99"')
    with pytest.raises(ModelError, match="not those of its card"):
        Encoder(model.SerializeToString())
    card.value = original.replace('"format":1', '"format":2')
    with pytest.raises(ModelError, match="format 2, this version reads 1"):
        Encoder(model.SerializeToString())
    del model.metadata_props[:]
    with pytest.raises(ModelError, match="holds no model card"):
        Encoder(model.SerializeToString())


@pytest.mark.parametrize("usual", [(16,), (16, 4), ()])
@pytest.mark.parametrize("lengths", [[16] * 20, [12, 16, 16, 32, 16, 4, 16, 4, 4, 4, 0, 16, 192]])
def test_a_stream_equals_the_whole(encoder: Encoder, lengths: list[int], usual: tuple[int, ...]) -> None:
    x = features(sum(lengths))
    whole, end = encoder.run(x, encoder.initial_state())
    stream = EncoderStream(encoder, usual, encoder.initial_state())
    parts = [stream.process(piece) for piece in np.split(x, np.cumsum(lengths)[:-1])]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-4)
    for name, array in end.items():
        np.testing.assert_allclose(stream.state[name], array, rtol=0, atol=1e-4)


def test_what_a_stream_returned_and_started_from_stays(encoder: Encoder) -> None:
    _, start = encoder.run(features(40), encoder.initial_state())
    before = {name: array.copy() for name, array in start.items()}
    first, second = (EncoderStream(encoder, (16,), start) for _ in range(2))
    kept = first.process(features(16, seed=1))
    same = kept.copy()
    for seed in range(3):
        first.process(features(16, seed))
    np.testing.assert_array_equal(kept, same)
    np.testing.assert_array_equal(second.process(features(16, seed=1)), same)  # streams do not share buffers
    for name, array in before.items():
        np.testing.assert_array_equal(start[name], array)


def test_a_session_for_a_length_is_made_once_and_takes_no_other(encoder: Encoder) -> None:
    session = encoder.session(8)
    assert encoder.session(8) is session
    assert next(i.shape for i in session.get_inputs() if i.name == "log_mel") == [1, 8, 40]


@pytest.mark.parametrize("said", ["bands", "outputs", "inputs"])
def test_a_card_of_other_sizes_is_refused(content: bytes, said: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(content)
    card = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    fields = json.loads(card.value)
    if said == "bands":
        fields["features"]["n_mels"] = 41
    elif said == "outputs":
        fields["verified"] = not fields["verified"]
    else:
        fields["states"][0]["shape"][-1] += 1
    card.value = json.dumps(fields)
    with pytest.raises(ModelError, match=f"the model's {said} are not those of its card"):
        Encoder(model.SerializeToString())
