"""A folder as people bring them: `python odd.py OUT`. Phantoms of spinal cords with grey and white matter in it, under names that
do not match, in several spacings, orientations, sizes and number formats; one is a single slice."""

import gzip
import pathlib
import sys

import nibabel
import numpy

# Name, ending, number format, voxels along x, y, z when turned to RAS, their size in mm, and how the file stores its axes.
FILES = [
    ("site1-sc01", ".nii.gz", numpy.int16, (56, 60, 4), (0.5, 0.5, 5), "RAS"),
    ("site1-sc02", ".nii.gz", numpy.int16, (60, 56, 3), (0.5, 0.5, 5), "LPS"),
    ("site 2-sc03", ".nii", numpy.uint8, (50, 50, 4), (0.6, 0.6, 4), "LAS"),
    ("site 2-sc04.v2", ".nii", numpy.float32, (88, 80, 3), (0.35, 0.35, 5), "RAI"),
    ("Site3_SC05", ".NII.GZ", numpy.int16, (60, 60, 3), (0.5, 0.5, 2.5), "ASR"),
    ("site4-sc06", ".nii.gz", numpy.uint16, (64, 56), (0.5, 0.5), "RA"),
    ("site4-sc07", ".nii.gz", numpy.int16, (48, 52, 4), (0.55, 0.55, 5), "LPI"),
]


def phantom(random, shape, size):
    """Values, and 0 background, 1 grey matter, 2 white matter."""
    grid = [(numpy.arange(extent) - extent / 2 + random.uniform(-3, 3)) * step for extent, step in zip(shape, size)]
    x, y = numpy.meshgrid(*grid[:2], indexing="ij")
    wide, high = random.uniform(5, 6.5), random.uniform(4, 5)
    cord = (x / wide) ** 2 + (y / high) ** 2 < 1
    horns = (numpy.abs(numpy.abs(x) - 0.3 * wide) < 0.13 * wide) & (numpy.abs(y) < 0.6 * high)
    bridge = (numpy.abs(x) < 0.3 * wide) & (numpy.abs(y) < 0.12 * high)
    label = numpy.where(cord & (horns | bridge), 1, numpy.where(cord, 2, 0)).astype(numpy.uint8)
    if len(shape) == 3:
        label = numpy.repeat(label[:, :, None], shape[2], 2)
    fluid = (x / (1.5 * wide)) ** 2 + (y / (1.5 * high)) ** 2 < 1
    greys = numpy.array([40.0, 150, 100])[label] + 140 * (fluid.reshape(*fluid.shape, *[1] * (len(shape) - 2)) & (label == 0))
    return (greys + random.normal(0, 6, shape)).clip(0, 255), label


def stored(values, size, codes):
    """In the axes of `codes`, with the affine that says so."""
    order = [next(k for k, pair in enumerate(("RL", "AP", "SI")) if code in pair) for code in codes]
    affine = numpy.eye(4)
    for axis, (world, code) in enumerate(zip(order, codes)):
        affine[:3, axis] = 0
        affine[world, axis] = size[world] * (1 if code in "RAS" else -1)
    backwards = [axis for axis, code in enumerate(codes) if code in "LPI"]
    return numpy.flip(values.transpose(order), backwards), affine


def main(out):
    out.mkdir(parents=True)
    random = numpy.random.default_rng(1)
    for name, ending, kind, shape, size, codes in FILES:
        image, label = phantom(random, shape, size)
        for values, kind, what in ((image, kind, "image"), (label, numpy.uint8, "mask-r1")):
            turned, affine = stored(values, size, codes)
            path = out / f"{name}-{what}{ending}"
            content = nibabel.Nifti1Image(turned.astype(kind), affine).to_bytes()
            path.write_bytes(gzip.compress(content) if ending.lower().endswith("gz") else content)
    (out / "._site1-sc01-image.nii.gz").write_bytes(b"left by a file system")
    (out / "readme.txt").write_text("levels C2 to C5\n")


main(pathlib.Path(sys.argv[1]))
