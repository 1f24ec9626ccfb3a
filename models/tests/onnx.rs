//! ONNX import: layer by layer against ONNX Runtime's values, refusals, and damaged or hostile files.
//!
//! The small files in `data/` and their values were made by `data/make.py`. The large comparison runs where
//! `$BUNET_SHARED` (by default `../shared` beside the project) holds `models` and `data/onnx`, and `onnx_reference.py` has
//! left their values in `$BUNET_ORT`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use models::onnx::{ImportOptions, OnnxError, import, import_bytes};
use models::quantise::{QuantiseOptions, calibrate, quantise};
use models::{FloatModel, Op, Window, reference};
use ndarray::Array4;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn shape(extents: &[usize]) -> ImportOptions {
    ImportOptions { input_shape: (!extents.is_empty()).then(|| extents.to_vec()) }
}

/// A stored value `[1, channels, …]` or `[1, …]` as the graph shapes it.
fn stored(values: &SafeTensors<'_>, name: &str, like: [usize; 4]) -> Option<Array4<f32>> {
    let bytes = values.tensor(name).ok()?.data().to_vec();
    let floats = bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect();
    Some(Array4::from_shape_vec(like, floats).unwrap())
}

/// Compares every layer with its stored value; returns how many there were.
fn compare(model: &FloatModel, values: &Path) -> usize {
    let bytes = std::fs::read(values).unwrap();
    let stored_values = SafeTensors::deserialize(&bytes).unwrap();
    let image = stored(&stored_values, "input", model.graph.node(0).shape.to_array()).unwrap();
    let mut compared = 0;
    for (node, found) in model.graph.nodes().iter().zip(model.run_all(&image).unwrap()) {
        let Some(expected) = stored(&stored_values, &node.name, node.shape.to_array()) else { continue };
        let largest = expected.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        let error = expected.iter().zip(&found).fold(0.0_f32, |max, (a, b)| max.max((a - b).abs()));
        let different = expected.iter().zip(&found).filter(|(a, b)| a != b).count();
        match node.op {
            // A label may turn where scores are tied but for rounding.
            Op::ArgMax => {
                assert!(different * 1000 <= found.len(), "{}: {different} labels differ", node.name)
            }
            _ => assert!(error <= 2e-5 * largest.max(1.0), "{}: off by {error} of {largest}", node.name),
        }
        compared += 1;
    }
    compared
}

