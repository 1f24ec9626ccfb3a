"""The accuracy table, in the manner of Table 1 of BUNET: float networks beside what `bunet import` makes of them.

    python accuracy.py score NETS SET FOLDER --programs BIN --log results.jsonl [--limit N] [--held]
    python accuracy.py blind NETS SET FOLDER --programs BIN --log results.jsonl [--limit N]
    python accuracy.py table results.jsonl

NETS holds the folders SET-relu, SET-max, SET-hybrid, SET-square (of `train.py fit`) and SET-relu16, SET-square16 (of `finish`);
FOLDER the test cases; with `--held` the networks were trained with `--fold I/K` on FOLDER, and are scored on the part left out.
`score` imports each network with the bits of its columns and runs the integers in the clear; `blind`
runs the first N cases between `bob` and `alice` of the folder BIN and counts the labels that differ from the integers'.
`table` prints what the log says, of folds the mean and the standard deviation.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy

import integers
import scans
import train
from cases import Cases, part, values_of
from cases import score as score_float

COLUMNS = [  # name, network, bits of the shares
    ("ReLU, max pooling, float", "max", None),
    ("ReLU, max pooling, 32 bits", "max", 32),
    ("ReLU, float", "relu", None),
    ("ReLU, 32 bits", "relu", 32),
    ("ReLU, 20 bits", "relu", 20),
    ("ReLU, 16 bits", "relu", 16),
    ("ReLU, 16 bits, finished", "relu16", 16),
    ("hybrid, float", "hybrid", None),
    ("hybrid, 20 bits", "hybrid", 20),
    ("square, float", "square", None),
    ("square, 16 bits", "square", 16),
    ("square, 16 bits, finished", "square16", 16),
    ("quadratic, float", "quadratic", None),
    ("quadratic, 24 bits", "quadratic", 24),
    ("quadratic, 16 bits", "quadratic", 16),
]


def imported(network, bits, programs):
    """The bundle, made where it is not there yet."""
    bundle = network / f"model{bits}.bunet"
    if bundle.exists():
        return bundle
    settings = json.loads((network / "settings.json").read_text())
    labels = [word for name, value in settings["labels"]
              for word in ("--label", name if value is None else f"{name}={value}")]
    command = [programs / "bunet", "import", network / "network.onnx", "--preprocessing", network / "preprocessing.json",
               "--calibrate", network / "calibration", *labels, "--bits", str(bits), "-o", bundle]
    called(command)
    return bundle


def called(command):
    """Runs a program of this project; its own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        raise scans.BadFolder(next((line for line in words if "error" in line), f"{command[0]}: exit code {done.returncode}"))


def segmented(bundle, settings, arguments):
    """Every case, and its labels by the integers."""
    network = integers.Bundle(bundle)
    found = scans.pairs(arguments.folder, values_of(settings["labels"]), len(settings["size"]))
    if arguments.held:
        found = [found[index] for index in part(len(found), settings["fold"], held=True)]
    for scan in found[:arguments.limit]:
        yield scan, network.segment(scan)


def score(arguments):
    for column, kind, bits in COLUMNS:
        network = arguments.nets / f"{arguments.set}-{kind}"
        if not (network / "network.onnx").exists():
            print(f"{network}: not trained, left out", file=sys.stderr)
            continue
        settings = json.loads((network / "settings.json").read_text())
        line = {"set": arguments.set, "column": column}
        if arguments.held:
            if not settings.get("fold"):
                raise scans.BadFolder(f"{network}: trained on all scans, not with --fold")
            line["fold"] = settings["fold"]
        if bits is None:
            settings, steps, trained = train.restored(network)
            settings = settings if arguments.held else settings | {"fold": None}
            cases = Cases(arguments.folder, settings, steps, arguments.held)
            line |= score_float(trained, settings, cases, range(len(cases.images))[:arguments.limit])
        else:
            try:
                bundle = imported(network, bits, arguments.programs)
                names = [name for name, _ in settings["labels"]]
                scores = [[integers.dice(found, scan.label)(n) for n in range(len(names))]
                          for scan, found in segmented(bundle, settings, arguments)]
                mean = lambda n: float(numpy.mean([row[n] for row in scores if row[n] is not None]))
                line |= {"cases": len(scores), "dice": {name: round(mean(n), 4) for n, name in enumerate(names)}}
            except scans.BadFolder as error:
                line["refused"] = str(error)
        say(line, arguments.log)


