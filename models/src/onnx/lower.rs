//! From ONNX's list of operators to the graph: names, constants, what a value is, and the result.

use super::arrangement::Arrangement;
use super::attributes::Attributes;
use super::fold::{self, fold};
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use super::tensor::{Data, Tensor};
use super::{ImportOptions, OnnxError, Refusal};
use crate::float::{FloatLayer, FloatModel};
use crate::graph::{Graph, GraphError, NodeId, Op, Shape};
use crate::manifest::Label;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

/// Most operators in a file.
const MAX_NODES: usize = 10_000;

/// What a name in the file stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A constant.
    Constant(Tensor),
    /// A node of the graph, perhaps with something after it that only a readout understands.
    Node(NodeId, Post),
    /// A node's values in another order and shape, out of which an image may come again.
    Arranged(Arrangement, Post),
    /// The result of a refused operator: what follows cannot be looked at.
    Unknown,
}

/// What stands between a node and the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// Nothing.
    None,
    /// A softmax over the channels.
    Softmax,
    /// A sigmoid.
    Sigmoid,
    /// The node yields labels already.
    Labels,
}

/// Why one operator cannot be lowered: a refusal that others may follow, or an error that ends the import.
pub(super) enum Stop {
    /// Cannot run blindly: reason and remedy.
    Refuse(String, String),
    /// The file is wrong.
    Fail(OnnxError),
}

impl From<OnnxError> for Stop {
    fn from(error: OnnxError) -> Self {
        Self::Fail(error)
    }
}

impl From<GraphError> for Stop {
    fn from(error: GraphError) -> Self {
        let reason = match error {
            GraphError::Node { reason, .. } => reason,
            other => other.to_string(),
        };
        Self::Refuse(reason, "check the size of the input (--input-shape)".into())
    }
}

/// The import in progress.
pub(super) struct Importer<'a> {
    pub(super) file: &'a Path,
    /// The version of the standard operators.
    pub(super) opset: i64,
    pub(super) graph: Graph,
    pub(super) weights: BTreeMap<NodeId, FloatLayer>,
    values: HashMap<&'a str, Value>,
    /// How often a name is read; the graph's outputs count.
    uses: HashMap<&'a str, usize>,
    /// The name that stands for a layer's value just as the layer yields it.
    pub(super) origin: HashMap<NodeId, &'a str>,
    /// Names of vectors: batch and features, without spatial axes.
    pub(super) flat: HashSet<&'a str>,
    /// Convolutions that only scale and shift each channel.
    pub(super) diagonals: HashSet<NodeId>,
    refusals: Vec<Refusal>,
}

/// Imports a decoded model.
pub(super) fn lower(
    file: &Path,
    model: &ModelProto,
    options: &ImportOptions,
) -> Result<FloatModel, OnnxError> {
    let graph =
        model.graph.as_ref().ok_or_else(|| OnnxError::field(file, "graph", "the model holds none"))?;
    let opset = model.opset_import.iter().find(|set| matches!(set.domain.as_str(), "" | "ai.onnx"));
    let opset = match opset.map(|set| set.version) {
        Some(version) if version >= 7 => version,
        Some(version) => {
            let reason = format!("operator set {version} is too old; export with opset 11 or later");
            return Err(OnnxError::field(file, "opset_import", reason));
        }
        None => {
            return Err(OnnxError::field(
                file,
                "opset_import",
                "it names no version of the standard operators",
            ));
        }
    };
    if graph.node.len() > MAX_NODES {
        let reason = format!("{} operators; {MAX_NODES} are the most", graph.node.len());
        return Err(OnnxError::field(file, "graph.node", reason));
    }
    let mut importer = Importer::start(file, opset, graph, options)?;
    for node in &graph.node {
        importer.node(node)?;
    }
    importer.finish(graph)
}

impl<'a> Importer<'a> {
    fn start(
        file: &'a Path,
        opset: i64,
        graph: &'a GraphProto,
        options: &ImportOptions,
    ) -> Result<Self, OnnxError> {
        let mut values = HashMap::new();
        for proto in &graph.initializer {
            values.insert(proto.name.as_str(), Value::Constant(Tensor::decode(file, proto)?));
        }
        let inputs: Vec<_> =
            graph.input.iter().filter(|input| !values.contains_key(input.name.as_str())).collect();
        let [input] = inputs[..] else {
            let reason = format!("{} inputs where one image is expected", inputs.len());
            return Err(OnnxError::field(file, "graph.input", reason));
        };
        let (rank, shape) = input_shape(file, input, options)?;
        let network =
            Graph::new(rank, shape).map_err(|source| OnnxError::Graph { file: file.into(), source })?;
        values.insert(&input.name, Value::Node(0, Post::None));
        let mut uses = HashMap::new();
        let reads = graph.node.iter().flat_map(|node| &node.input);
        for name in reads.chain(graph.output.iter().map(|output| &output.name)) {
            *uses.entry(name.as_str()).or_insert(0) += 1;
        }
        let (weights, origin, refusals) = (BTreeMap::new(), HashMap::new(), Vec::new());
        let (flat, diagonals) = (HashSet::new(), HashSet::new());
        Ok(Self { file, opset, graph: network, weights, values, uses, origin, flat, diagonals, refusals })
    }

