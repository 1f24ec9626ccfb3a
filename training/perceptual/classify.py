"""Classification of encrypted images (Tables III and IV of the pixel paper): one network per folder.

    python folders.py cifar DATA FOLDER
    bunet pixel encrypt -i FOLDER/plain -o FOLDER/NAME -k KEY [--scope same] [--shuffle]        (once per NAME)
    python classify.py FOLDER plain NAME … [--width N] [--step N] [--epochs N] [--log FILE]

Trains a ResNet-18 on FOLDER/NAME/train and tests it on FOLDER/NAME/test and on FOLDER/plain/test. Folders named
`tanaka…` get the adaptation network of Tanaka's scheme in front. Prints one line of JSON per NAME.
"""

import argparse
import pathlib
import time

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from common import epochs, labelled, pictures, say, scores, training_flags


def load(folder):
    """Images in -1..1 `[image, channel, height, width]`, and the numbers of their classes."""
    files, labels = labelled(folder)
    return pictures(files) / 127.5 - 1, labels


class ResNet18(nn.Sequential):
    """ResNet-18 for 32x32 images: a 3x3 first convolution and no pooling after it; the paper's has `width` 64, `step` 1."""

    def __init__(self, width, step=1, classes=10):
        layers = [nn.Conv2d(3, width, 3, step, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        before = width
        for stage in range(4):
            after, stride = width << stage, 1 if stage == 0 else 2
            short = None
            if before != after:
                short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
            layers += [BasicBlock(before, after, stride, short), BasicBlock(after, after)]
            before = after
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))


def adaptation(block=4, channels=3):
    """Tanaka's: one dense layer per block, the same for all, that may undo the shuffling."""
    values = channels * block * block
    return nn.Sequential(nn.Conv2d(channels, 2 * values, block, block), nn.ReLU(), nn.Conv2d(2 * values, values, 1),
                         nn.PixelShuffle(block))


def accuracy(network, images, labels):
    return round((scores(network, images).argmax(1) == labels).float().mean().item(), 4)


def train(folder, name, arguments):
    torch.manual_seed(arguments.seed)
    network = ResNet18(arguments.width, arguments.step)
    if name.startswith("tanaka"):
        network = nn.Sequential(adaptation(), network)
    network = network.to(memory_format=torch.channels_last)
    images, labels = load(folder / name / "train")
    images = images.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), arguments.rate, momentum=0.9, weight_decay=5e-4)
    start = time.process_time()
    losses = [done["loss"] for done in epochs(network, optimiser, images, labels, nn.functional.cross_entropy, arguments)]
    tests = {other: accuracy(network, *load(folder / other / "test")) for other in dict.fromkeys([name, "plain"])}
    return {"trained_on": name, "network": f"ResNet-18, width {arguments.width}, first step {arguments.step}", "images": len(images),
            "epochs": arguments.epochs, "seed": arguments.seed, "losses": losses, "accuracy": tests,
            "cpu_seconds": round(time.process_time() - start, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--step", type=int, default=1, help="of the first convolution; 2 is four times cheaper")
    training_flags(parser, epochs=30, batch=64, rate=0.05)
    arguments = parser.parse_args()
    for name in arguments.names:
        say(train(arguments.folder, name, arguments), arguments.log)


if __name__ == "__main__":
    main()
