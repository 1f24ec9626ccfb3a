//! The integer reference against hand-made cases and against a second, naive formulation of every operator.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use models::reference::{ReferenceError, check_ranges, eval_node, run, run_all, run_checked, truncate};
use models::{Dims, Edge, Graph, Label, Layer, LayerWeights, Manifest, Model, Op, Shape, Window};
use ndarray::{Array1, Array4, ArrayD, array};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn tensor(shape: [usize; 4], values: &[i64]) -> Array4<i64> {
    Array4::from_shape_vec(shape, values.to_vec()).unwrap()
}

fn weights(shape: [usize; 5], values: Vec<i32>, bias: Vec<i64>) -> LayerWeights {
    LayerWeights {
        weights: ArrayD::from_shape_vec(shape.to_vec(), values).unwrap(),
        bias: Array1::from_vec(bias),
    }
}

/// Numbers that only depend on `seed`, in `-limit..=limit`.
fn numbers(seed: u64, count: usize, limit: i64) -> Vec<i64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..count).map(|_| (next() % (2 * limit as u64 + 1)) as i64 - limit).collect()
}

/// The value of a padded tensor: zero outside.
fn at(x: &Array4<i64>, channel: usize, at: [isize; 3]) -> i64 {
    let [z, y, w] = at.map(|position| usize::try_from(position).unwrap_or(usize::MAX));
    x.get((channel, z, y, w)).copied().unwrap_or(0)
}

fn grid(dims: Dims) -> impl Iterator<Item = Dims> {
    (0..dims[0]).flat_map(move |z| (0..dims[1]).flat_map(move |y| (0..dims[2]).map(move |x| [z, y, x])))
}

/// Where tap `k` of the window at `o` reads.
fn reads(window: &Window, o: Dims, k: Dims) -> [isize; 3] {
    std::array::from_fn(|axis| {
        (o[axis] * window.stride[axis] + k[axis] * window.dilation[axis]) as isize
            - window.pad_before[axis] as isize
    })
}

/// Convolution as one sum per output voxel.
fn naive_conv(x: &Array4<i64>, layer: &LayerWeights, window: &Window, out: Shape) -> Array4<i64> {
    Array4::from_shape_fn(out.to_array(), |(o, z, y, w)| {
        let mut sum = layer.bias[o];
        for i in 0..x.dim().0 {
            for k in grid(window.kernel) {
                let weight = layer.weights[[o, i, k[0], k[1], k[2]]];
                sum += i64::from(weight) * at(x, i, reads(window, [z, y, w], k));
            }
        }
        sum
    })
}

/// Transposed convolution as zero-interleaving followed by a convolution with the mirrored kernel.
fn naive_conv_transpose(x: &Array4<i64>, layer: &LayerWeights, window: &Window, out: Shape) -> Array4<i64> {
    let (inputs, depth, height, width) = x.dim();
    let spread = |axis: usize, extent: usize| (extent - 1) * window.stride[axis] + 1;
    let mut interleaved = Array4::zeros((inputs, spread(0, depth), spread(1, height), spread(2, width)));
    for ((i, z, y, w), &value) in x.indexed_iter() {
        interleaved[[i, z * window.stride[0], y * window.stride[1], w * window.stride[2]]] = value;
    }
    Array4::from_shape_fn(out.to_array(), |(o, z, y, w)| {
        let mut sum = layer.bias[o];
        for i in 0..inputs {
            for k in grid(window.kernel) {
                let from = std::array::from_fn(|axis| {
                    ([z, y, w][axis] + window.pad_before[axis]) as isize
                        - (k[axis] * window.dilation[axis]) as isize
                });
                sum += i64::from(layer.weights[[i, o, k[0], k[1], k[2]]]) * at(&interleaved, i, from);
            }
        }
        sum
    })
}

fn dims(range: std::ops::RangeInclusive<usize>, rank: usize) -> impl Strategy<Value = Dims> {
    prop::collection::vec(range, rank).prop_map(|extents| {
        let mut dims = [1; 3];
        dims[3 - extents.len()..].copy_from_slice(&extents);
        dims
    })
}

fn pads(rank: usize) -> impl Strategy<Value = Dims> {
    prop::collection::vec(0_usize..=2, rank).prop_map(|extents| {
        let mut dims = [0; 3];
        dims[3 - extents.len()..].copy_from_slice(&extents);
        dims
    })
}