    fn node(&mut self, node: &'a NodeProto) -> Result<(), OnnxError> {
        let layer = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        let layer = layer.cloned().unwrap_or_default();
        if let Some(missing) =
            node.input.iter().find(|name| !name.is_empty() && !self.values.contains_key(name.as_str()))
        {
            let reason = format!("reads `{missing}`, which nothing before it computes");
            return Err(OnnxError::field(self.file, format!("node `{layer}`"), reason));
        }
        let value = match self.evaluate(node, &layer) {
            Ok(value) => value,
            Err(Stop::Fail(error)) => return Err(error),
            Err(Stop::Refuse(reason, remedy)) => {
                self.refusals.push(Refusal { layer, operator: node.op_type.clone(), reason, remedy });
                // What is refused for its arithmetic alone keeps the shape: layers after it are still looked at.
                match node.input.first().and_then(|name| self.values.get(name.as_str())) {
                    Some(value @ (Value::Node(_, Post::None) | Value::Arranged(..)))
                        if keeps_shape(&node.op_type) =>
                    {
                        value.clone()
                    }
                    _ => Value::Unknown,
                }
            }
        };
        if let (Some(output), Value::Node(id, _)) = (node.output.first(), &value)
            && self.weights.contains_key(id)
        {
            self.origin.entry(*id).or_insert(output);
        }
        for (index, output) in node.output.iter().enumerate() {
            match index {
                0 => self.set(output, value.clone()),
                // Masks, indices: nothing here knows what to do with them.
                _ => drop(self.values.entry(output).or_insert(Value::Unknown)),
            }
        }
        Ok(())
    }

    /// Says what a name stands for.
    pub(super) fn set(&mut self, name: &'a str, value: Value) {
        self.values.insert(name, value);
    }

