"""PP-LCNet (Cui et al. 2021, arXiv 2109.15099): the published ImageNet form, and a causal form for streams beside it.

Both are built from one stage table. The causal form sees a map ``[batch, channels, time, frequency]``, pads time on
the left only, and takes what it needs of the past as explicit state, so that a stream in crumbs and a whole recording
give the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stage(NamedTuple):
    """One depthwise-separable block: kernel, output channels at scale 1, stride, squeeze-and-excitation."""

    kernel: int
    channels: int
    stride: int
    se: bool = False


STEM_CHANNELS = 16
STAGES: tuple[Stage, ...] = (  # table 1 of the paper
    Stage(3, 32, 1),
    Stage(3, 64, 2),
    Stage(3, 64, 1),
    Stage(3, 128, 2),
    Stage(3, 128, 1),
    Stage(3, 256, 2),
    *[Stage(5, 256, 1)] * 5,
    Stage(5, 512, 2, se=True),
    Stage(5, 512, 1, se=True),
)
WIDE_HEAD = 1280
SE_REDUCTION = 4


def make_divisible(channels: float, divisor: int = 8) -> int:
    """`channels` rounded to a multiple of `divisor`, never by more than 10 % down (as in the MobileNets)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


class SqueezeExcite(nn.Module):
    """Channel gate from the mean over the whole map, ``[batch, channels, height, width]`` in and out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // SE_REDUCTION, 1)
        self.expand = nn.Conv2d(channels // SE_REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu())
        return x * nn.functional.hardsigmoid(gate)


def _block(inputs: int, stage: Stage, outputs: int) -> nn.Sequential:
    k = stage.kernel
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, k, stage.stride, k // 2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.Hardswish(),
        *([SqueezeExcite(inputs)] if stage.se else []),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.Hardswish(),
    )


class PPLCNet(nn.Sequential):
    """The ImageNet classifier as published: ``[batch, 3, height, width] -> logits [batch, classes]``."""

    def __init__(self, scale: float = 1.0, classes: int = 1000) -> None:
        width = make_divisible(STEM_CHANNELS * scale)
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.Hardswish(),
        ]
        for stage in STAGES:
            outputs = make_divisible(stage.channels * scale)
            layers.append(_block(width, stage, outputs))
            width = outputs
        layers += [nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, WIDE_HEAD, 1, bias=False), nn.Hardswish()]
        super().__init__(*layers, nn.Dropout(0.2), nn.Flatten(), nn.Linear(WIDE_HEAD, classes))


class CausalConv2d(nn.Conv2d):
    """Convolution over ``[batch, channels, time, frequency]`` that sees only the past.

    Its state is the last ``(kernel - 1) - (stride - 1)`` frames of its input, ``[batch, time, frequency, channels]``:
    so frames are in one piece, and joining them costs little. Time lengths are multiples of the time stride, and output
    frame t ends with the last input frame of its stride: strides are right-aligned.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: tuple[int, int], groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, (0, kernel // 2), groups=groups, bias=False)
        self.past = kernel - stride[0]

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        rows = torch.cat([state, x.permute(0, 2, 3, 1)], 1)
        return super().forward(rows.permute(0, 3, 1, 2)), rows[:, -self.past :]


class CausalSqueezeExcite(nn.Module):
    """Channel gate from an exponential mean over time of the mean over frequency; its state is that mean.

    The published gate pools over the whole image, which cannot stream; a cumulative mean would drift on an endless
    stream. `decay` is per frame of this layer, `bands` the width of the map.
    """

    def __init__(self, channels: int, decay: float, bands: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // SE_REDUCTION, 1)
        self.expand = nn.Conv2d(channels // SE_REDUCTION, channels, 1)
        self.decay, self.bands = decay, bands

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`state` is ``[batch, channels, 1]``."""
        means = torch.cat([state, x.mean(3)], 2)  # [batch, channels, 1 + time], the running one first
        # mean[t] = decay * mean[t - 1] + (1 - decay) * now[t], unrolled into one product with a triangular matrix
        age = torch.arange(means.shape[2], device=x.device, dtype=means.dtype)
        lag = age[None, 1:] - age[:, None]  # [from, to]
        weights = self.decay ** lag.clamp(min=0) * (lag >= 0) * torch.where(age > 0, 1 - self.decay, 1.0)[:, None]
        mean = means @ weights
        gate = nn.functional.hardsigmoid(self.expand(self.reduce(mean[..., None]).relu()))
        # As wide as `x`: for a product of unequal shapes onnxruntime would leave its fast layout and come back to it
        return x * nn.functional.interpolate(gate, scale_factor=(1.0, float(self.bands))), mean[:, :, -1:]


class CausalBlock(nn.Module):
    """A depthwise-separable block over time and frequency, with an identity shortcut where the shape allows one.

    The shortcut is PP-LCNetV2's: it lowers the training loss at equal steps (0.70 against 0.80 after 200).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: tuple[int, int], se: tuple[float, int] | None
    ) -> None:
        """`se`: decay and bands of its gate, if it has one."""
        super().__init__()
        self.depthwise = CausalConv2d(inputs, inputs, kernel, stride, groups=inputs)
        self.depthwise_norm = nn.BatchNorm2d(inputs)
        self.se = None if se is None else CausalSqueezeExcite(inputs, *se)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(outputs)
        self.shortcut = stride == (1, 1) and inputs == outputs

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """`states`: the depthwise convolution's, then the gate's if there is one."""
        y, past = self.depthwise(x, states[0])
        y, new = nn.functional.hardswish(self.depthwise_norm(y)), [past]
        if self.se is not None:
            y, mean = self.se(y, states[1])
            new.append(mean)
        y = nn.functional.hardswish(self.pointwise_norm(self.pointwise(y)))
        return (x + y if self.shortcut else y), new


class CausalPPLCNet(nn.Module):
    """PP-LCNet's trunk over a log-mel map: ``[batch, 1, time, bands] -> [batch, channels, time / 4, bands / 32]``.

    Every stride of the published table halves the frequency; those in `TIME_STRIDES` halve the time too.
    """

    TIME_STRIDES = (0, 2)  # the stem and the second block: 10 ms frames become 20 ms, then 40 ms
    SE_SECONDS = 0.5  # time constant of the gate's mean

    def __init__(self, scale: float, bands: int, frame_seconds: float) -> None:
        super().__init__()
        stride = (2 if 0 in self.TIME_STRIDES else 1, 2)
        width = make_divisible(STEM_CHANNELS * scale)
        self.stem, self.stem_norm = CausalConv2d(1, width, 3, stride), nn.BatchNorm2d(width)
        self.time_stride = stride[0]
        blocks: list[CausalBlock] = []
        self.shapes: list[tuple[int, ...]] = [(self.stem.past, bands, 1)]  # of each state, for one stream
        bands = (bands + 1) // 2
        for number, stage in enumerate(STAGES, start=1):
            outputs = make_divisible(stage.channels * scale)
            stride = (2 if number in self.TIME_STRIDES else 1, stage.stride)
            self.time_stride *= stride[0]
            decay = float(torch.tensor(-frame_seconds * self.time_stride / self.SE_SECONDS).exp())
            narrower = (bands + stage.stride - 1) // stage.stride
            se = (decay, narrower) if stage.se else None
            blocks.append(CausalBlock(width, outputs, stage.kernel, stride, se))
            self.shapes.append((blocks[-1].depthwise.past, bands, width))
            self.shapes += [(width, 1)] if stage.se else []
            width, bands = outputs, narrower
        self.blocks = nn.ModuleList(blocks)
        self.channels, self.bands = width, bands

    def forward(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """`states` as listed in `shapes`, each with the batch in front."""
        x, past = self.stem(x, states[0])
        x, new = nn.functional.hardswish(self.stem_norm(x)), [past]
        for block in self.blocks:
            x, block_states = block(x, states[len(new) :])
            new += block_states
        return x, new
