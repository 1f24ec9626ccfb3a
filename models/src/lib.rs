//! Network graph, backend interface, ONNX import, quantisation, integer reference; no cryptography.
