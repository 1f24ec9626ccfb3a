//! Classifiers that the field benchmarks itself on, with random weights: ResNet-50 (arXiv 1512.03385, with the stride
//! in the 3×3 convolution) and SqueezeNet 1.1 (arXiv 1602.07360), for 1,000 labels.
//!
//! Batch norm is folded, as import leaves it; the last fully connected layer is a 1×1 convolution of the pooled features.
//! Weights are made as those of the benchmark U-Nets ([`crate::unet`]): every layer alive, ranges calibrated.

use crate::float::FloatModel;
use crate::graph::{Graph, GraphError, NodeId, Op, Shape, Window};
use crate::manifest::{Label, Model};
use crate::quantise::{Calibrator, QuantiseError, QuantiseOptions, Report, quantise};
use crate::random::{initialise, random_image};
use std::fmt;
use std::str::FromStr;

const LABELS: usize = 1000;

/// A classifier to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classifier {
    /// 50 layers in residual blocks of three.
    ResNet50,
    /// Fire modules: squeezed by 1×1, expanded by 1×1 and 3×3.
    SqueezeNet,
}

impl fmt::Display for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResNet50 => "resnet50",
            Self::SqueezeNet => "squeezenet",
        })
    }
}

impl FromStr for Classifier {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "resnet50" => Ok(Self::ResNet50),
            "squeezenet" => Ok(Self::SqueezeNet),
            other => Err(format!("no classifier `{other}`; `resnet50` and `squeezenet` are known")),
        }
    }
}

impl Classifier {
    /// The input's shape on images of this many pixels along each axis.
    pub fn input(self, extent: usize) -> Shape {
        Shape { channels: 3, dims: [1, extent, extent] }
    }

    /// The architecture on images of this extent, 33 pixels at least.
    pub fn graph(self, extent: usize) -> Result<Graph, GraphError> {
        let mut builder = Builder { graph: Graph::new(2, self.input(extent))?, serial: 0 };
        match self {
            Self::ResNet50 => builder.resnet50()?,
            Self::SqueezeNet => builder.squeezenet()?,
        }
        Ok(builder.graph)
    }

    /// The quantised network on images of this extent. Weights are made at that extent: the padding around maps of a few
    /// pixels would make them too large for others.
    pub fn build_quantised(
        self,
        extent: usize,
        seed: u64,
        options: &QuantiseOptions,
    ) -> Result<(Model, Report), QuantiseError> {
        let images: Vec<_> = (1..=2).map(|image| random_image(self.input(extent), seed ^ image)).collect();
        let graph = self.graph(extent)?;
        let weights = initialise(&graph, &images, seed)?;
        let model = FloatModel {
            name: self.to_string(),
            graph,
            weights,
            labels: Label::numbered(LABELS),
            preprocessing: serde_json::Value::Null,
        };
        let mut calibrator = Calibrator::new(&model);
        images.iter().try_for_each(|image| calibrator.add(image))?;
        quantise(&model, &calibrator.finish()?, options)
    }
}

struct Builder {
    graph: Graph,
    serial: usize,
}

type Built = Result<NodeId, GraphError>;

impl Builder {
    fn push(&mut self, kind: &str, op: Op, inputs: Vec<NodeId>) -> Built {
        self.serial += 1;
        self.graph.push(format!("{kind}{}", self.serial), op, inputs)
    }

    /// A square convolution.
    fn conv(&mut self, x: NodeId, kernel: usize, stride: usize, pad: usize, channels: usize) -> Built {
        let window =
            Window { stride: [1, stride, stride], ..Window::dense([1, kernel, kernel], [0, pad, pad]) };
        self.push("conv", Op::Conv { window, channels }, vec![x])
    }

    fn relu(&mut self, x: NodeId) -> Built {
        self.push("relu", Op::Relu { shift: 0 }, vec![x])
    }