fn window(rank: usize) -> impl Strategy<Value = Window> {
    (dims(1..=3, rank), dims(1..=3, rank), dims(1..=2, rank), pads(rank), pads(rank)).prop_map(
        |(kernel, stride, dilation, pad_before, pad_after)| Window {
            kernel,
            stride,
            dilation,
            pad_before,
            pad_after,
        },
    )
}

fn layer_case() -> impl Strategy<Value = (Dims, Window, usize, usize, Dims, u64)> {
    (1_usize..=3).prop_flat_map(|rank| {
        (dims(1..=7, rank), window(rank), 1_usize..=3, 1_usize..=3, pads(rank), any::<u64>())
    })
}

fn random_layer(op: &Op, inputs: usize, seed: u64) -> LayerWeights {
    let shape = op.weight_shape(inputs).unwrap();
    let values = numbers(seed, shape.iter().product(), 127).into_iter().map(|value| value as i32).collect();
    weights(shape, values, numbers(seed ^ 1, op.output_channels().unwrap(), 5000))
}

proptest! {
    #[test]
    fn convolution_equals_the_naive_sum((input, window, inputs, outputs, _, seed) in layer_case()) {
        let op = Op::Conv { window, channels: outputs };
        let Some(out) = window.slide(input) else {
            let x = Array4::zeros((inputs, input[0], input[1], input[2]));
            let layer = random_layer(&op, inputs, seed);
            prop_assert!(eval_node(&op, &[&x], Some(&layer)).is_err());
            return Ok(());
        };
        let layer = random_layer(&op, inputs, seed);
        let shape = [inputs, input[0], input[1], input[2]];
        let x = tensor(shape, &numbers(!seed, shape.iter().product(), 1000));
        let found = eval_node(&op, &[&x], Some(&layer)).unwrap();
        prop_assert_eq!(found, naive_conv(&x, &layer, &window, Shape { channels: outputs, dims: out }));
    }

    #[test]
    fn transposed_convolution_equals_interleaving(
        (input, window, inputs, outputs, output_padding, seed) in layer_case()
    ) {
        let op = Op::ConvTranspose { window, output_padding, channels: outputs };
        let layer = random_layer(&op, inputs, seed);
        let shape = [inputs, input[0], input[1], input[2]];
        let x = tensor(shape, &numbers(!seed, shape.iter().product(), 1000));
        let Some(out) = window.slide_transposed(input, output_padding) else {
            prop_assert!(eval_node(&op, &[&x], Some(&layer)).is_err());
            return Ok(());
        };
        let found = eval_node(&op, &[&x], Some(&layer)).unwrap();
        let expected = naive_conv_transpose(&x, &layer, &window, Shape { channels: outputs, dims: out });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn pooling_equals_the_naive_fold((input, mut window, channels, _, _, seed) in layer_case()) {
        for axis in 0..3 {
            if window.pad_before[axis] > 0 || window.pad_after[axis] > 0 {
                window.dilation[axis] = 1;
            }
            window.pad_before[axis] = window.pad_before[axis].min(window.kernel[axis] - 1);
            window.pad_after[axis] = window.pad_after[axis].min(window.kernel[axis] - 1);
        }
        let Some(out) = window.slide(input) else { return Ok(()) };
        let shape = [channels, input[0], input[1], input[2]];
        // All negative: a maximum that let the padding win would show.
        let x = tensor(shape, &numbers(seed, shape.iter().product(), 1000)).mapv(|value| value - 1001);
        let fold = |o: Dims, c: usize, start: i64, f: fn(i64, i64) -> i64| {
            grid(window.kernel)
                .map(|k| reads(&window, o, k))
                .filter(|p| (0..3).all(|axis| (0..input[axis] as isize).contains(&p[axis])))
                .fold(start, |folded, p| f(folded, at(&x, c, p)))
        };
        let out = (channels, out[0], out[1], out[2]);
        let sums = Array4::from_shape_fn(out, |(c, z, y, w)| fold([z, y, w], c, 0, |a, b| a + b));
        let largest = Array4::from_shape_fn(out, |(c, z, y, w)| fold([z, y, w], c, i64::MIN, i64::max));
        prop_assert_eq!(eval_node(&Op::AvgPool { window }, &[&x], None).unwrap(), sums);
        prop_assert_eq!(eval_node(&Op::MaxPool { window }, &[&x], None).unwrap(), largest);
    }

    #[test]
    fn truncation_rounds_half_up(x in -(1_i64 << 39)..(1_i64 << 39), shift in 1_u32..=20) {
        let exact = x as f64 / f64::from(1_u32 << shift);
        prop_assert_eq!(truncate(x, shift), (exact + 0.5).floor() as i64);
    }
}

#[test]
fn a_dense_convolution_by_hand() {
    let x = tensor([1, 1, 2, 3], &[1, 2, 3, 4, 5, 6]);
    let op = Op::Conv { window: Window::dense([1, 3, 3], [0, 1, 1]), channels: 1 };
    let layer = weights([1, 1, 1, 3, 3], vec![1, 0, 0, 0, 10, 0, 0, 0, 100], vec![7]);
    let y = eval_node(&op, &[&x], Some(&layer)).unwrap();
    assert_eq!(
        y,
        tensor([1, 1, 2, 3], &[7 + 10 + 500, 7 + 20 + 600, 7 + 30, 7 + 40, 7 + 50 + 1, 7 + 60 + 2])
    );
}

#[test]
fn a_strided_transposed_convolution_by_hand() {
    let x = tensor([1, 1, 1, 2], &[1, 2]);
    let op = Op::ConvTranspose {
        window: Window { stride: [1, 1, 2], ..Window::dense([1, 1, 3], [0; 3]) },
        output_padding: [0, 0, 1],
        channels: 2,
    };
    let layer = weights([1, 2, 1, 1, 3], vec![1, 2, 3, -1, 0, 1], vec![0, 50]);
    let y = eval_node(&op, &[&x], Some(&layer)).unwrap();
    assert_eq!(y, tensor([2, 1, 1, 6], &[1, 2, 3 + 2, 4, 6, 0, 49, 50, 51 - 2, 50, 52, 50]));
}

#[test]
fn pointwise_operators_by_hand() {
    let x = tensor([1, 1, 1, 6], &[-6, -2, -1, 1, 2, 5]);
    let value = |op: Op| eval_node(&op, &[&x], None).unwrap().into_raw_vec_and_offset().0;
    assert_eq!(value(Op::Relu { shift: 0 }), [0, 0, 0, 1, 2, 5]);
    assert_eq!(value(Op::Relu { shift: 2 }), [0, 0, 0, 0, 1, 1]);
    assert_eq!(value(Op::Truncate { shift: 2 }), [-1, 0, 0, 0, 1, 1]);
    assert_eq!(value(Op::Raise { shift: 3 }), [-48, -16, -8, 8, 16, 40]);
    assert_eq!(value(Op::Square), [36, 4, 1, 1, 4, 25]);
    assert_eq!(value(Op::Scale { factor: -3, shift: 2 }), [18, 6, 3, -3, -6, -15]);
    let product = eval_node(&Op::Mul, &[&x, &x.mapv(|x| x + 1)], None).unwrap();
    assert_eq!(product.into_raw_vec_and_offset().0, [30, 2, 0, 2, 6, 30]);
    let two = tensor([2, 1, 1, 3], &[-6, -2, -1, 1, 2, 5]);
    let layer = weights([2, 2, 1, 1, 1], vec![1, 2, -1, 10], vec![100, 7]);
    let quadratic = eval_node(&Op::Quadratic, &[&two], Some(&layer)).unwrap();
    assert_eq!(quadratic.into_raw_vec_and_offset().0, [124, 100, 99, 16, 23, 32]);
    assert!(eval_node(&Op::LeakyRelu { slope: 0.5 }, &[&x], None).is_err());
    assert_eq!(value(Op::Threshold { at: 1 }), [0, 0, 0, 0, 1, 1]);
}

#[test]
fn joins_and_argmax_by_hand() {
    let a = tensor([2, 1, 1, 3], &[1, 5, 2, 3, 5, 2]);
    let b = tensor([1, 1, 1, 3], &[3, 6, -2]);
    let joined = eval_node(&Op::Concat, &[&a, &b], None).unwrap();
    assert_eq!(joined, tensor([3, 1, 1, 3], &[1, 5, 2, 3, 5, 2, 3, 6, -2]));
    // The first voxel's maximum is shared by channels 1 and 2, the last one's by 0 and 1: the lowest wins.
    assert_eq!(eval_node(&Op::ArgMax, &[&joined], None).unwrap(), tensor([1, 1, 1, 3], &[1, 2, 0]));
    assert_eq!(
        eval_node(&Op::Add, &[&a, &a, &a], None).unwrap(),
        tensor([2, 1, 1, 3], &[3, 15, 6, 9, 15, 6])
    );
    assert!(eval_node(&Op::Add, &[&a, &b], None).is_err());
}

/// Convolution, ReLU, pooling, and a readout over two labels.
fn small_model() -> Model {
    let mut graph = Graph::new(2, Shape { channels: 1, dims: [1, 4, 4] }).unwrap();
    let window = Window::dense([1, 3, 3], [0, 1, 1]);
    graph.push("conv", Op::Conv { window, channels: 2 }, vec![0]).unwrap();
    graph.push("relu", Op::Relu { shift: 1 }, vec![1]).unwrap();
    graph.push("skip", Op::Add, vec![1, 2]).unwrap();
    graph.push("labels", Op::ArgMax, vec![3]).unwrap();
    let op = graph.node(1).op.clone();
    let edge = |bound| Edge { frac: 4, divisor: 1, bound };
    let layer = random_layer(&op, 1, 3);
    Model {
        manifest: Manifest {
            format: 1,
            name: "small".into(),
            graph,
            edges: vec![edge(100), edge(200_000), edge(100_000), edge(300_000), edge(1)],
            layers: BTreeMap::from([(1, Layer { weight_frac: 4, weight_bits: 7 })]),
            share_bits: 24,
            margin: 2.0,
            labels: vec![Label { name: "a".into(), grey: 0 }, Label { name: "b".into(), grey: 255 }],
            preprocessing: serde_json::Value::Null,
        },
        weights: BTreeMap::from([(1, layer)]),
    }
}

#[test]
fn a_network_is_its_operators_one_after_the_other() {
    let model = small_model();
    let input = tensor([1, 1, 4, 4], &numbers(5, 16, 100));
    let values = run_all(&model, &input).unwrap();
    let graph = &model.manifest.graph;
    for (id, node) in graph.nodes().iter().enumerate().skip(1) {
        let inputs: Vec<_> = node.inputs.iter().map(|&input| &values[input]).collect();
        assert_eq!(values[id], eval_node(&node.op, &inputs, model.weights.get(&id)).unwrap());
    }
    let labels = run(&model, &input).unwrap();
    assert_eq!(labels.mapv(i64::from), values[graph.output()].index_axis(ndarray::Axis(0), 0));
    assert_eq!(run_checked(&model, &input).unwrap(), labels);
    check_ranges(&model, &values).unwrap();
}

#[test]
fn a_value_beyond_its_bound_is_named() {
    let model = small_model();
    let mut input = tensor([1, 1, 4, 4], &[0; 16]);
    input[[0, 0, 2, 2]] = -101;
    let expected = ReferenceError::OutOfRange { layer: "input".into(), value: -101, bound: 100 };
    assert_eq!(run_checked(&model, &input), Err(expected.clone()));
    assert_eq!(check_ranges(&model, &[input]), Err(expected));
}

#[test]
fn misfits_are_refused() {
    let model = small_model();
    let wrong = Array4::zeros((1, 1, 4, 5));
    let found = run(&model, &wrong);
    assert_eq!(found, Err(ReferenceError::InputShape { expected: [1, 1, 4, 4], found: [1, 1, 4, 5] }));
    let op = Op::Conv { window: Window::dense([1; 3], [0; 3]), channels: 2 };
    let x = array![[[[1_i64]]]];
    assert!(eval_node(&op, &[&x], None).is_err());
    assert!(eval_node(&op, &[&x], Some(&weights([1, 1, 1, 1, 1], vec![1], vec![0]))).is_err());
    assert!(eval_node(&op, &[&x], Some(&weights([2, 1, 1, 1, 1], vec![1, 2], vec![0]))).is_err());
    assert!(eval_node(&op, &[], None).is_err());
}
