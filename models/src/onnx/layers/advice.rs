//! What to say about operators that cannot run.

/// Why an operator cannot run, and what to do about it.
pub(super) fn advice(operator: &str) -> (&'static str, &'static str) {
    match operator {
        "InstanceNormalization" | "GroupNormalization" | "LayerNormalization" | "LRN" => (
            "it normalises by statistics of the image, which are secret",
            "train with batch norm, or freeze the statistics (track_running_stats=True)",
        ),
        "Elu" | "Selu" | "Gelu" | "HardSwish" | "Mish" | "Tanh" | "HardSigmoid" | "Softplus" | "Erf"
        | "Celu" => {
            ("this activation is not supported", "train with ReLU, LeakyReLU or PReLU, or x² in some layers")
        }
        "Expand" | "Tile" | "GatherND" | "ScatterND" | "GridSample" | "MaxUnpool" => (
            "it moves voxels or channels about",
            "upsample by transposed convolution or Resize; keep batch and channel axes",
        ),
        "If" | "Loop" | "Scan" => {
            ("control flow that depends on values", "export with tracing, in evaluation mode")
        }
        "QuantizeLinear" | "DequantizeLinear" | "QLinearConv" | "ConvInteger" => {
            ("the file is quantised already", "export the float network")
        }
        _ => ("the operator is not supported", "see the README for the operators that run blindly"),
    }
}