    /// 3×3, stride 2.
    fn max_pool(&mut self, x: NodeId, pad: usize) -> Built {
        let window = Window { stride: [1, 2, 2], ..Window::dense([1, 3, 3], [0, pad, pad]) };
        self.push("pool", Op::MaxPool { window }, vec![x])
    }

    fn global_average(&mut self, x: NodeId) -> Built {
        let window = Window::tiling(self.graph.node(x).shape.dims);
        self.push("average", Op::AvgPool { window }, vec![x])
    }

    fn resnet50(&mut self) -> Result<(), GraphError> {
        let mut x = self.conv(0, 7, 2, 3, 64)?;
        x = self.relu(x)?;
        x = self.max_pool(x, 1)?;
        for (width, blocks, stride) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
            for block in 0..blocks {
                let stride = if block == 0 { stride } else { 1 };
                let skip = if block == 0 { self.conv(x, 1, stride, 0, 4 * width)? } else { x };
                x = self.conv(x, 1, 1, 0, width)?;
                x = self.relu(x)?;
                x = self.conv(x, 3, stride, 1, width)?;
                x = self.relu(x)?;
                x = self.conv(x, 1, 1, 0, 4 * width)?;
                x = self.push("sum", Op::Add, vec![x, skip])?;
                x = self.relu(x)?;
            }
        }
        x = self.global_average(x)?;
        x = self.conv(x, 1, 1, 0, LABELS)?;
        self.graph.push("label", Op::ArgMax, vec![x]).map(drop)
    }

    fn squeezenet(&mut self) -> Result<(), GraphError> {
        let mut x = self.conv(0, 3, 2, 0, 64)?;
        x = self.relu(x)?;
        for fires in [
            &[(16, 64), (16, 64)][..],
            &[(32, 128), (32, 128)],
            &[(48, 192), (48, 192), (64, 256), (64, 256)],
        ] {
            x = self.max_pool(x, 0)?;
            for &(squeezed, expanded) in fires {
                x = self.conv(x, 1, 1, 0, squeezed)?;
                x = self.relu(x)?;
                let halves = [(1, 0), (3, 1)].map(|(kernel, pad)| {
                    let half = self.conv(x, kernel, 1, pad, expanded)?;
                    self.relu(half)
                });
                let [one, three] = halves;
                x = self.push("concat", Op::Concat, vec![one?, three?])?;
            }
        }
        x = self.conv(x, 1, 1, 0, LABELS)?;
        x = self.relu(x)?;
        x = self.global_average(x)?;
        self.graph.push("label", Op::ArgMax, vec![x]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architectures_have_their_published_sizes() {
        for (classifier, parameters, activations) in
            [(Classifier::ResNet50, 25_530_472, 9_608_704), (Classifier::SqueezeNet, 1_235_496, 2_589_352)]
        {
            let graph = classifier.graph(224).unwrap();
            let of = |id: &NodeId| graph.node(*id).shape.channels;
            let weights = graph.nodes().iter().filter_map(|node| {
                let shape = node.op.weight_shape(node.inputs.first().map(of)?)?;
                Some(shape.iter().product::<usize>() + node.shape.channels)
            });
            assert_eq!(weights.sum::<usize>(), parameters, "{classifier}");
            let relus = graph.nodes().iter().filter(|node| matches!(node.op, Op::Relu { .. }));
            assert_eq!(relus.map(|node| node.shape.len()).sum::<usize>(), activations, "{classifier}");
            assert_eq!(graph.node(graph.output()).shape.len(), 1);
        }
    }

    #[test]
    fn a_small_classifier_is_alive() {
        let options = QuantiseOptions { share_bits: 32, weight_bits: 12, ..QuantiseOptions::default() };
        let (model, report) = Classifier::SqueezeNet.build_quantised(64, 5, &options).unwrap();
        model.validate().unwrap();
        let scores = &report.layers[report.layers.len() - 2];
        assert!(scores.error.unwrap() < 0.05, "{report}");
        let narrow = report.layers.iter().find(|layer| layer.kind == "relu" && layer.frac < 4);
        assert!(narrow.is_none(), "{report}");
    }
}
