"""Folders for `train.py` from public data: OUT/{train,test}/{images,labels}.

    python prepare.py em DATA OUT             ISBI 2012 slices, `image` and `label`: the last five for testing, two
                                              crops of 200x200 each
    python prepare.py hippocampus DATA OUT    Decathlon Task04, `images` and `labels`: every eighth volume for testing
    python prepare.py heart DATA OUT          HVSMR 2016 label volumes, `labels_3d`: real anatomies on 64³ voxels with
                                              SIMULATED intensities; two of the eight patients for testing
"""

import argparse
import pathlib
import shutil

import numpy

SIDE = 64
# Mean grey of background, myocardium and blood pool in real slices of the set.
GREYS = (19, 66, 130)


def place(out, part):
    folders = [out / part / kind for kind in ("images", "labels")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def em(data, out, limit):
    from PIL import Image
    paths = sorted((data / "image").glob("*.png"), key=lambda path: int(path.stem))[:limit]
    for index, path in enumerate(paths):
        test = index >= len(paths) - max(1, len(paths) // 5)
        folders = place(out, "test" if test else "train")
        for folder, kind in zip(folders, ("image", "label")):
            whole = Image.open(data / kind / path.name)
            if not test:
                whole.save(folder / f"{int(path.stem):02}.png")
                continue
            for x, y in ((28, 28), (284, 284)):
                whole.crop((x, y, x + 200, y + 200)).save(folder / f"{int(path.stem):02}_{y}_{x}.png")


def hippocampus(data, out, limit):
    paths = sorted((data / "images").glob("*.nii.gz"))[:limit]
    for index, path in enumerate(paths):
        images, labels = place(out, "test" if index % 8 == 0 else "train")
        shutil.copyfile(path, images / path.name)
        shutil.copyfile(data / "labels" / path.name, labels / path.name)


def smooth(random, waves):
    """A random field of mean 0 and deviation 1 with structures of SIDE/waves voxels."""
    spectrum = numpy.fft.fftn(random.standard_normal((SIDE,) * 3))
    square = sum(numpy.meshgrid(*[numpy.fft.fftfreq(SIDE, 1 / SIDE) ** 2] * 3, indexing="ij"))
    field = numpy.fft.ifftn(spectrum * numpy.exp(-square / (2 * waves ** 2))).real
    return (field - field.mean()) / field.std()


def simulated(label, random):
    """Tissue greys with variation, other organs around, blurred edges, a coil's shading, and noise."""
    greys = numpy.array(GREYS) * random.uniform(0.85, 1.15, 3)
    around = numpy.where(smooth(random, 4) > 0.4, greys[1] * random.uniform(0.7, 1.3), greys[0])
    around = numpy.where(smooth(random, 5) > 1.5, greys[2], around)
    image = numpy.where(label == 0, around, greys[label]) * (1 + 0.08 * smooth(random, 10))
    for axis in range(3):
        image = (numpy.roll(image, 1, axis) + 2 * image + numpy.roll(image, -1, axis)) / 4
    image = image * (1 + 0.15 * smooth(random, 1.5))
    noise = random.normal(0, 8, (2, *image.shape))
    return numpy.hypot(image + noise[0], noise[1]).clip(0, 255).astype(numpy.uint8)


def heart(data, out, limit):
    import nibabel
    paths = sorted((data / "labels_3d").glob("*.nii.gz"))[:limit]
    for patient, path in enumerate(paths):
        whole = numpy.asanyarray(nibabel.load(path).dataobj).astype(numpy.uint8)
        spans = [numpy.flatnonzero((whole > 0).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        centre = [(span[0] + span[-1]) / 2 for span in spans]
        reach = [(span[-1] - span[0]) * 1.15 for span in spans]
        test = patient >= len(paths) - max(1, len(paths) // 4)
        images, labels = place(out, "test" if test else "train")
        for copy in range(2 if test else 6):
            random = numpy.random.default_rng([patient, copy])
            moved = [c + r * random.uniform(-0.04, 0.04) for c, r in zip(centre, reach)]
            at = [numpy.rint(c + r * (numpy.arange(SIDE) + 0.5 - SIDE / 2) / SIDE).astype(int) for c, r in zip(moved, reach)]
            label = whole[numpy.ix_(*[index.clip(0, extent - 1) for index, extent in zip(at, whole.shape)])]
            name = f"patient{patient}_{copy}_simulated.nii.gz"
            nibabel.save(nibabel.Nifti1Image(simulated(label, random), numpy.eye(4)), images / name)
            nibabel.save(nibabel.Nifti1Image(label, numpy.eye(4)), labels / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=["em", "hippocampus", "heart"])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--limit", type=int, help="take this many scans only")
    arguments = parser.parse_args()
    {"em": em, "hippocampus": hippocampus, "heart": heart}[arguments.set](arguments.data, arguments.out, arguments.limit)


if __name__ == "__main__":
    main()
