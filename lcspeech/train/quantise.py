"""Weight-only int8: a quarter of the file, and the same arithmetic once it is loaded.

Each weight becomes 8-bit integers with one scale per output channel and a ``DequantizeLinear`` in front of its node,
which onnxruntime folds when it loads the file. Activations stay float: their dynamic quantisation is four times slower
in a network so small, and onnxruntime has no quantised GRU.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

LEAST = 500  # elements; rounding hurts the small early convolutions most, and they hold little
OUTPUT_AXES = {"Conv": {1: 0}, "GRU": {1: 1, 2: 1}, "MatMul": {1: 1}, "Gemm": {1: 0}}  # of each weight's input


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` whose large weights are int8; inputs, outputs and metadata are the same."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    axes = {
        node.input[place]: axis
        for node in graph.node
        for place, axis in OUTPUT_AXES.get(node.op_type, {}).items()
        if node.input[place] in weights and np.prod(weights[node.input[place]].dims) >= LEAST
    }
    dequantisers = []
    for name, axis in axes.items():
        integers, scales = to_int8(numpy_helper.to_array(weights[name]), axis)
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(integers, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        inputs = [f"{name}_int8", f"{name}_scale"]
        dequantisers.append(helper.make_node("DequantizeLinear", inputs, [name], axis=axis))
    nodes = [*dequantisers, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(copy)
    return copy


def to_int8(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers from -127 to 127 of `weight`'s shape and scales ``[weight.shape[axis]]``: weight = integers * scales."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(others, keepdims=True)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.round(weight / scales).astype(np.int8), scales.reshape(-1)
