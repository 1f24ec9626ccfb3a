"""Segmentation of encrypted slices: a small U-Net trained and tested on each folder.

    python folders.py em DATA FOLDER
    bunet pixel encrypt -i FOLDER/plain -o FOLDER/NAME -k KEY [--scope same]        (once per NAME)
    python segment.py FOLDER plain NAME … [--width N] [--epochs N] [--log FILE] [--onnx FOLDER]

Trains on FOLDER/NAME/train and tests on FOLDER/NAME/test and FOLDER/plain/test; reference labels are FOLDER/labels. Prints
one line of JSON per NAME: Dice of membrane (label 0 in the files) and of cell over all test pixels, with the trivial answers
(all membrane, all cell) beside. `--onnx` keeps the networks, for `bunet import`.
"""

import argparse
import pathlib
import time

import torch
from torch import nn

from common import epochs, labelled, pictures, say, scores, training_flags


def double(before, after):
    layers = [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())


class UNet(nn.Module):
    """Three levels; two scores, cell and membrane last."""

    def __init__(self, width):
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(double(a, b) for a, b in zip([1, *widths], widths))
        self.raise_ = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in zip(widths, widths[1:]))
        self.up = nn.ModuleList(double(2 * a, a) for a in widths[:-1])
        self.pool, self.scores = nn.MaxPool2d(2), nn.Conv2d(width, 2, 1)

    def forward(self, x):
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            kept.append(x)
        for level in (1, 0):
            x = self.up[level](torch.cat([kept[level], self.raise_[level](x)], 1))
        return self.scores(x)


def dice(found, label):
    """Of membrane and of cell, over all pixels."""
    return {name: round((2 * ((found == n) & (label == n)).sum() / ((found == n).sum() + (label == n).sum())).item(), 4)
            for name, n in (("membrane", 1), ("cell", 0))}


def images(folder):
    return pictures(labelled(folder)[0]) / 127.5 - 1


def membrane(folder):
    """1 where the reference says membrane."""
    return (pictures(labelled(folder)[0])[:, 0] == 0).long()


def test(network, folder, label):
    return dice(scores(network, images(folder), part=8).argmax(1), label)


def train(folder, name, arguments):
    torch.manual_seed(arguments.seed)
    network = UNet(arguments.width)
    inputs = images(folder / name / "train")
    labels = {part: membrane(folder / "labels" / part) for part in ("train", "test")}
    optimiser = torch.optim.Adam(network.parameters())
    weights = torch.tensor([1.0, 2.0])  # membranes are rare
    start = time.process_time()
    done = epochs(network, optimiser, inputs, labels["train"],
                  lambda scores, wanted: nn.functional.cross_entropy(scores, wanted, weights), arguments)
    losses = [epoch["loss"] for epoch in done]
    if arguments.onnx:
        arguments.onnx.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(network.eval(), inputs[:1], arguments.onnx / f"{name}.onnx", dynamo=False)
    label = labels["test"]
    tests = {other: test(network, folder / other / "test", label) for other in dict.fromkeys([name, "plain"])}
    trivial = {"all membrane": dice(torch.ones_like(label), label), "all cell": dice(torch.zeros_like(label), label)}
    return {"trained_on": name, "network": f"U-Net, width {arguments.width}", "tiles": len(inputs),
            "epochs": arguments.epochs, "seed": arguments.seed, "losses": losses, "dice": tests, "trivial": trivial,
            "cpu_seconds": round(time.process_time() - start, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--width", type=int, default=16)
    training_flags(parser, epochs=30, batch=8, rate=0.01)
    parser.add_argument("--onnx", type=pathlib.Path, help="a folder for the trained networks")
    arguments = parser.parse_args()
    for name in arguments.names:
        say(train(arguments.folder, name, arguments), arguments.log)


if __name__ == "__main__":
    main()
