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
from cases import Cases, score

CALIBRATION = 12
RAMP, SETTLED = 0.4, 0.6  # when, in a training, squares have replaced ReLUs, and when norms keep their statistics


def labelled(text):
    name, _, value = text.partition("=")
    return name, int(value) if value else None


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
    """Of a folded network steps go by the size of each tensor: norms no longer level it, and weights before squares are small."""
    size = lambda tensor: tensor.detach().square().mean().sqrt().item() if settings.get("bits") else 1.0
    rates = [settings["rate"] * size(tensor) for tensor in network.parameters()]
    groups = [{"params": [tensor], "lr": rate} for tensor, rate in zip(network.parameters(), rates)]
    optimiser = torch.optim.AdamW(groups, weight_decay=1e-4)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.2)


def run(network, cases, indices, settings, out, judge=None):
    """All epochs, from the checkpoint if there is one; each epoch has random numbers of its own. With `judge`, a score of the
    network, the network ends as it scored best, which may be as it began."""
    steps = -(-settings["crops"] // settings["batch"])
    optimiser, schedule = optimiser_of(network, settings, settings["epochs"] * steps)
    path, done, spent, best = out / "checkpoint.pt", 0, 0.0, None
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["settings"] != json.dumps(settings):
            raise scans.BadFolder(f"{path}: from a training with other settings; choose another folder, or remove it")
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        done, spent, best = saved["epochs"], saved["seconds"], saved.get("best")
    elif judge:
        best = {"epoch": 0, "score": judge(network), "network": copied(network)}
        noted({"epoch": 0, "integers": best["score"]}, out)
    for epoch in range(done, settings["epochs"]):
        begin = time.process_time()
        random = numpy.random.default_rng([settings["seed"], epoch])
        rounds = 1 + settings["crops"] // len(indices)
        order = numpy.concatenate([numpy.array(indices)[random.permutation(len(indices))] for _ in range(rounds)])
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
            excess = sum(square.excess for square in network.squares())
            if network.numbers:
                excess, network.numbers.excess = excess + network.numbers.excess, 0.0
            (loss + excess).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(part)
        spent += time.process_time() - begin
        diverged = not numpy.isfinite(total)
        if diverged and not judge:
            raise scans.BadFolder(f"epoch {epoch + 1}: the loss is no number; take a lower --rate, or --from a ReLU network")
        line = {"epoch": epoch + 1, "loss": None if diverged else round(total / settings["crops"], 4), "cpu_seconds": round(spent, 1)}
        if judge and not diverged:
            line["integers"] = judge(network)
            if line["integers"] > best["score"]:
                best = {"epoch": epoch + 1, "score": line["integers"], "network": copied(network)}
        noted(line, out)
        state = {"settings": json.dumps(settings), "network": network.state_dict(), "optimiser": optimiser.state_dict(),
                 "schedule": schedule.state_dict(), "epochs": settings["epochs"] if diverged else epoch + 1, "seconds": spent, "best": best}
        written(path, lambda temporary: torch.save(state, temporary))
        if diverged:
            break
    if best:
        network.load_state_dict(best["network"])
        print(f"kept: the network of epoch {best['epoch']}, mean Dice {best['score']} among the integers" if best["epoch"] else
              f"finishing won nothing: the network is kept as it was, mean Dice {best['score']} among the integers")


def copied(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def noted(line, out):
    print(json.dumps(line), flush=True)
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


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
    network.load_state_dict((saved.get("best") or saved)["network"])
    return settings, steps, network.eval()


def say_import(settings, out, bits):
    names = " ".join(f"--label {name}" + ("" if value is None else f"={value}") for name, value in settings["labels"])
    print(f"bunet import {out}/network.onnx --preprocessing {out}/preprocessing.json --calibrate {out}/calibration "
          f"{names} --bits {bits} -o {out}/model.bunet")


def fit(arguments):
    taken = ("channels", "activations", "pooling", "intensity", "orientation", "spacing", "fold", "foreground", "seed", "epochs", "crops",
             "batch", "rate", "flip", "jitter", "bf16")
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
        begun, _, trained = restored(arguments.warm)
        if begun.get("fold") != settings["fold"]:
            raise scans.BadFolder(f"{arguments.warm}: trained on other folds, and so on scans that this training is scored on")
        network.warm_start(trained.state_dict())
    complete(network, cases, settings, arguments)


def finish(arguments):
    """From a trained network: batch norm folded, scales fixed from training scans, then a few epochs with rounding. Every eighth
    scan is left out, and says which epoch's network scores best as integers."""
    settings, steps, network = restored(arguments.folder)
    if settings.get("bits"):
        raise scans.BadFolder(f"{arguments.folder}: it is finished already; begin from the float network")
    if settings["activations"] == "quadratic":
        raise scans.BadFolder(f"{arguments.folder}: finishing knows no trained quadratics; import the float network")
    squares = settings["activations"] == "square"
    settings |= {"bits": arguments.bits, "epochs": arguments.epochs, "warm": None, "bf16": False,
                 "rate": arguments.rate or (0.0005 if squares else 0.003), "crops": arguments.crops or settings["crops"]}
    cases = Cases(arguments.data, settings, steps)
    left = list(range(len(cases.images)))[::8]
    watched = [index for index in range(len(cases.images)) if index not in left] or left
    watched = watched[::max(1, len(watched) // CALIBRATION)][:CALIBRATION]
    network.fold()

    def rounded():
        unit = 2 ** (len(settings["channels"]) - 1)
        network.numbers = watch = rounding.Watch()
        with torch.no_grad():
            for index in watched:
                network(cases.whole(index, unit))
        try:
            return rounding.Rounded(network, watch, arguments.bits)
        except (ValueError, OverflowError) as error:  # nothing fits, or values are no numbers
            raise scans.BadFolder(f"{arguments.folder}: its values do not fit in {arguments.bits} bits; take more --bits") from error

    def judge(network):
        """With the scales that an import would choose anew."""
        trained = network.numbers
        network.eval()
        try:
            network.numbers = rounded()
            found = score(network, settings, cases, left)["dice"]
        except scans.BadFolder:
            found = {"": 0.0}
        network.numbers = trained
        return round(float(numpy.mean([dice for dice in found.values() if dice is not None])), 4)

    network.numbers = rounded()
    complete(network, cases, settings, arguments, judge, left)


def tested(arguments):
    settings, steps, network = restored(arguments.folder)
    print(json.dumps(score(network, settings, Cases(arguments.test, settings | {"fold": None}, steps))))


def complete(network, cases, settings, arguments, judge=None, left=()):
    """Trains, but not on what is left out, and writes all that comes of it."""
    out = arguments.output
    out.mkdir(parents=True, exist_ok=True)
    indices = [index for index in range(len(cases.images)) if index not in left] or list(left)
    run(network, cases, indices, settings, out, judge)
    network.numbers = None
    export(network, settings, cases.steps, out)
    calibration([cases.scans[index].path for index in indices], out)
    held = None
    if arguments.test:
        held = Cases(arguments.test, settings | {"fold": None}, cases.steps)
    elif settings.get("fold"):
        held = Cases(getattr(arguments, "data", arguments.folder), settings, cases.steps, held=True)
    if held:
        result = score(network, settings, held)
        written(out / "score.json", lambda path: path.write_text(json.dumps(result) + "\n"))
        print(json.dumps(result))
    say_import(settings, out, settings.get("bits", 24))


def extents(text):
    return [int(part) for part in text.split("x")]


def lengths(text):
    found = [float(part) for part in text.split("x")]
    if len(found) != 3 or min(found) <= 0:
        raise argparse.ArgumentTypeError(f"{text}: three lengths in mm are expected, as 0.5x0.5x5")
    return found


def directions(text):
    if sorted(next((k for k, pair in enumerate(scans.WORLD) if letter in pair), -1) for letter in text) != [0, 1, 2]:
        raise argparse.ArgumentTypeError(f"{text}: one each of R/L, A/P and S/I is expected, as RAS")
    return text


def fold(text):
    index, _, folds = text.partition("/")
    if not (index.isdigit() and folds.isdigit() and 1 <= int(index) <= int(folds) >= 2):
        raise argparse.ArgumentTypeError(f"{text}: 1/5 is the first of five")
    return [int(index), int(folds)]


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
        command.add_argument("--rate", type=float, default=0.005 if name == "fit" else None,
                             help=None if name == "fit" else "by the size of each weight [default: 0.003, of squares 0.0005]")
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
    training.add_argument("--orientation", default="RAS", type=directions, help="of NIfTI scans: where x, y and z shall point; a planar "
                          "network reads slices along z")
    training.add_argument("--spacing", type=lengths, help="of NIfTI scans, along x, y and z, e.g. 0.5x0.5x5 [default: the middle ones]")
    training.add_argument("--fold", type=fold, metavar="I/K", help="leave the I-th of K parts of the scans out, and score on it")
    training.add_argument("--foreground", type=float, default=0.0, help="share of pieces around a voxel of any label but the first")
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
    scoring.set_defaults(run=tested)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        arguments.run(arguments)
    except scans.BadFolder as error:
        sys.exit(f"train.py: {error}")


if __name__ == "__main__":
    main()