#[test]
fn layers_equal_onnx_runtime() {
    // Name, open extents, number of layers that have a value of their own in the file, and the operators.
    let unet = "conv conv relu avg_pool conv relu conv_transpose concat conv argmax";
    let activations =
        "conv leaky_relu conv relu scale add conv add conv relu scale add conv add mul scale add conv argmax";
    // The first padding is the convolution's own; an average that leaves out padding is one map per axis.
    let pads = "conv resample resample resample resample resample resample conv resample resample max_pool resample \
                resample conv_transpose resample resample argmax";
    let resize = "conv resample resample conv relu resample resample resample resample resample resample resample \
                  resample resample resample resample conv conv_transpose conv resample resample conv conv concat argmax";
    let shuffles_2d = "conv resample resample concat resample resample concat resample conv resample relu resample \
                       resample resample resample add resample resample resample resample add conv conv_transpose \
                       concat conv threshold";
    let shuffles_3d = "conv resample resample resample resample add resample resample resample resample add \
                       resample resample resample resample add resample resample resample avg_pool conv argmax";
    let networks: [(&str, &[usize], usize, &str); 15] = [
        ("unet_2d", &[], 11, unet),
        ("sidecar", &[6, 8], 11, unet),
        ("odd_3d", &[], 10, "conv square conv square add conv max_pool conv_transpose conv threshold"),
        ("chain_1d", &[11], 4, "conv relu conv argmax"),
        ("activations_2d", &[], 10, activations),
        ("classifier_2d", &[], 8, "conv relu max_pool conv relu avg_pool conv argmax"),
        ("dense_1d", &[], 6, "conv relu conv relu conv argmax"),
        ("pads_3d", &[], 10, pads),
        ("resize_2d", &[], 18, resize),
        (
            "resize_3d",
            &[],
            11,
            "conv relu max_pool conv relu conv resample resample resample resample concat conv argmax",
        ),
        (
            "quadratics_2d",
            &[],
            11,
            "conv quadratic conv quadratic conv quadratic conv avg_pool avg_pool conv argmax",
        ),
        (
            "shuffles_1d",
            &[],
            6,
            "conv resample resample resample concat resample conv resample resample resample resample add conv argmax",
        ),
        ("shuffles_2d", &[], 11, shuffles_2d),
        ("old_2d", &[], 4, "conv relu conv argmax"),
        ("shuffles_3d", &[], 6, shuffles_3d),
    ];
    let mut wrong = Vec::new();
    for (name, extents, count, operators) in networks {
        let model = import(&data(&format!("{name}.onnx")), &shape(extents)).unwrap();
        let compared = compare(&model, &data(&format!("{name}.safetensors")));
        let kinds: Vec<&str> = model.graph.nodes()[1..].iter().map(|node| node.op.kind()).collect();
        if (kinds.join(" "), compared) != (operators.into(), count) {
            wrong.push(format!("{name}: {compared} layers compared of {}", kinds.join(" ")));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Compares every value of the network quantised for 32-bit shares with ONNX Runtime's; returns the worst root mean
/// square error relative to the value's own.
fn compare_quantised(model: &FloatModel, values: &Path) -> f64 {
    let bytes = std::fs::read(values).unwrap();
    let stored_values = SafeTensors::deserialize(&bytes).unwrap();
    let image = stored(&stored_values, "input", model.graph.node(0).shape.to_array()).unwrap();
    let calibration = calibrate(model, [&image]).unwrap();
    let options = QuantiseOptions { share_bits: 32, weight_bits: 14, ..QuantiseOptions::default() };
    let (quantised, _) = quantise(model, &calibration, &options).unwrap();
    quantised.validate().unwrap();
    let manifest = &quantised.manifest;
    let integers = reference::run_all(&quantised, &manifest.quantise_input(&image)).unwrap();
    reference::check_ranges(&quantised, &integers).unwrap();
    let mut worst = 0.0_f64;
    for ((node, edge), found) in manifest.graph.nodes().iter().zip(&manifest.edges).zip(&integers) {
        let name = node.name.split(".truncate").next().and_then(|name| name.split(".raise").next()).unwrap();
        let Some(expected) = stored(&stored_values, name, node.shape.to_array()) else { continue };
        if node.op.is_readout() {
            continue;
        }
        let error: f64 =
            expected.iter().zip(found).map(|(&a, &b)| (f64::from(a) - edge.to_real(b)).powi(2)).sum();
        let energy: f64 = expected.iter().map(|&a| f64::from(a).powi(2)).sum();
        worst = worst.max((error / energy).sqrt());
    }
    worst
}

/// The stated bounds: how far any layer's integers at 32 bits are off ONNX Runtime's floats, root mean square. Half the
/// bits are left before a square, a join or a sum takes a scale of its own, and a deep network adds up what its layers round.
const SMALL_AT_32_BITS: f64 = 0.001;
const SMALL_SHUFFLES_AT_32_BITS: f64 = 0.002;
const SMALL_QUADRATICS_AT_32_BITS: f64 = 0.005;
const TRAINED_AT_32_BITS: f64 = 0.005;
const TRAINED_SQUARES_AT_32_BITS: f64 = 0.03;

#[test]
fn integers_at_32_bits_follow_onnx_runtime() {
    for (name, extents) in [
        ("unet_2d", &[][..]),
        ("odd_3d", &[]),
        ("chain_1d", &[11]),
        ("activations_2d", &[]),
        ("classifier_2d", &[]),
        ("dense_1d", &[]),
        ("pads_3d", &[]),
        ("resize_2d", &[]),
        ("resize_3d", &[]),
        ("quadratics_2d", &[]),
        ("shuffles_2d", &[]),
    ] {
        let model = import(&data(&format!("{name}.onnx")), &shape(extents)).unwrap();
        let worst = compare_quantised(&model, &data(&format!("{name}.safetensors")));
        println!("{name}: integers within {:.3}% of ONNX Runtime", 100.0 * worst);
        let bound = match name {
            "quadratics_2d" => SMALL_QUADRATICS_AT_32_BITS,
            "shuffles_2d" => SMALL_SHUFFLES_AT_32_BITS,
            _ => SMALL_AT_32_BITS,
        };
        assert!(worst > 0.0 && worst <= bound, "{name}: {worst}");
    }
}

/// Models of others and of this project, where they lie in `$BUNET_SHARED` and their values in `$BUNET_ORT`.
#[test]
fn large_models_equal_onnx_runtime() {
    let trained = ["em_relu", "em_hybrid", "hip_relu", "hip_hybrid"].map(|name| format!("models/{name}"));
    let monai = [
        "m_BasicUNet_BATCH___softmax_argmax_2D_dynamo",
        "m_BasicUNet_BATCH___softmax_argmax_2D_ts",
        "m_MONAI_BasicUNet_BATCH_RELU_2D_dynamo",
        "m_MONAI_BasicUNet_BATCH_RELU_2D_ts",
        "m_MONAI_BasicUNet_BATCH_RELU_3D_dynamo",
        "m_MONAI_BasicUNet_BATCH_RELU_3D_ts",
        "m_MONAI_UNet_res2_BATCH_3D_dynamo",
    ];
    let others = monai.map(|name| format!("data/onnx/monai_exports/{name}"));
    let sentinel = ["data/onnx/sentinel_cloud/unet".to_string()];
    for path in trained.into_iter().chain(others).chain(sentinel) {
        let file = shared().join(format!("{path}.onnx"));
        let stem = Path::new(&path).file_name().unwrap();
        let values = std::env::var_os("BUNET_ORT").map(PathBuf::from).unwrap_or_default().join(stem);
        let values = values.with_extension("safetensors");
        if !values.exists() || !file.exists() {
            println!("skipped: {} or its values in $BUNET_ORT are absent", file.display());
            continue;
        }
        let model = import(&file, &ImportOptions::default()).unwrap();
        let compared = compare(&model, &values);
        let layers = model.graph.nodes().len();
        println!("{path}: {compared} of {layers} values equal ONNX Runtime's");
        // A PReLU is several nodes; what folds by constants stands under another name.
        assert!(5 * compared > 2 * layers, "{path}");
        let worst = compare_quantised(&model, &values);
        println!("{path}: integers at 32 bits within {:.3}% of ONNX Runtime", 100.0 * worst);
        let squares = model.graph.nodes().iter().any(|node| node.op == Op::Square);
        let bound = if squares { TRAINED_SQUARES_AT_32_BITS } else { TRAINED_AT_32_BITS };
        assert!(worst <= bound, "{path}: {worst}");
    }
}

fn shared() -> PathBuf {
    std::env::var_os("BUNET_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
}

#[test]
fn exports_of_others_import_or_are_refused_with_advice() {
    let folder = shared().join("data/onnx");
    if !folder.exists() {
        println!("skipped: {} is absent", folder.display());
        return;
    }
    let refused = |name: &str| match import(&folder.join(name), &ImportOptions::default()) {
        Err(OnnxError::Unsupported { refusals, .. }) => {
            refusals.into_iter().map(|refusal| refusal.operator).collect()
        }
        Err(other) => panic!("{name}: {other}"),
        Ok(_) => Vec::new(),
    };
    let none: Vec<String> = Vec::new();
    for name in [
        "m_BasicUNet_BATCH___softmax_argmax_2D_dynamo",
        "m_BasicUNet_BATCH___softmax_argmax_2D_ts",
        "m_MONAI_BasicUNet_BATCH_RELU_2D_dynamo",
        "m_MONAI_BasicUNet_BATCH_RELU_2D_ts",
        "m_MONAI_BasicUNet_BATCH_RELU_3D_dynamo",
        "m_MONAI_BasicUNet_BATCH_RELU_3D_ts",
        "m_MONAI_UNet_res2_BATCH_3D_dynamo",
    ] {
        assert_eq!(refused(&format!("monai_exports/{name}.onnx")), none, "{name}");
    }
    assert_eq!(refused("sentinel_cloud/unet.onnx"), none);
    let default = refused("monai_exports/m_MONAI_BasicUNet_default_3D_dynamo.onnx");
    assert_eq!(default.iter().filter(|&operator| operator == "InstanceNormalization").count(), 18);
    assert_eq!(default.iter().filter(|&operator| operator == "LeakyRelu").count(), 0);
    let only_norms = refused("monai_exports/m_nnUNet_PlainConvUNet_2D_dynamo.onnx");
    assert!(!only_norms.is_empty() && only_norms.iter().all(|operator| operator == "InstanceNormalization"));
}

#[test]
fn all_refused_layers_are_named_with_reason_and_remedy() {
    for (name, expected, words) in [
        ("refused", &["norm", "elu"][..], &["train with batch norm", "ReLU", "2 of its layers"][..]),
        ("refused_casts", &["cut", "random"], &["cuts scores to integers", "model.eval()"]),
        (
            "refused_more",
            &["ones", "relu6", "cubic", "turned", "softmax"],
            &[
                "pad with zeros",
                "in place of ReLU6",
                "cubic interpolation",
                "image turned to [1, 4, 4, 4]",
                "flattened",
            ],
        ),
    ] {
        let error = import(&data(&format!("{name}.onnx")), &ImportOptions::default()).unwrap_err();
        let OnnxError::Unsupported { refusals, .. } = &error else { panic!("{error}") };
        let layers: Vec<&str> = refusals.iter().map(|refusal| refusal.layer.as_str()).collect();
        assert_eq!(layers, expected, "{error}");
        let text = error.to_string();
        words.iter().for_each(|words| assert!(text.contains(words), "{words} in {text}"));
    }
}

#[test]
fn batch_norm_folds_only_into_a_layer_that_nothing_else_reads() {
    let model = import(&data("odd_3d.onnx"), &ImportOptions::default()).unwrap();
    let apart = model.graph.nodes().iter().find(|node| node.name == "apart").unwrap();
    assert_eq!(apart.op, Op::Conv { window: Window::dense([1; 3], [0; 3]), channels: 3 });
    let folded = import(&data("unet_2d.onnx"), &ImportOptions::default()).unwrap();
    assert!(folded.graph.nodes().iter().all(|node| !node.name.ends_with(".bn")));
}

#[test]
fn open_extents_must_be_stated() {
    let error = import(&data("chain_1d.onnx"), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("`image` has shape 1×1×length") && error.contains("--input-shape 64"), "{error}");
    assert!(import(&data("chain_1d.onnx"), &shape(&[3, 4, 5])).is_err());
    let wide = import(&data("unet_2d.onnx"), &shape(&[1, 16, 32])).unwrap();
    assert_eq!(wide.graph.node(0).shape.dims, [1, 16, 32]);
    let odd = import(&data("unet_2d.onnx"), &shape(&[5, 7])).unwrap_err().to_string();
    assert!(odd.contains("layer `join`") && odd.contains("differ in extent"), "{odd}");
    assert!(import(&data("unet_2d.onnx"), &shape(&[usize::MAX, 2])).is_err());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let missing = import(Path::new("no/such.onnx"), &ImportOptions::default()).unwrap_err();
    assert!(matches!(&missing, OnnxError::Io { .. }) && missing.to_string().contains("no/such.onnx"));
    for bytes in [&b"not a model at all"[..], b"", &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error = import_bytes(Path::new("garbage.onnx"), bytes, &ImportOptions::default()).unwrap_err();
        assert!(matches!(error, OnnxError::Field { .. }), "{error}");
        assert!(error.to_string().starts_with("garbage.onnx: "), "{error}");
    }
}

/// Every truncation is an error; every flipped bit is an error or another valid network, never a panic.
#[test]
fn damaged_files_never_panic() {
    for (name, extents) in [
        ("unet_2d", &[6, 8][..]),
        ("chain_1d", &[11]),
        ("odd_3d", &[5, 6, 7]),
        ("refused", &[]),
        ("activations_2d", &[]),
        ("dense_1d", &[]),
        ("pads_3d", &[]),
        ("resize_2d", &[]),
        ("quadratics_2d", &[]),
        ("shuffles_2d", &[]),
    ] {
        let path = data(&format!("{name}.onnx"));
        let bytes = std::fs::read(&path).unwrap();
        for length in (0..bytes.len()).step_by(7) {
            // A cut between two fields of the model leaves a shorter valid file; what it lacks must then be missed.
            let Ok(model) = import_bytes(&path, &bytes[..length], &shape(extents)) else { continue };
            let whole = import_bytes(&path, &bytes, &shape(extents)).unwrap();
            assert_eq!(model, whole, "{name} cut to {length} bytes");
        }
        for bit in (0..bytes.len() * 8).step_by(5) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(model) = import_bytes(&path, &flipped, &shape(extents)) {
                model.check().unwrap();
            }
        }
    }
}

/// A copy of the sidecar model in a folder of its own, its location replaced by one of the same length.
fn with_location(folder: &Path, location: &str) -> Result<FloatModel, OnnxError> {
    let mut bytes = std::fs::read(data("sidecar.onnx")).unwrap();
    let stated = b"sidecar.data";
    assert_eq!(location.len(), stated.len());
    for at in 0..bytes.len() - stated.len() {
        if &bytes[at..at + stated.len()] == stated {
            bytes[at..at + stated.len()].copy_from_slice(location.as_bytes());
        }
    }
    let file = folder.join("model.onnx");
    std::fs::write(&file, bytes).unwrap();
    import(&file, &shape(&[6, 8]))
}

#[test]
fn sidecars_stay_below_the_models_folder() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("inner");
    std::fs::create_dir(&folder).unwrap();
    let sidecar = std::fs::read(data("sidecar.data")).unwrap();
    std::fs::write(outer.path().join("outer.dat"), &sidecar).unwrap();
    std::fs::write(folder.join("beside__.dat"), &sidecar).unwrap();
    std::fs::write(folder.join("tooshort.dat"), &sidecar[..100]).unwrap();
    with_location(&folder, "beside__.dat").unwrap();
    for (location, words) in [
        ("../outer.dat", "without `..`"),
        ("/etc/passwd0", "without `..`"),
        ("no/such.file", "no/such.file"),
        ("tooshort.dat", "reach beyond"),
        ("b\\side__.dat", "relative path"),
    ] {
        let error = with_location(&folder, location).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("external_data"), "{location}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outer.path().join("outer.dat"), folder.join("linked__.dat")).unwrap();
        let error = with_location(&folder, "linked__.dat").unwrap_err().to_string();
        assert!(error.contains("below the model's folder"), "{error}");
    }
}