    fn evaluate(&mut self, node: &'a NodeProto, layer: &str) -> Result<Value, Stop> {
        let attributes = Attributes::of(self.file, node);
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            let reason = format!("operators of domain `{}` are not known", node.domain);
            return Err(Stop::Refuse(reason, "export with standard operators only".into()));
        }
        match node.op_type.as_str() {
            "Constant" => return constant(self.file, layer, &attributes),
            "Shape" => match self.input(node, 0) {
                Some(Value::Node(id, _)) => {
                    let flat = node.input.first().is_some_and(|name| self.flat.contains(name.as_str()));
                    let extents = self.extents_of(*id, flat);
                    return Ok(Value::Constant(fold::shape(&attributes, &extents)));
                }
                Some(Value::Arranged(arranged, _)) => {
                    return Ok(Value::Constant(fold::shape(&attributes, &arranged.dims())));
                }
                Some(Value::Unknown) => return Ok(Value::Unknown),
                _ => {}
            },
            _ => {}
        }
        let constants: Vec<Option<&Tensor>> =
            (0..node.input.len()).map(|index| self.constant(node, index)).collect();
        let all_constant =
            node.input.iter().zip(&constants).all(|(name, value)| name.is_empty() || value.is_some());
        let folded = if all_constant { fold(&node.op_type, &attributes, &constants) } else { None };
        if let Some(folded) = folded {
            return Ok(Value::Constant(folded));
        }
        self.layer(node, layer, &attributes)
    }

    /// What an input of a node stands for.
    pub(super) fn input(&self, node: &NodeProto, index: usize) -> Option<&Value> {
        node.input.get(index).and_then(|name| self.values.get(name.as_str()))
    }

    /// A constant input.
    pub(super) fn constant(&self, node: &NodeProto, index: usize) -> Option<&Tensor> {
        match self.input(node, index) {
            Some(Value::Constant(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// How often a name is read.
    pub(super) fn uses(&self, name: &str) -> usize {
        self.uses.get(name).copied().unwrap_or(0)
    }

    /// A unique name for a layer.
    pub(super) fn unique(&self, layer: &str) -> String {
        let base = layer.trim_start_matches('/');
        let base = if base.is_empty() { "layer" } else { base };
        let taken = |name: &str| self.graph.nodes().iter().any(|node| node.name == name);
        let numbered = (2..).map(|serial| format!("{base}#{serial}"));
        std::iter::once(base.to_string()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
    }

    /// A value's extents as ONNX sees them: an image's, or a vector's.
    pub(super) fn extents_of(&self, id: NodeId, flat: bool) -> Vec<usize> {
        let shape = self.graph.node(id).shape;
        if flat {
            return vec![1, shape.len()];
        }
        let spatial = &shape.dims[3 - self.graph.rank()..];
        [1, shape.channels].iter().chain(spatial).copied().collect()
    }

    fn finish(mut self, graph: &GraphProto) -> Result<FloatModel, OnnxError> {
        let [output] = &graph.output[..] else {
            let names: Vec<&str> = graph.output.iter().map(|output| output.name.as_str()).collect();
            let reason = format!(
                "{} outputs ({}) where one is expected; turn off deep supervision and auxiliary heads before the export",
                names.len(),
                names.join(", ")
            );
            return Err(OnnxError::field(self.file, "graph.output", reason));
        };
        let field = format!("graph.output `{}`", output.name);
        let result = self.values.get(output.name.as_str()).cloned();
        if self.refusals.is_empty() {
            match result {
                Some(Value::Node(0, _)) | Some(Value::Constant(_)) | Some(Value::Unknown) | None => {
                    return Err(OnnxError::field(self.file, field, "no layer computes it"));
                }
                Some(Value::Node(id, Post::None | Post::Softmax | Post::Sigmoid))
                    if self.flat.contains(output.name.as_str()) && self.graph.node(id).shape.volume() > 1 =>
                {
                    let reason = "the result is a flattened image; end in scores per voxel, or in a fully connected layer";
                    return Err(OnnxError::field(self.file, field, reason));
                }
                Some(Value::Node(id, post)) => self.readout(id, post),
                // An axis of extent 1 less, channels last, or voxels in one line.
                Some(Value::Arranged(arranged, post)) if arranged.keeps_voxels() => {
                    self.readout(arranged.source, post);
                }
                Some(Value::Arranged(arranged, _)) => {
                    let reason = format!(
                        "the result is an image turned to {:?}; end in scores per voxel",
                        arranged.dims()
                    );
                    return Err(OnnxError::field(self.file, field, reason));
                }
            }
        }
        if !self.refusals.is_empty() {
            return Err(OnnxError::Unsupported { file: self.file.into(), refusals: self.refusals });
        }
        let name = self.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.model(name)
    }

    /// Puts a readout after the scores.
    fn readout(&mut self, id: NodeId, post: Post) {
        if post == Post::Labels {
            return;
        }
        let channels = self.graph.node(id).shape.channels;
        let op = if channels == 1 { Op::Threshold { at: 0 } } else { Op::ArgMax };
        let refused = match post {
            Post::Sigmoid if channels > 1 => Some((
                "a sigmoid over several channels gives labels that overlap".into(),
                "train with softmax, or with one channel".into(),
            )),
            Post::Softmax if channels == 1 => {
                Some(("a softmax over one channel is always 1".into(), "use a sigmoid".into()))
            }
            _ => self.graph.push(self.unique("labels"), op, vec![id]).err().map(|error| {
                (
                    error.to_string(),
                    "a segmentation network ends in 2 to 65,536 channels of scores, or in one".into(),
                )
            }),
        };
        self.refusals.extend(refused.map(|(reason, remedy)| Refusal {
            layer: self.graph.node(id).name.clone(),
            operator: "output".into(),
            reason,
            remedy,
        }));
    }

    /// The network without what does not lead to its result.
    fn model(self, name: String) -> Result<FloatModel, OnnxError> {
        let broken = |source| OnnxError::Graph { file: self.file.into(), source };
        let nodes = self.graph.nodes();
        let mut needed = BTreeSet::from([0, self.graph.output()]);
        for id in (0..nodes.len()).rev() {
            if needed.contains(&id) {
                needed.extend(&nodes[id].inputs);
            }
        }
        let mut graph = Graph::new(self.graph.rank(), nodes[0].shape).map_err(broken)?;
        let mut moved = BTreeMap::from([(0, 0)]);
        for &id in needed.iter().skip(1) {
            let inputs = nodes[id].inputs.iter().map(|input| moved[input]).collect();
            moved.insert(
                id,
                graph.push(nodes[id].name.clone(), nodes[id].op.clone(), inputs).map_err(broken)?,
            );
        }
        let weights =
            self.weights.into_iter().filter_map(|(id, layer)| Some((*moved.get(&id)?, layer))).collect();
        let scores = graph.node(graph.node(graph.output()).inputs[0]).shape.channels;
        let labels = Label::numbered(scores);
        let model = FloatModel { name, graph, weights, labels, preprocessing: serde_json::Value::Null };
        model.check().map_err(|source| OnnxError::Weights { file: self.file.into(), source })?;
        Ok(model)
    }
}

fn keeps_shape(operator: &str) -> bool {
    const KEEP: [&str; 12] = [
        "InstanceNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "Elu",
        "Selu",
        "Gelu",
        "HardSwish",
        "Mish",
        "Sigmoid",
        "Tanh",
        "Clip",
        "LRN",
    ];
    KEEP.contains(&operator)
}

fn constant(file: &Path, layer: &str, attributes: &Attributes<'_>) -> Result<Value, Stop> {
    if let Some(tensor) = attributes.tensor("value") {
        return Ok(Value::Constant(tensor?));
    }
    let scalar = |data| Tensor { dims: Vec::new(), data };
    let tensor = if attributes.has("value_int") {
        scalar(Data::Ints(vec![attributes.int("value_int", 0)]))
    } else if attributes.has("value_float") {
        scalar(Data::Floats(vec![attributes.float("value_float", 0.0)]))
    } else if let Some(values) = attributes.ints("value_ints") {
        Tensor::ints(values.to_vec())
    } else if let Some(values) = attributes.floats("value_floats") {
        Tensor { dims: vec![values.len()], data: Data::Floats(values.to_vec()) }
    } else {
        return Err(
            OnnxError::field(file, format!("node `{layer}`: value"), "the constant has no value").into()
        );
    };
    Ok(Value::Constant(tensor))
}

/// Rank and shape of the input: batch 1, extents from the user where given, else from the file.
fn input_shape(
    file: &Path,
    input: &ValueInfoProto,
    options: &ImportOptions,
) -> Result<(usize, Shape), OnnxError> {
    let field = || format!("graph.input `{}`", input.name);
    let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| OnnxError::field(file, field(), "it is no tensor"))?;
    if !matches!(tensor.elem_type, 1 | 10 | 11 | 16) {
        let reason = format!("element type {} where floats are expected", tensor.elem_type);
        return Err(OnnxError::field(file, field(), reason));
    }
    let dims = tensor.shape.as_ref().map(|shape| &shape.dim[..]).unwrap_or_default();
    if !(3..=5).contains(&dims.len()) {
        let reason =
            format!("{} axes where batch, channels and 1 to 3 spatial axes are expected", dims.len());
        return Err(OnnxError::field(file, field(), reason));
    }
    let rank = dims.len() - 2;
    if dims[0].dim_value.is_some_and(|batch| batch > 1) {
        return Err(OnnxError::field(file, field(), "a batch of several images; export with a batch of 1"));
    }
    let mut stated: Vec<Option<usize>> = dims[1..]
        .iter()
        .map(|dim| dim.dim_value.and_then(|value| usize::try_from(value).ok()).filter(|&n| n > 0))
        .collect();
    if let Some(wanted) = &options.input_shape {
        let skipped = (rank + 1).checked_sub(wanted.len()).filter(|&skipped| skipped <= 1);
        let Some(skipped) = skipped else {
            let reason = format!("{} extents stated for {rank} spatial axes", wanted.len());
            return Err(OnnxError::field(file, field(), reason));
        };
        wanted.iter().enumerate().for_each(|(axis, &extent)| stated[axis + skipped] = Some(extent));
    }
    let Some(known) = stated.iter().copied().collect::<Option<Vec<usize>>>() else {
        let name = |dim: &super::proto::DimensionProto| match (dim.dim_value, &dim.dim_param) {
            (Some(value), _) => value.to_string(),
            (None, Some(name)) => name.clone(),
            (None, None) => "?".into(),
        };
        let stated = dims.iter().map(name).collect::<Vec<_>>().join("×");
        let example = vec!["64"; rank].join("x");
        return Err(OnnxError::InputShape { file: file.into(), input: input.name.clone(), stated, example });
    };
    let mut extents = [1; 3];
    extents[3 - rank..].copy_from_slice(&known[1..]);
    Ok((rank, Shape { channels: known[0], dims: extents }))
}
