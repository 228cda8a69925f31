"""Checkpoint -> streaming ONNX, behind a gate: torch and onnxruntime agree over odd chunks, or nothing is written."""

from __future__ import annotations

import base64
import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from lcspeech import pretrained
from lcspeech.card import GATE_KEY, METADATA_KEY, NETWORK_KEY, ModelCard
from lcspeech.encoder import INPUT, OUTPUT, Encoder
from lcspeech.errors import ModelError
from lcspeech.train.network import Network
from lcspeech.train.quantise import quantise

TOLERANCE = 1e-4
OPSET = 17
_CHUNKS = (1, 3, 2, 7, 1, 11, 25)  # in output frames; odd on purpose


def export(
    network: Network,
    card: ModelCard,
    path: Path,
    int8: bool = False,
    gate: bytes = b"",
    tolerance: float = TOLERANCE,
) -> float:
    """Write `network` with its card in the metadata; returns the largest difference to torch that was seen.

    With `int8` the large weights are rounded to 8 bits, after that: what it costs is for the evaluation to say, which
    measures the file. `gate` is the graph of a dynamic model's gate, if it is one (gate.py).

    Raises:
        ModelError: if torch and onnxruntime disagree by more than `tolerance`; no file is left then.
    """
    model = to_onnx(network, card)
    if gate:
        model.metadata_props.add(key=GATE_KEY, value=base64.b64encode(gate).decode())
    difference = parity(network, Encoder(model.SerializeToString()))
    if not difference <= tolerance:  # a NaN fails too
        raise ModelError(
            f"the exported model differs from torch by {difference:.2g}, more than {tolerance:g}; nothing was written. "
            "Install the versions of torch and onnx that the extra [train] names"
        )
    shipped = quantise(model) if int8 else model
    graph = hashlib.sha256(shipped.graph.SerializeToString(deterministic=True)).hexdigest()
    shipped.metadata_props.add(key=NETWORK_KEY, value=graph)
    pretrained.write(path, shipped.SerializeToString())
    return difference


def to_onnx(network: Network, card: ModelCard) -> onnx.ModelProto:
    """The graph ``(log_mel [1, time, bands], states) -> (rows [1, time / stride, columns], states)``, time free."""
    network = network.eval()
    network.shows_hidden = card.hidden > 0
    stride, bands = network.time_stride, card.features.n_mels
    inputs = (torch.zeros(1, 8 * stride, bands), network.initial_state(1))
    names = [spec.name for spec in network.state_specs()]
    outputs, axes = [OUTPUT, *(f"new_{name}" for name in names)], {INPUT: {1: "time"}, OUTPUT: {1: "steps"}}
    model = onnx_of(network, inputs, [INPUT, *names], outputs, axes)
    for output, spec in zip(model.graph.output[1:], network.state_specs(), strict=True):
        for dim, size in zip(output.type.tensor_type.shape.dim, (1, *spec.shape), strict=True):
            dim.dim_value = size  # the exporter leaves the length of a slice open
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json(indent=None)})
    onnx.checker.check_model(model)
    return model


def onnx_of(
    network: nn.Module,
    inputs: tuple[object, ...],
    names: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> onnx.ModelProto:
    """A module's graph on example `inputs`; `axes` names the dimensions that are free."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "legacy exporter"; and it warns of batches, which a stream has not
        # The exporter that succeeds it fixes the GRU's length at the example's, whatever is declared free (torch 2.11)
        torch.onnx.export(
            network,
            inputs,
            buffer,  # type: ignore[arg-type]
            input_names=names,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(buffer.getvalue())
    short = {name: name for name in (*names, *outputs, *(tensor.name for tensor in model.graph.initializer), "")}
    for node in model.graph.node:  # the exporter's names are those of source files and modules, a tenth of a small file
        node.name = node.doc_string = ""
        node.input[:] = [short.setdefault(name, f"t{len(short)}") for name in node.input]
        node.output[:] = [short.setdefault(name, f"t{len(short)}") for name in node.output]
    return model


def macs_per_second(network: Network, frame_rate: int) -> int:
    """Multiply-accumulates for a second of audio, as `count_macs` counts them."""
    frames = frame_rate // network.time_stride * network.time_stride
    macs = count_macs(network, torch.zeros(1, frames, len(network.mean)), network.initial_state(1))
    return round(macs * frame_rate / frames)


@torch.no_grad()
def count_macs(network: nn.Module, *inputs: object) -> int:
    """Multiply-accumulates of convolutions, GRU and matrices on `inputs`; batch norms are folded away."""
    macs = 0

    def count(module: nn.Module, _: object, output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal macs
        y = output[0] if isinstance(output, tuple) else output
        each = sum(p.numel() for name, p in module.named_parameters() if name.startswith("weight"))
        # A convolution's weights are used once per place, a row's of a matrix once per row
        macs += each * (y[0, 0].numel() if isinstance(module, nn.Conv2d) else y.shape[:-1].numel())

    kinds = (nn.Conv2d, nn.GRU, nn.Linear)
    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    try:
        network.eval()(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return macs


@torch.no_grad()
def parity(network: Network, encoder: Encoder) -> float:
    """Largest difference of outputs between torch on the whole and onnxruntime in odd chunks, on random features."""
    stride = network.time_stride
    generator = torch.Generator().manual_seed(0)
    log_mel = network.mean + torch.randn(1, sum(_CHUNKS) * stride, len(network.mean), generator=generator) * 3
    expected, _ = network(log_mel, network.initial_state(1))
    state, start, parts = encoder.initial_state(), 0, []
    for chunk in _CHUNKS:
        frames = log_mel[0, start : start + chunk * stride].numpy()
        part, state = encoder.run(frames, state)
        parts.append(part)
        start += chunk * stride
    return float(np.abs(np.concatenate(parts) - expected[0].numpy()).max())
