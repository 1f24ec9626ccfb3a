"""Classification of images that `pixel encrypt` encrypted (Tables III and IV of the pixel paper).

    python encrypted_classification.py unpack STRIPS FOLDER [--train N] [--test N]
    pixel encrypt -i FOLDER/plain -o FOLDER/NAME -k KEY ...        (this project's command, once per NAME)
    python encrypted_classification.py train FOLDER NAME [NAME ...] [--network resnet18|small] [--epochs N]

STRIPS is `data/cifar10`: 1000 rows of 32x32 RGB per picture, and `lossless_labels.csv`. `unpack` writes
FOLDER/plain/{train,test}/LABEL/*.png. `train` trains one network per NAME and tests it on that folder and on the plain
one; it prints one line of JSON each. The paper augments by shifts and flips before encryption; augment the plain folder
before encrypting it to do the same. Needs numpy, Pillow, torch, and torchvision for resnet18.
"""

import argparse
import csv
import json
import pathlib
import time

import numpy
import torch
from PIL import Image
from torch import nn


def unpack(arguments):
    labels = {}
    with open(arguments.strips / "lossless_labels.csv", newline="") as file:
        for row in csv.DictReader(file):
            labels[int(row["strip"]), int(row["row"])] = int(row["label"])
    strips = {}
    for index, ((strip, row), label) in enumerate(sorted(labels.items())):
        if index >= arguments.train + arguments.test:
            break
        if strip not in strips:
            path = arguments.strips / f"convnetjs_cifar10_batch_{strip}.png"
            strips[strip] = numpy.asarray(Image.open(path).convert("RGB"))
        part = "train" if index < arguments.train else "test"
        folder = arguments.folder / "plain" / part / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(strips[strip][row].reshape(32, 32, 3)).save(folder / f"{index:05}.png")


def load(folder):
    files = sorted(folder.glob("*/*.png"))
    images = numpy.stack([numpy.asarray(Image.open(file).convert("RGB")) for file in files])
    labels = torch.tensor([int(file.parent.name) for file in files])
    images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, labels


def small():
    def block(before, after):
        return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, 16), *block(16, 32), *block(32, 64)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, 10))


def resnet18():
    """For 32x32 images: a 3x3 first convolution and no pooling after it."""
    import torchvision

    network = torchvision.models.resnet18(num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


@torch.no_grad()
def accuracy(network, images, labels):
    network.eval()
    found = torch.cat([network(part).argmax(1) for part in images.split(250)])
    return round((found == labels).float().mean().item(), 4)


def train_one(folder, name, arguments):
    torch.manual_seed(arguments.seed)
    network = {"small": small, "resnet18": resnet18}[arguments.network]()
    images, labels = load(folder / name / "train")
    optimiser = torch.optim.SGD(network.parameters(), arguments.rate, momentum=0.9, weight_decay=5e-4)
    steps = arguments.epochs * -(-len(images) // arguments.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=steps)
    start = time.time()
    for _ in range(arguments.epochs):
        network.train()
        for part in torch.randperm(len(images)).split(arguments.batch):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(images[part]), labels[part])
            loss.backward()
            optimiser.step()
            schedule.step()
    tests = {other: accuracy(network, *load(folder / other / "test")) for other in dict.fromkeys([name, "plain"])}
    seconds = round(time.time() - start, 1)
    return {"trained_on": name, "network": arguments.network, "images": len(images), "epochs": arguments.epochs,
            "loss": round(loss.item(), 3), "accuracy": tests, "seconds": seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("strips", type=pathlib.Path)
    unpacking.add_argument("folder", type=pathlib.Path)
    unpacking.add_argument("--train", type=int, default=3000)
    unpacking.add_argument("--test", type=int, default=1000)
    training = commands.add_parser("train")
    training.add_argument("folder", type=pathlib.Path)
    training.add_argument("names", nargs="+")
    training.add_argument("--network", choices=["small", "resnet18"], default="resnet18")
    training.add_argument("--epochs", type=int, default=30)
    training.add_argument("--batch", type=int, default=64)
    training.add_argument("--rate", type=float, default=0.05)
    training.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "unpack":
        unpack(arguments)
    else:
        for name in arguments.names:
            print(json.dumps(train_one(arguments.folder, name, arguments)), flush=True)


if __name__ == "__main__":
    main()
