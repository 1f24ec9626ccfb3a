"""Training among the integers that shares hold: weights and values rounded to powers of two, gradients passed through.

A layer that reads values with f fractional bits, with weights of w, yields f + w, and the sum must stay below half the modulus
with a margin, as `bunet import` proves it. For each value the f is taken that adds least noise to its readers, where what the range leaves
goes to the weights. `bunet import` chooses anew, by the same measure but over all layers at once.
"""

import math

import torch

MARGIN = 1.5
WEIGHT_BITS = 8


class Through(torch.autograd.Function):
    """Rounds to a step; the gradient does not see it."""

    @staticmethod
    def forward(_, x, step):
        return torch.round(x / step) * step

    @staticmethod
    def backward(_, gradient):
        return gradient, None


class Watch:
    """Largest magnitudes and mean squares of all values and sums, over calibration images."""

    def __init__(self):
        self.largest, self.square = {}, {}

    def note(self, name, x):
        self.largest[name] = max(self.largest.get(name, 1e-6), x.abs().max().item())
        self.square[name] = max(self.square.get(name, 1e-9), x.square().mean().item())

    def value(self, name, x):
        self.note(name, x)
        return x

    def linear(self, name, layer, x):
        y = layer(x)
        self.note(name + ".in", x)
        self.note(name + ".sum", y)
        return y


class Rounded:
    """Rounds what passes, for shares of `bits`. In training, `excess` is how far values leave the ranges that were watched: shares
    must hold the largest one, and what it grows by is lost to all others. Without gradients, what shares cannot hold wraps."""

    def __init__(self, network, watch, bits):
        self.value_bits, self.weight_bits, self.bits, self.watched = {}, {}, bits, watch.largest
        self.excess, self.frac_in = 0.0, {}
        layers = network.layers()
        sums = {name: math.floor(math.log2(2.0 ** (bits - 1 - (name == "readout")) / (MARGIN * watch.largest[name + ".sum"])))
                for name in layers}
        most = {name: math.floor(math.log2(2.0 ** WEIGHT_BITS / layer.weight.abs().max().item()))
                for name, layer in layers.items()}

        def noise(frac, readers):
            total = 0.0
            for name in readers:
                weight = layers[name].weight.detach()
                w = min(sums[name] - frac, most[name])
                inputs = weight[0].numel() if name[:6] != "upconv" else weight.shape[0]
                energy = weight.square().sum().item() / (weight.shape[0] if name[:6] != "upconv" else weight[0].numel())
                own = 4.0 ** -frac * energy + 4.0 ** -w * inputs * watch.square[name + ".in"]
                total += own / watch.square[name + ".sum"]
            return total

        for values, readers in network.readers().items():
            room = max(watch.largest[value] for value in values) * MARGIN
            fits = [frac for frac in range(-6, 21) if room * 2.0 ** frac < 2.0 ** (bits - 1)]
            frac = min(fits, key=lambda frac: noise(frac, readers))
            self.value_bits.update(dict.fromkeys(values, frac))
            self.frac_in |= dict.fromkeys(readers, frac)
            for name in readers:
                w = min(sums[name] - frac, most[name])
                self.weight_bits[name] = min(w, self.weight_bits.get(name, w))
        for name in watch.largest:
            if name.endswith(".before"):  # what is squared must fit as a square
                self.value_bits[name] = math.floor(math.log2(math.sqrt(2.0 ** (bits - 1) / MARGIN) / watch.largest[name]))

    def held(self, name, x, frac):
        """`x` of `frac` fractional bits as shares hold it."""
        if torch.is_grad_enabled():
            self.excess = self.excess + torch.relu(x.abs().amax() / self.watched[name] - 1)
            return x
        half = 2.0 ** (self.bits - 1 - frac)
        return (x + half) % (2 * half) - half

    def value(self, name, x):
        frac = self.value_bits[name]
        finest = max(frac, 2 * self.value_bits.get(name + ".before", -99))  # a square, before it is cut to its own fraction
        return Through.apply(self.held(name, x, finest), 2.0 ** -frac)

    def linear(self, name, layer, x):
        weight = Through.apply(layer.weight, 2.0 ** -self.weight_bits[name])
        convolve = {1: torch.nn.functional.conv2d, 2: torch.nn.functional.conv3d}[weight.ndim - 3]
        how = {"padding": getattr(layer, "padding", 0)}
        if name.startswith("upconv"):
            convolve = {1: torch.nn.functional.conv_transpose2d, 2: torch.nn.functional.conv_transpose3d}[weight.ndim - 3]
            how = {"stride": 2}
        y = convolve(x, weight, layer.bias, **how)
        return self.held(name + ".sum", y, self.frac_in[name] + self.weight_bits[name])
