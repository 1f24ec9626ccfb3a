"""ONNX Runtime's value of every layer, for tests to compare with.

    python -m pip install numpy onnx onnxruntime
    python onnx_reference.py MODEL.onnx OUT.safetensors [EXTENT…]

Runs the model on a seeded random input (of the stated spatial extents where the model leaves them open) and
writes `input` and one tensor per layer under the layer's name. A layer with a batch norm or a constant behind it that
folds stands with the value behind that.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime


def reference(path, image):
    """Every layer's value on an image, by name, as ONNX Runtime computes it."""
    model = onnx.load(path)
    graph = model.graph
    reads = [name for node in graph.node for name in node.input]
    constants = {tensor.name for tensor in graph.initializer}
    known = {output.name for output in graph.output}
    for node in graph.node:
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output[:1] if name not in known)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, {session.get_inputs()[0].name: image})))
    tensors, layer_of = {"input": image}, {}
    for node in graph.node:
        name, value = node.name.lstrip("/") or node.output[0], values[node.output[0]]
        source = layer_of.get(node.input[0]) if node.input else None
        affine = node.op_type in ("Add", "Sub", "Mul", "Div") and node.input[1] in constants
        folds = node.op_type == "BatchNormalization" or affine
        if folds and source and reads.count(node.input[0]) == 1:
            name = source
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") or (folds and source):
            layer_of[node.output[0]] = name
        if value.ndim >= 2:
            tensors[name] = value.astype(np.float32)
    return tensors


def save(path, tensors):
    """Writes tensors in the safetensors format."""
    header, body = {}, b""
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + body)


def main():
    model, out, *extents = sys.argv[1:]
    dims = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape.dim
    shape = [1] + [dim.dim_value or 1 for dim in dims[1:]]
    shape[2:] = [int(extent) for extent in extents] or shape[2:]
    image = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    save(out, reference(model, image))


if __name__ == "__main__":
    main()
