"""Trains a U-Net of the paper's family on a folder of scans, and exports what `bunet import` reads.

    python train.py fit FOLDER -o OUT --size 200x200 --labels membrane=0 cell=255 [--test FOLDER] [--activations hybrid] …
    python train.py finish OUT -o OUT16 --bits 16 [--epochs N]      goes on among the integers of 16-bit shares
    python train.py score OUT --test FOLDER                         Dice of the float network

FOLDER holds `images/` and `labels/` with the same names (PNG, TIFF, NIfTI). OUT gets `network.onnx`, `preprocessing.json`,
a few training scans in `calibration/`, `log.jsonl` and a checkpoint per epoch; the same command again goes on where it was
interrupted. At the end the command for `bunet import` is printed.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import time

import numpy
import torch
from torch import nn

import network as nets
import rounding
import scans

CALIBRATION = 6
RAMP, SETTLED = 0.4, 0.6  # when, in a training, squares have replaced ReLUs, and when norms keep their statistics


def labelled(text):
    name, _, value = text.partition("=")
    return name, int(value) if value else None


def values_of(labels):
    return [index if value is None else value for index, (_, value) in enumerate(labels)]


class Cases:
    """Scans as arrays, cut and turned at random."""

    def __init__(self, folder, settings, steps=None):
        self.size, self.cut = settings["size"], settings["cut"]
        values, rank = values_of(settings["labels"]), len(settings["size"])
        read = scans.pairs(folder, values, rank)
        self.steps = steps or scans.preprocessing(settings["intensity"], read, rank)
        self.paths = [path for path, _, _ in read]
        self.images = [scans.normalised(image, self.steps) for _, image, _ in read]
        self.labels = [label for _, _, label in read]

    def draw(self, index, random, flips, jitter):
        image, label = self.images[index], self.labels[index]
        start = [random.integers(max(found - wanted, 0) + 1) for found, wanted in zip(image.shape, self.cut)]
        image, label = (scans.fitted(array, self.cut, start) for array in (image, label))
        for axis in flips:
            if random.random() < 0.5:
                image, label = numpy.flip(image, axis), numpy.flip(label, axis)
        if jitter:
            image = image * (1 + jitter * random.uniform(-1, 1)) + jitter * random.uniform(-0.5, 0.5) * image.std()
        return numpy.ascontiguousarray(image, numpy.float32), numpy.ascontiguousarray(label)

    def batch(self, indices, random, flips, jitter):
        drawn = [self.draw(index, random, flips, jitter) for index in indices]
        images, labels = (torch.from_numpy(numpy.stack(part)) for part in zip(*drawn))
        return images[:, None], labels.long()


def loss_of(scores, labels):
    """Cross entropy plus 1 - Dice, the mean over labels but the first."""
    found = scores.softmax(1)
    wanted = nn.functional.one_hot(labels, scores.shape[1]).movedim(-1, 1).float()
    axes = [0, *range(2, scores.ndim)]
    dice = (2 * (found * wanted).sum(axes) + 1) / (found.sum(axes) + wanted.sum(axes) + 1)
    return nn.functional.cross_entropy(scores, labels) + 1 - dice[1:].mean()


def build(settings):
    torch.manual_seed(settings["seed"])
    network = nets.UNet(len(settings["size"]), settings["channels"], len(settings["labels"]),
                        settings["activations"], settings["pooling"])
    return network.fold() if settings.get("bits") else network


def written(path, write):
    """Written beside and moved into place, so that no half file is ever found."""
    temporary = path.with_name(path.name + ".part")
    write(temporary)
    os.replace(temporary, path)


def optimiser_of(network, settings, steps):
    optimiser = torch.optim.AdamW(network.parameters(), settings["rate"], weight_decay=1e-4)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, settings["rate"], total_steps=steps, pct_start=0.2)


def run(network, cases, settings, out):
    """All epochs, from the checkpoint if there is one; each epoch has random numbers of its own."""
    steps = -(-settings["crops"] // settings["batch"])
    optimiser, schedule = optimiser_of(network, settings, settings["epochs"] * steps)
    path, done, spent = out / "checkpoint.pt", 0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["settings"] != json.dumps(settings):
            raise scans.BadFolder(f"{path}: from a training with other settings; choose another folder, or remove it")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        done, spent = saved["epochs"], saved["seconds"]
    for epoch in range(done, settings["epochs"]):
        begin = time.process_time()
        random = numpy.random.default_rng([settings["seed"], epoch])
        order = numpy.concatenate([random.permutation(len(cases.images)) for _ in range(1 + settings["crops"] // len(cases.images))])
        network.train()
        total = 0.0
        for step in range(steps):
            progress = (epoch * steps + step) / (settings["epochs"] * steps)
            for square in network.squares():
                square.blend = min(progress / RAMP, 1.0) if settings["warm"] else 1.0
            if settings["warm"] and progress > SETTLED:
                network.freeze()
            part = order[step * settings["batch"]:min((step + 1) * settings["batch"], settings["crops"])]
            images, labels = cases.batch(part, random, settings["flip"], settings["jitter"])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=settings["bf16"]):
                scores = network(images)
            loss = loss_of(scores.float(), labels)
            optimiser.zero_grad()
            (loss + sum(square.excess for square in network.squares())).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(part)
        spent += time.process_time() - begin
        line = {"epoch": epoch + 1, "loss": round(total / settings["crops"], 4), "cpu_seconds": round(spent, 1)}
        if not numpy.isfinite(total):
            raise scans.BadFolder(f"epoch {epoch + 1}: the loss is no number; take a lower --rate, or --from a ReLU network")
        print(json.dumps(line), flush=True)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        state = {"settings": json.dumps(settings), "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                 "schedule": schedule.state_dict(), "epochs": epoch + 1, "seconds": spent}
        written(path, lambda temporary: torch.save(state, temporary))
    return spent


def export(network, settings, steps, out):
    """ONNX with batch norm folded, opset 17."""
    network.eval()
    example = torch.zeros(1, 1, *settings["size"])
    written(out / "network.onnx", lambda path: torch.onnx.export(
        network, example, path, opset_version=17, dynamo=False, input_names=["scan"], output_names=["scores"]))
    written(out / "preprocessing.json", lambda path: path.write_text(json.dumps(steps, indent=1) + "\n"))
    written(out / "settings.json", lambda path: path.write_text(json.dumps(settings, indent=1) + "\n"))


def calibration(paths, out):
    """A few training scans, evenly taken."""
    folder = out / "calibration"
    folder.mkdir(exist_ok=True)
    for path in paths[::max(1, len(paths) // CALIBRATION)][:CALIBRATION]:
        shutil.copyfile(path, folder / path.name)


def restored(folder):
    """A finished training: settings, preprocessing and network."""
    folder = pathlib.Path(folder)
    try:
        settings = json.loads((folder / "settings.json").read_text())
        steps = json.loads((folder / "preprocessing.json").read_text())
        saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    except OSError as error:
        raise scans.BadFolder(f"{folder}: not the folder of a finished training ({error})") from error
    network = build(settings)
    network.load_state_dict(saved["network"])
    return settings, steps, network.eval()


@torch.no_grad()
def score(network, settings, steps, folder, limit=None):
    """Mean Dice over cases of every label, and of answering one label everywhere, the best one."""
    network.eval()
    cases = Cases(folder, settings, steps)
    count = len(settings["labels"])
    dice, trivial = ([[] for _ in range(count)] for _ in range(2))
    for image, label in list(zip(cases.images, cases.labels))[:limit]:
        if "patches" in steps["size"]:  # a network of convolutions takes pictures of any size that its poolings divide
            unit = 2 ** (len(settings["channels"]) - 1)
            size = [-(-extent // unit) * unit for extent in label.shape]
        else:
            size = cases.size
        found = network(torch.from_numpy(scans.fitted(image, size))[None, None]).argmax(1)[0].numpy()
        found = scans.fitted(found, label.shape)
        for index in range(count):
            own = label == index
            if own.any() or (found == index).any():
                dice[index].append(2 * (own & (found == index)).sum() / (own.sum() + (found == index).sum()))
            if own.any():
                trivial[index].append(2 * own.sum() / (own.sum() + own.size))
    mean = lambda part: {name: round(float(numpy.mean(values)), 4) if values else None
                         for (name, _), values in zip(settings["labels"], part)}
    return {"cases": len(cases.images[:limit]), "dice": mean(dice), "all_one_label": mean(trivial)}


def say_import(settings, out, bits):
    names = " ".join(f"--label {name}" + ("" if value is None else f"={value}") for name, value in settings["labels"])
    print(f"bunet import {out}/network.onnx --preprocessing {out}/preprocessing.json --calibrate {out}/calibration "
          f"{names} --bits {bits} -o {out}/model.bunet")


def fit(arguments):
    taken = ("channels", "activations", "pooling", "intensity", "seed", "epochs", "crops", "batch", "rate", "flip", "jitter", "bf16")
    settings = {"size": arguments.size, "cut": arguments.cut or arguments.size,
                "labels": [list(label) for label in arguments.labels], "warm": str(arguments.warm) if arguments.warm else None}
    settings |= {name: getattr(arguments, name) for name in taken}
    divisor = 2 ** (len(settings["channels"]) - 1)
    for flag in ("size", "cut"):
        if any(extent % divisor for extent in settings[flag]) or len(settings[flag]) != len(settings["size"]):
            raise scans.BadFolder(f"--{flag} {settings[flag]}: every extent must divide by {divisor}, for the poolings")
    cases = Cases(arguments.folder, settings)
    settings["crops"] = settings["crops"] or len(cases.images)
    network = build(settings)
    if arguments.warm:
        network.warm_start(restored(arguments.warm)[2].state_dict())
    complete(network, cases, settings, arguments)


def finish(arguments):
    """From a trained network: batch norm folded, scales fixed from training scans, then a few epochs with rounding."""
    settings, steps, network = restored(arguments.folder)
    if settings.get("bits"):
        raise scans.BadFolder(f"{arguments.folder}: it is finished already; begin from the float network")
    settings |= {"bits": arguments.bits, "epochs": arguments.epochs, "rate": arguments.rate, "warm": None, "bf16": False,
                 "crops": arguments.crops or settings["crops"]}
    cases = Cases(arguments.data, settings, steps)
    network.fold()
    network.numbers = watch = rounding.Watch()
    random = numpy.random.default_rng(settings["seed"])
    with torch.no_grad():
        for index in random.permutation(len(cases.images))[:16]:
            network(cases.batch([index], random, settings["flip"], 0)[0])
    network.numbers = rounding.Rounded(network, watch, arguments.bits)
    complete(network, cases, settings, arguments)


def complete(network, cases, settings, arguments):
    """Trains, and writes all that comes of it."""
    out = arguments.output
    out.mkdir(parents=True, exist_ok=True)
    run(network, cases, settings, out)
    network.numbers = None
    export(network, settings, cases.steps, out)
    calibration(cases.paths, out)
    if arguments.test:
        result = score(network, settings, cases.steps, arguments.test)
        written(out / "score.json", lambda path: path.write_text(json.dumps(result) + "\n"))
        print(json.dumps(result))
    say_import(settings, out, settings.get("bits", 24))


def extents(text):
    return [int(part) for part in text.split("x")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run_command in (("fit", fit), ("finish", finish)):
        command = commands.add_parser(name)
        command.set_defaults(run=run_command)
        command.add_argument("folder", type=pathlib.Path)
        command.add_argument("-o", "--output", type=pathlib.Path, required=True)
        command.add_argument("--test", type=pathlib.Path, help="a folder to score on at the end")
        command.add_argument("--epochs", type=int, default=20 if name == "fit" else 4)
        command.add_argument("--crops", type=int, help="drawn per epoch; default: one per scan")
        command.add_argument("--rate", type=float, default=0.005 if name == "fit" else 0.0003)
    training = commands.choices["fit"]
    training.add_argument("--size", type=extents, required=True, help="of the network's input, e.g. 200x200 or 40x64x48")
    training.add_argument("--cut", type=extents, help="train on pieces of this size [default: the input's]")
    training.add_argument("--labels", type=labelled, nargs="+", required=True, metavar="NAME[=VALUE]",
                          help="in order; VALUE: what stands in the label files [default: 0, 1, …]")
    training.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64, 128], help="of every level")
    training.add_argument("--activations", choices=["relu", "hybrid", "square", "quadratic"], default="relu")
    training.add_argument("--pooling", choices=["average", "max"], default="average")
    training.add_argument("--intensity", choices=["unit", "zscore"], default="unit")
    training.add_argument("--from", dest="warm", type=pathlib.Path, metavar="OUT", help="begin with this ReLU network's weights")
    training.add_argument("--batch", type=int, default=4)
    training.add_argument("--flip", type=int, nargs="*", default=[], metavar="AXIS", help="axes along which scans may be mirrored")
    training.add_argument("--jitter", type=float, default=0.1, help="how far brightness and contrast vary")
    training.add_argument("--seed", type=int, default=1)
    training.add_argument("--bf16", action="store_true", help="multiply in 16 bits: faster on recent processors")
    finishing = commands.choices["finish"]
    finishing.add_argument("--data", type=pathlib.Path, required=True, help="the folder that the network was trained on")
    finishing.add_argument("--bits", type=int, required=True, help="of the shares, 16 to 40")
    scoring = commands.add_parser("score")
    scoring.add_argument("folder", type=pathlib.Path)
    scoring.add_argument("--test", type=pathlib.Path, required=True)
    scoring.set_defaults(run=lambda arguments: print(json.dumps(
        score(*(lambda s, p, n: (n, s, p))(*restored(arguments.folder)), arguments.test))))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        arguments.run(arguments)
    except scans.BadFolder as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
