"""Makes the small ONNX files of this folder and ONNX Runtime's value of every layer.

    python -m pip install numpy onnx onnxruntime
    python make.py

Each NAME.onnx gets a NAME.safetensors with the tensor `input` and one tensor per layer under the layer's name; a layer
with a batch norm behind it that folds stands with the batch norm's value. Weights and inputs are random from
a fixed seed; no one else's weights are in them.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from onnx_reference import reference, save

HERE = pathlib.Path(__file__).parent
RANDOM = np.random.default_rng(2020_07)


class Net:
    """Nodes and weights under construction."""

    def __init__(self, rank):
        self.rank, self.nodes, self.weights = rank, [], []

    def weight(self, name, array):
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, inputs, name, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name + ".out"], name=name, **attributes))
        return name + ".out"

    def conv(self, x, name, inputs, outputs, kernel=3, transposed=False, bias=True, **attributes):
        kernel = [kernel] * self.rank if isinstance(kernel, int) else kernel
        shape = ([inputs, outputs] if transposed else [outputs, inputs]) + kernel
        scale = 1 / np.sqrt(inputs * np.prod(kernel))
        names = [x, self.weight(name + ".w", (RANDOM.normal(size=shape) * scale).astype(np.float32))]
        if bias:
            names.append(self.weight(name + ".b", RANDOM.normal(size=outputs).astype(np.float32) * 0.1))
        return self.add("ConvTranspose" if transposed else "Conv", names, name, **attributes)

    def batch_norm(self, x, name, channels):
        parts = [RANDOM.uniform(0.5, 2, channels), RANDOM.normal(size=channels), RANDOM.normal(size=channels) * 0.1,
                 RANDOM.uniform(0.1, 2, channels)]
        names = [self.weight(f"{name}.{i}", part.astype(np.float32)) for i, part in enumerate(parts)]
        return self.add("BatchNormalization", [x] + names, name, epsilon=1e-3)

    def gemm(self, x, name, inputs, outputs, **attributes):
        shape = (outputs, inputs) if attributes.get("transB") else (inputs, outputs)
        weights = (RANDOM.normal(size=shape) / np.sqrt(inputs)).astype(np.float32)
        names = [x, self.weight(name + ".w", weights), self.weight(name + ".b", RANDOM.normal(size=outputs).astype(np.float32))]
        return self.add("Gemm", names, name, **attributes)

    def model(self, output, shape, out_shape, kind=TensorProto.FLOAT, opset=17):
        graph = helper.make_graph(
            self.nodes, "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, kind, out_shape)], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="bunet tests")
        model.ir_version = 8
        onnx.checker.check_model(model)
        return model


def unet_2d():
    """Batch norm everywhere, average pooling, skip, a scaled input, softmax and argmax at the end."""
    net = Net(2)
    x = net.add("Div", ["image", net.weight("range", np.float32([2.0]))], "scale")
    x = net.add("Relu", [net.batch_norm(net.conv(x, "enc", 1, 3, pads=[1] * 4, bias=False), "enc.bn", 3)], "enc.relu")
    skip = x
    x = net.add("AveragePool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)
    x = net.add("Relu", [net.batch_norm(net.conv(x, "mid", 3, 4, pads=[1] * 4), "mid.bn", 4)], "mid.relu")
    x = net.batch_norm(net.conv(x, "up", 4, 3, kernel=2, transposed=True, strides=[2, 2]), "up.bn", 3)
    x = net.add("Concat", [skip, x], "join", axis=1)
    x = net.conv(x, "score", 6, 3, kernel=1)
    x = net.add("Softmax", [x], "softmax", axis=1)
    x = net.add("ArgMax", [x], "argmax", axis=1, keepdims=0)
    return net.model(x, ["batch", 1, 6, 8], ["batch", 6, 8], TensorProto.INT64), (1, 1, 6, 8)


def odd_3d():
    """Strides, dilation, uneven padding, squares, residual, padded max pooling, output padding, one channel."""
    net = Net(3)
    x = net.conv("image", "a", 2, 3, kernel=[3, 2, 3], strides=[1, 2, 1], dilations=[1, 1, 2], pads=[1, 0, 2, 0, 1, 1])
    x = net.add("Mul", [x, x], "a.square")
    y = net.conv(x, "b", 3, 3, pads=[1] * 6)
    y = net.add("Pow", [y, net.weight("two", np.float32(2))], "b.square")
    x = net.add("Add", [x, y], "residual")
    x = net.batch_norm(x, "apart", 3)
    x = net.add("MaxPool", [x], "pool", kernel_shape=[3, 3, 3], strides=[2, 2, 2], pads=[1] * 6)
    x = net.conv(x, "up", 3, 2, transposed=True, strides=[2, 1, 2], pads=[1, 0, 1, 1, 1, 0], output_padding=[1, 0, 1])
    x = net.conv(x, "score", 2, 1, kernel=1)
    x = net.add("Sigmoid", [x], "sigmoid")
    return net.model(x, [1, 2, 5, 6, 7], list("ncdhw")), (1, 2, 5, 6, 7)


def chain_1d():
    """One axis of open extent, chains of constants around a padding by nothing, a sidecar's worth of doubles."""
    net = Net(1)
    x = net.conv("image", "a", 1, 4, kernel=5, pads=[2, 2])
    net.nodes.append(helper.make_node("Constant", [], ["len"], value=numpy_helper.from_array(np.int64([4]))))
    zeros = net.add("ConstantOfShape", ["len"], "zeros", value=numpy_helper.from_array(np.int64([0])))
    net.nodes.append(helper.make_node("Constant", [], ["pair"], value=numpy_helper.from_array(np.int64([0, 0]))))
    both = net.add("Concat", ["pair", zeros], "both", axis=0)
    table = net.add("Reshape", [both, net.weight("shape", np.int64([-1, 2]))], "table")
    for name, value in [("start", -1), ("end", -(2**63) + 1), ("axis", 0), ("step", -1)]:
        net.weight(name, np.int64([value]))
    back = net.add("Slice", [table, "start", "end", "axis", "step"], "back")
    turned = net.add("Transpose", [back], "turned", perm=[1, 0])
    flat = net.add("Cast", [net.add("Reshape", [turned, net.weight("flat", np.int64([-1]))], "flatten")], "cast", to=7)
    x = net.add("Pad", [x, flat], "pad", mode="constant")
    x = net.add("Dropout", [net.add("Relu", [x], "a.relu")], "dropout")
    x = net.add("Identity", [net.conv(x, "score", 4, 2, kernel=1)], "same")
    return net.model(x, [1, 1, "length"], list("ncw")), (1, 1, 11)