def blind(arguments):
    """Each case between two processes on this machine."""
    for column, kind, bits in COLUMNS:
        network = arguments.nets / f"{arguments.set}-{kind}"
        bundle = network / f"model{bits}.bunet"
        if bits is None or not bundle.exists():
            continue
        settings = json.loads((network / "settings.json").read_text())
        values = numpy.array(integers.Bundle(bundle).values(arguments.folder))
        with tempfile.TemporaryDirectory() as place:
            keys = pathlib.Path(place)
            called([arguments.programs / "bunet", "keygen", "--dir", keys])
            with served(bundle, keys, arguments.programs) as address:
                different = total = 0
                for scan, expected in segmented(bundle, settings, arguments):
                    out = keys / scan.path.name
                    called([arguments.programs / "alice", "segment", "--server", address, "--identity", keys / "alice.key",
                                    "--trust", keys / "bob.crt", *arguments.flags.split(), "-i", scan.path, "-o", out, "--quiet"])
                    different += int((scans.read(out).values != values[expected]).sum())
                    total += expected.size
        say({"set": arguments.set, "column": column, "blind_cases": arguments.limit, "flags": arguments.flags,
             "voxels": total, "different": different}, arguments.log)


class served:
    """`bob` as a process; the address that it says it listens on."""

    def __init__(self, bundle, keys, programs):
        self.command = [programs / "bob", "serve", "--model", bundle, "--listen", "127.0.0.1:0", "--identity", keys / "bob.key",
                        "--trust", keys / "alice.crt"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if found := re.search(r"127\.0\.0\.1:\d+", line):
                return found.group()
        raise scans.BadFolder("bob did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def table(arguments):
    lines = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    for kind in dict.fromkeys(line["set"] for line in lines):
        own = [line for line in lines if line["set"] == kind]
        names = next(list(line["dice"]) for line in own if "dice" in line)
        row = lambda *cells: print("| " + " | ".join(cells) + " |")
        figures = lambda dice: [f"{dice[name]:.3f}" for name in names]
        print(f"\n{kind}\n")
        row("network", *names, "blind runs: labels unlike the integers'")
        row(*["---"] * (len(names) + 2))
        for column, _, _ in COLUMNS:
            mine = [line for line in own if line["column"] == column]
            runs = "; ".join(f"{line['flags'].replace('--', '')}: {line['different']} of {line['voxels']:,}" for line in mine if "different" in line)
            folds = [line["dice"] for line in mine if "fold" in line and "dice" in line]
            if folds:
                row(f"{column} ({len(folds)} folds)", *[f"{numpy.mean(own):.3f} ± {numpy.std(own, ddof=len(own) > 1):.3f}"
                                                        for own in ([fold[name] for fold in folds] for name in names)], "")
            for line in mine:
                if "fold" in line:
                    continue
                if "dice" in line:
                    row(column, *figures(line["dice"]), runs)
                elif "refused" in line:
                    row(column, *["refused"] * len(names), "")
        baseline = next(line["all_one_label"] for line in own if "all_one_label" in line)
        row("one label everywhere", *figures(baseline), "")


def say(line, log):
    text = json.dumps(line)
    print(text, flush=True)
    with log.open("a") as file:
        file.write(text + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("score", score), ("blind", blind)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("nets", type=pathlib.Path)
        command.add_argument("set")
        command.add_argument("folder", type=pathlib.Path)
        command.add_argument("--programs", type=pathlib.Path, required=True, help="the folder with bunet, alice and bob")
        command.add_argument("--limit", type=int, default=None if name == "score" else 1)
        command.add_argument("--log", type=pathlib.Path, required=True)
        command.add_argument("--held", action="store_true", help="score on the fold that each network was trained without")
    commands.choices["blind"].add_argument("--flags", default="--preset fast",
                                          help="for alice; `fast` is off by one unit at times, `--preset gc --strategy "
                                          "truncation=gc` is exact")
    printing = commands.add_parser("table")
    printing.add_argument("log", type=pathlib.Path)
    printing.set_defaults(run=table)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except scans.BadFolder as error:
        sys.exit(f"accuracy.py: {error}")


if __name__ == "__main__":
    main()
