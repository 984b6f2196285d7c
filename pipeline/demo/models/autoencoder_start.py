"""Starting weights with which an untrained AutoencoderKL already shrinks and enlarges pictures.

From diffusers' own random start a small autoencoder first learns lightness alone and stays there for a thousand
steps: colour differences are much weaker than lightness in these pictures, and encoder and decoder must both learn to
carry them before either gains. So here every residual branch starts at zero (as in arXiv 1706.02677, section 5.1) and
the path that is left carries red, green and blue: averaged 2 x 2 on the way down, repeated on the way up. Each colour
travels as a pair (x, -x), because SiLU(x) - SiLU(-x) = x lets it pass the last activation of either half unharmed.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn

NUM_COLORS = 3
START_LOGVAR = -6.0  # little noise on latents at first; the divergence raises it where it may
OUTPUT_GAIN = 0.5  # group normalisation makes the carried colours about twice too strong


@torch.no_grad()
def start_carrying(model: AutoencoderKL) -> None:
    """Set the weights in place; what the carried colours do not need keeps its random start."""
    for module in model.modules():
        if isinstance(module, ResnetBlock2D):
            _zero(module.conv2)
            if module.conv_shortcut is not None:
                _pass_on(module.conv_shortcut, {(0, 0): 1.0})
        elif isinstance(module, Downsample2D):
            _pass_on(module.conv, {(row, column): 0.25 for row in (0, 1) for column in (0, 1)})
        elif isinstance(module, Upsample2D):
            _pass_on(module.conv, {(1, 1): 1.0})
    _carry_in(model.encoder.conv_in)
    _carry_in(model.decoder.conv_in)
    channels = model.config["latent_channels"]
    _carry_out(model.encoder.conv_out, 1.0)
    model.encoder.conv_out.weight[channels:] = 0.0
    model.encoder.conv_out.bias[channels:] = START_LOGVAR
    _zero(model.decoder.conv_out)
    _carry_out(model.decoder.conv_out, OUTPUT_GAIN)
    for module in (model.quant_conv, model.post_quant_conv):
        _zero(module)
        _pass_on(module, {(0, 0): 1.0})


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    if conv.bias is None:
        raise TypeError("AutoencoderKL's convolutions are known to have biases")
    return conv.bias


def _zero(conv: nn.Conv2d) -> None:
    conv.weight.zero_()
    _bias(conv).zero_()


def _pass_on(conv: nn.Conv2d, taps: dict[tuple[int, int], float]) -> None:
    """Channel i to channel i through these taps alone; output channels that no input has stay as they are."""
    shared = min(conv.in_channels, conv.out_channels)
    conv.weight[:shared] = 0.0
    _bias(conv).zero_()
    for channel in range(shared):
        for (row, column), weight in taps.items():
            conv.weight[channel, channel, row, column] = weight


def _carry_in(conv: nn.Conv2d) -> None:
    """Output channels 0-2 are the colours, 3-5 their negatives."""
    conv.weight[: 2 * NUM_COLORS] = 0.0
    _bias(conv)[: 2 * NUM_COLORS] = 0.0
    for color in range(NUM_COLORS):
        conv.weight[color, color, 1, 1] = 1.0
        conv.weight[NUM_COLORS + color, color, 1, 1] = -1.0


def _carry_out(conv: nn.Conv2d, gain: float) -> None:
    """Output channels 0-2 are the differences of the pairs."""
    conv.weight[:NUM_COLORS] = 0.0
    _bias(conv).zero_()
    for color in range(NUM_COLORS):
        conv.weight[color, color, 1, 1] = gain
        conv.weight[color, NUM_COLORS + color, 1, 1] = -gain