def activations_2d():
    """A leaky ReLU, PReLUs with one slope and with one per channel, a product and a difference of two values."""
    net = Net(2)
    x = net.add("LeakyRelu", [net.conv("image", "a", 2, 4, pads=[1] * 4)], "a.leaky", alpha=0.1)
    y = net.conv(x, "b", 4, 4, pads=[1] * 4)
    y = net.add("PRelu", [y, net.weight("one", np.float32([[[0.25]]]))], "b.prelu")
    z = net.conv(y, "c", 4, 4, pads=[1] * 4)
    slopes = np.float32([0.3, 0.0, -0.2, 1.5]).reshape(4, 1, 1)
    z = net.add("PRelu", [z, net.weight("each", slopes)], "c.prelu")
    x = net.add("Sub", [net.add("Mul", [y, z], "product"), x], "difference")
    x = net.conv(x, "score", 4, 3, kernel=1)
    return net.model(x, [1, 2, 7, 6], list("nchw")), (1, 2, 7, 6)


def classifier_2d():
    """What ends in a fully connected layer: batch norm, max pooling that rounds up, global average, dropout."""
    net = Net(2)
    x = net.add("Relu", [net.batch_norm(net.conv("image", "a", 1, 4, pads=[1] * 4, bias=False), "a.bn", 4)], "a.relu")
    x = net.add("MaxPool", [x], "pool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    x = net.add("Clip", [net.conv(x, "b", 4, 6, pads=[1] * 4), net.weight("zero", np.float32(0))], "b.relu")
    x = net.add("Dropout", [net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flatten")], "dropout")
    x = net.gemm(x, "score", 6, 5, transB=1, alpha=0.5, beta=2.0)
    return net.model(x, ["batch", 1, 13, 11], ["batch", 5]), (1, 1, 13, 11)


def dense_1d():
    """Fully connected layers over a whole line, written as Gemm and as MatMul, and a reshape by the input's own shape."""
    net = Net(1)
    x = net.add("Relu", [net.conv("image", "a", 2, 3, kernel=3, pads=[1, 1])], "a.relu")
    shape = net.add("Shape", [x], "shape")
    batch = net.add("Gather", [shape, net.weight("first", np.int64(0))], "batch", axis=0)
    batch = net.add("Unsqueeze", [batch, net.weight("axes", np.int64([0]))], "batch.axis")
    target = net.add("Concat", [batch, net.weight("rest", np.int64([-1]))], "target", axis=0)
    x = net.add("Reshape", [x, target], "flat")
    x = net.add("Relu", [net.batch_norm(net.gemm(x, "b", 27, 6), "b.bn", 6)], "b.relu")
    weights = net.weight("c.w", RANDOM.normal(size=(6, 4)).astype(np.float32))
    x = net.add("Add", [net.add("MatMul", [x, weights], "c"), net.weight("c.b", np.float32([0.1, -0.2, 0.3, 0]))], "c.add")
    x = net.add("ArgMax", [net.add("Softmax", [x], "softmax", axis=-1)], "argmax", axis=-1, keepdims=0)
    return net.model(x, [1, 2, 9], ["n"], TensorProto.INT64), (1, 2, 9)


def pads_3d():
    """Paddings by zeros (taken into the convolution), edges and mirrors, cropping, averages that leave padding out, groups."""
    net = Net(3)
    pads = lambda name, values: net.weight(name, np.int64(values))
    x = net.add("Pad", ["image", pads("zeros", [0, 0, 1, 0, 2, 0, 0, 1, 1, 1])], "zero")
    x = net.conv(x, "a", 2, 4)
    x = net.add("Pad", [x, pads("edges", [0, 0, 0, 1, 0, 0, 0, 1, 1, 2])], "edge", mode="edge")
    x = net.add("AveragePool", [x], "average", kernel_shape=[3, 2, 3], strides=[1, 2, 2], pads=[1, 1, 0, 1, 0, 1])
    x = net.conv(x, "b", 2, 4, kernel=[1, 1, 3], pads=[0, 0, 1, 0, 0, 1], group=2)
    x = net.add("Pad", [x, pads("mirror", [0, 0, 1, 0, 2, 0, 0, 1, 0, 0])], "reflect", mode="reflect")
    x = net.add("MaxPool", [x], "max", kernel_shape=[3, 1, 2], strides=[2, 1, 2], pads=[1, 0, 0, 0, 0, 1], ceil_mode=1)
    x = net.add("Pad", [x, pads("crop", [0, 0, 0, -1, 0, 0, 0, -1, 0, 0])], "crop")
    x = net.conv(x, "up", 4, 1, kernel=2, transposed=True, strides=[2, 1, 2], group=2, bias=False)
    x = net.add("Pad", [x, pads("channels", [0, 0, 0, 0, 0, 0, 1, 0, 0, 1])], "widen")
    return net.model(x, [1, 2, 5, 6, 7], list("ncdhw")), (1, 2, 5, 6, 7)


def resize_2d():
    """Nearest and linear interpolation by whole and broken factors, slices, splits, blocks of voxels as channels."""
    net = Net(2)
    scales = lambda name, values: net.weight(name, np.float32([1, 1] + values))
    x = net.conv("image", "a", 1, 4, pads=[1] * 4)
    x = net.add("Resize", [x, "", scales("twice", [2, 2])], "nearest", mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric")
    x = net.add("Relu", [net.conv(x, "b", 4, 4, pads=[1] * 4)], "b.relu")
    x = net.add("Resize", [x, "", scales("linear.s", [2, 2])], "linear", mode="linear")
    x = net.add("AveragePool", [x], "pool", kernel_shape=[3, 3], strides=[3, 3], ceil_mode=1, count_include_pad=1,
                pads=[1, 1, 0, 0])
    size = net.add("Shape", [x], "size", start=2)
    size = net.add("Mul", [net.add("Cast", [size], "size.float", to=1), net.weight("factor", np.float32([2.3]))], "larger")
    size = net.add("Cast", [net.add("Floor", [size], "floor")], "size.int", to=7)
    size = net.add("Concat", [net.weight("one", np.int64([1, 4])), size], "sizes", axis=0)
    x = net.add("Resize", [x, "", "", size], "corners", mode="linear", coordinate_transformation_mode="align_corners")
    y = net.add("Slice", [x] + [net.weight(f"slice.{i}", np.int64(v)) for i, v in
                                enumerate([[1, -1], [4, -30], [2, 3], [1, -2]])], "slice")
    net.nodes.append(helper.make_node("Split", [x, net.weight("parts", np.int64([1, 3]))], ["split.out", "split.1.out"],
                                      name="split", axis=1))
    z = net.add("Resize", ["split.out", "", scales("less", [0.5, 0.7])], "less", mode="nearest")
    z = net.add("DepthToSpace", [net.conv(z, "c", 1, 8, kernel=1)], "blocks", blocksize=2, mode="CRD")
    z = net.add("SpaceToDepth", [z], "deep", blocksize=2)
    z = net.add("Resize", [z, "", "", net.weight("fit", np.int64([1, 8, 3, 15]))], "fit.linear", mode="linear",
                coordinate_transformation_mode="pytorch_half_pixel")
    x = net.add("Concat", [net.conv(y, "d", 4, 2, kernel=1), net.conv(z, "e", 8, 2, kernel=1)], "join", axis=1)
    return net.model(x, [1, 1, 7, 9], list("nchw")), (1, 1, 7, 9)


def resize_3d():
    """A small U-Net that upsamples by trilinear interpolation with aligned corners, as MONAI's does."""
    net = Net(3)
    x = net.add("Relu", [net.conv("image", "a", 1, 3, pads=[1] * 6)], "a.relu")
    y = net.add("Relu", [net.conv(net.add("MaxPool", [x], "pool", kernel_shape=[2] * 3, strides=[2] * 3), "b", 3, 4,
                                  pads=[1] * 6)], "b.relu")
    y = net.conv(y, "up.conv", 4, 3, kernel=1)
    y = net.add("Resize", [y, "", net.weight("twice", np.float32([1, 1, 2, 2, 2]))], "up", mode="linear",
                coordinate_transformation_mode="align_corners")
    y = net.add("Pad", [y, net.weight("edge.pads", np.int64([0, 0, 0, 0, 0, 0, 0, 0, 1, 0]))], "edge", mode="edge")
    x = net.conv(net.add("Concat", [x, y], "join", axis=1), "score", 6, 3, kernel=1)
    return net.model(x, [1, 1, 4, 7, 6], list("ncdhw")), (1, 1, 4, 7, 6)


def quadratics_2d():
    """a·x² + b·x + c in the ways in which it is written, with one coefficient and with one per channel; axes averaged."""
    net = Net(2)
    each = lambda name, *values: net.weight(name, np.float32(values).reshape(-1, 1, 1))
    x = net.conv("image", "a", 1, 3, pads=[1] * 4)
    square = net.add("Mul", [net.add("Pow", [x, net.weight("two", np.float32(2))], "a.square"), each("a2", 0.1, 0.2, -0.1)],
                     "a.quadratic")
    linear = net.add("Add", [net.add("Mul", [x, each("a1", 0.5, 1, 1.5)], "a.linear"), each("a0", 0.3, 0, -0.3)], "a.rest")
    x = net.conv(net.add("Add", [square, linear], "a.sum"), "b", 3, 3, pads=[1] * 4)
    horner = net.add("Add", [net.add("Mul", [net.weight("b2", np.float32(0.25)), x], "b.slope"), each("b1", 1, -1, 0.5)],
                     "b.inner")
    x = net.conv(net.add("Mul", [horner, x], "b.horner"), "c", 3, 3, pads=[1] * 4)
    x = net.add("Mul", [net.add("Mul", [x, x], "c.square"), each("c2", 0.2, 0.3, 0.4)], "c.scaled")
    y = net.add("ReduceMean", [net.conv(x, "d", 3, 2, kernel=1)], "rows", axes=[2], keepdims=1)
    y = net.add("Squeeze", [net.add("ReduceMean", [y], "all", axes=[-1], keepdims=1), net.weight("sq", np.int64([2, 3]))],
                "squeeze")
    return net.model(net.gemm(y, "score", 2, 3, transB=1), [1, 1, 6, 5], ["n", "c"]), (1, 1, 6, 5)


def refused_more():
    """Nothing here runs blindly either."""
    net = Net(2)
    x = net.conv("image", "first", 2, 4, pads=[1] * 4)
    x = net.add("Pad", [x, net.weight("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1])), net.weight("one", np.float32(1))], "ones")
    x = net.add("Clip", [x, net.weight("zero", np.float32(0)), net.weight("six", np.float32(6))], "relu6")
    x = net.add("Resize", [x, "", net.weight("twice", np.float32([1, 1, 2, 2]))], "cubic", mode="cubic")
    y = net.conv("image", "second", 2, 4, pads=[1] * 4)
    y = net.add("Relu", [net.add("Transpose", [y], "turn", perm=[0, 2, 3, 1])], "turned")
    z = net.add("Flatten", [net.conv("image", "third", 2, 4)], "flatten")
    z = net.add("Softmax", [z], "softmax", axis=1)
    return net.model(z, [1, 2, 4, 4], list("nc")), None


def shuffle(net, x, name, between, order, to):
    """Values in another order, as exporters write pixel and channel shuffles."""
    x = net.add("Reshape", [x, net.weight(f"{name}.between", np.int64(between))], f"{name}.split")
    return net.add("Reshape", [net.add("Transpose", [x], f"{name}.turn", perm=order),
                               net.weight(f"{name}.to", np.int64(to))], name)


def shuffles_1d():
    """Points into channels and back."""
    net = Net(1)
    x = shuffle(net, net.conv("image", "a", 1, 2, pads=[1, 1]), "deep", [1, 2, 5, 3], [0, 1, 3, 2], [1, 6, 5])
    x = shuffle(net, net.conv(x, "b", 6, 4, kernel=1), "wide", [0, 2, 2, -1], [0, 1, 3, 2], [1, 2, -1])
    return net.model(net.conv(x, "score", 2, 2, kernel=1), [1, 1, 15], list("ncw")), (1, 1, 15)


def shuffles_2d():
    """Pixels into channels, channels among themselves and into pixels; channels last and back; scores with an axis less."""
    net = Net(2)
    x = shuffle(net, net.conv("image", "a", 1, 2, pads=[1] * 4), "deep", [1, 2, 3, 2, 4, 2], [0, 1, 3, 5, 2, 4], [1, 8, 3, 4])
    x = shuffle(net, net.conv(x, "b", 8, 12, kernel=1), "mixed", [1, 3, 4, 3, 4], [0, 2, 1, 3, 4], [1, 12, 3, 4])
    x = net.add("Transpose", [net.add("Transpose", [x], "last", perm=[0, 2, 3, 1])], "first", perm=[0, 3, 1, 2])
    x = shuffle(net, net.add("Relu", [x], "relu"), "wide", [1, 3, 2, 2, 3, 4], [0, 1, 4, 2, 5, 3], [1, 3, 6, 8])
    y = net.add("DepthToSpace", [net.conv("image", "c", 1, 8, kernel=1, strides=[2, 2])], "blocks", blocksize=2)
    x = net.conv(net.add("Concat", [x, y], "join", axis=1), "score", 5, 1, kernel=1)
    x = net.add("Squeeze", [x, net.weight("channel", np.int64([1]))], "squeeze")
    return net.model(x, [1, 1, 6, 8], list("nhw")), (1, 1, 6, 8)


def shuffles_3d():
    """Upsampling by a pixel shuffle, padded and averaged, as MONAI's SubpixelUpsample does."""
    net = Net(3)
    x = net.conv("image", "a", 1, 16, pads=[1] * 6)
    x = shuffle(net, x, "wide", [1, 2, 2, 2, 2, 3, 2, 4], [0, 1, 5, 2, 6, 3, 7, 4], [1, 2, 6, 4, 8])
    x = net.add("Pad", [x, net.weight("pads", np.int64([0, 0, 1, 1, 1, 0, 0, 0, 0, 0]))], "pad")
    x = net.add("AveragePool", [x], "smooth", kernel_shape=[2] * 3, strides=[1] * 3)
    return net.model(net.conv(x, "score", 2, 2, kernel=1), [1, 1, 3, 2, 4], list("ncdhw")), (1, 1, 3, 2, 4)


def refused():
    """Nothing here runs blindly."""
    net = Net(2)
    x = net.conv("image", "grouped", 1, 4, pads=[1] * 4, group=2)
    x = net.conv("image", "first", 2, 4, pads=[1] * 4)
    ones = net.weight("ones", np.ones(4, np.float32))
    x = net.add("InstanceNormalization", [x, ones, ones], "norm")
    x = net.add("Elu", [x], "elu")
    x = net.add("AveragePool", [x], "pool", kernel_shape=[3, 3], pads=[1] * 4)
    x = net.add("Resize", [x, "", net.weight("twice", np.float32([1, 1, 2, 2]))], "resize", mode="nearest")
    x = net.conv(x, "score", 4, 2, kernel=1)
    return net.model(x, [1, 2, 4, 4], list("nchw")), None


def old_2d():
    """Operator set 11: a softmax that says no axis and so takes the second one."""
    net = Net(2)
    x = net.add("Relu", [net.conv("image", "a", 1, 3, pads=[1] * 4)], "a.relu")
    x = net.add("Softmax", [net.conv(x, "score", 3, 2, kernel=1)], "softmax")
    return net.model(x, [1, 1, 5, 4], list("nchw"), opset=11), (1, 1, 5, 4)


def refused_casts():
    """Scores cut to integers, and values dropped at random."""
    net = Net(2)
    x = net.add("Cast", [net.conv("image", "first", 1, 2, pads=[1] * 4)], "cut", to=TensorProto.INT32)
    x = net.add("Cast", [x], "back", to=TensorProto.FLOAT)
    y = net.conv("image", "second", 1, 2, pads=[1] * 4)
    y = net.add("Dropout", [y, net.weight("ratio", np.float32(0.5)), net.weight("training", np.bool_(True))], "random")
    x = net.conv(net.add("Concat", [x, y], "join", axis=1), "score", 4, 2, kernel=1)
    return net.model(x, [1, 1, 4, 4], list("nchw")), None


def write(make):
    model, shape = make()
    path = HERE / f"{make.__name__}.onnx"
    onnx.save(model, path)
    if shape is not None:
        image = RANDOM.normal(size=shape).astype(np.float32)
        save(path.with_suffix(".safetensors"), reference(path, image))


def main():
    for make in (unet_2d, odd_3d, chain_1d, refused):
        write(make)
    model, shape = unet_2d()
    (HERE / "sidecar.data").unlink(missing_ok=True)
    onnx.save(model, HERE / "sidecar.onnx", save_as_external_data=True, location="sidecar.data", size_threshold=0)
    image = RANDOM.normal(size=shape).astype(np.float32)
    save(HERE / "sidecar.safetensors", reference(HERE / "sidecar.onnx", image))
    # New networks come last, so that the files of the others stay as they are.
    for make in (activations_2d, classifier_2d, dense_1d, pads_3d, resize_2d, resize_3d, quadratics_2d, refused_more, shuffles_1d,
                 shuffles_2d, shuffles_3d, old_2d, refused_casts):
        write(make)


if __name__ == "__main__":
    main()
