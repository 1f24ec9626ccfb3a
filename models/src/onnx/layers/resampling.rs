//! Padding, cropping, interpolation, choosing of channels: public linear maps along an axis, one per axis.

use super::refuse;
use crate::graph::{NodeId, Op};
use crate::onnx::OnnxError;
use crate::onnx::arrangement::Arrangement;
use crate::onnx::attributes::Attributes;
use crate::onnx::lower::{Importer, Post, Stop, Value};
use crate::onnx::proto::NodeProto;
use crate::onnx::tensor::Tensor;
use crate::resample::Resample;

/// Largest extent after padding or interpolation.
pub(super) const MAX_EXTENT: usize = 1 << 16;

impl<'a> Importer<'a> {
    /// Places one map after the other; their names end in the axis where there are several.
    pub(super) fn resample(&mut self, layer: &str, x: NodeId, maps: Vec<Resample>) -> Result<Value, Stop> {
        Ok(Value::Node(self.resampled(layer, x, maps)?, Post::None))
    }

    pub(super) fn resampled(
        &mut self,
        layer: &str,
        mut x: NodeId,
        maps: Vec<Resample>,
    ) -> Result<NodeId, Stop> {
        let count = maps.len();
        for (index, map) in maps.into_iter().enumerate() {
            let axis = ["channel", "depth", "height", "width"][map.axis];
            // The last one yields the layer's value and bears its name.
            let name = if index + 1 == count { layer.to_string() } else { format!("{layer}.{axis}") };
            x = self.push(&name, Op::Resample(map), vec![x])?;
        }
        Ok(x)
    }

    /// The graph's axis for one of ONNX's; `None` for the batch and what does not exist.
    pub(super) fn axis(&self, axis: i64) -> Option<usize> {
        let rank = self.graph.rank() as i64;
        match if axis < 0 { axis + rank + 2 } else { axis } {
            1 => Some(0),
            at if (2..rank + 2).contains(&at) => Some((at + 2 - rank) as usize),
            _ => None,
        }
    }

    pub(super) fn extent(&self, x: NodeId, axis: usize) -> usize {
        self.graph.node(x).shape.to_array()[axis]
    }

    /// The integers of a constant input, or of an attribute in files of older operator sets.
    fn stated(&self, node: &NodeProto, index: usize, attributes: &Attributes<'_>, name: &str) -> Stated {
        match node.input.get(index).filter(|input| !input.is_empty()) {
            None => attributes.ints(name).map_or(Stated::Absent, |values| Stated::Known(values.to_vec())),
            Some(_) => match self.constant(node, index).and_then(Tensor::as_ints) {
                Some(values) => Stated::Known(values.to_vec()),
                None => Stated::Computed,
            },
        }
    }

    /// Takes positions along each of ONNX's `axes`, which `positions` tells from the place in the list and the extent; where
    /// these are all there are, nothing is done. The batch must stay whole.
    fn pick(
        &mut self,
        layer: &str,
        x: NodeId,
        axes: &[i64],
        positions: impl Fn(usize, i64) -> Result<Vec<Option<usize>>, Stop>,
    ) -> Result<Value, Stop> {
        let mut maps = Vec::new();
        for (at, &axis) in axes.iter().enumerate() {
            let of_graph = self.axis(axis);
            let extent = of_graph.map_or(1, |axis| self.extent(x, axis));
            let taken = positions(at, extent as i64)?;
            if taken.iter().copied().eq((0..extent).map(Some)) {
                continue;
            }
            let Some(axis) = of_graph else {
                return refuse("it cuts or pads the batch", "export with a batch of one image");
            };
            maps.push(Resample::pick(axis, taken));
        }
        self.resample(layer, x, maps)
    }

    /// Along every axis but the batch; an all-zero padding falls away.
    pub(super) fn pad(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Stated::Known(pads) = self.stated(node, 1, attributes, "pads") else {
            return refuse("its padding is computed from the input", "export with a fixed input size");
        };
        if pads.iter().all(|&pad| pad == 0) {
            return self.pass(node);
        }
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let axes = self.stated(node, 3, attributes, "axes").or((0..self.graph.rank() as i64 + 2).collect());
        let value = match node.input.get(2).filter(|name| !name.is_empty()) {
            None => Some(attributes.float("value", 0.0)),
            Some(_) => self.constant(node, 2).and_then(|value| value.to_floats().first().copied()),
        };
        let (Some(axes), Some(value)) = (axes, value) else {
            return refuse("its axes or its value are computed from values", "export with constants folded");
        };
        let mode = attributes.text("mode", "constant");
        if mode == "constant" && value != 0.0 {
            return refuse(
                format!("it pads with {value}"),
                "pad with zeros, or repeat the edge (mode=\"replicate\")",
            );
        }
        if axes.len() * 2 != pads.len() {
            let reason = format!("{} extents for {} axes", pads.len(), axes.len());
            return Err(OnnxError::field(self.file, format!("node `{layer}`: pads"), reason).into());
        }
        self.pick(layer, x, &axes, |at, extent| {
            let (before, after) = (pads[at], pads[at + axes.len()]);
            let total = extent.saturating_add(before).saturating_add(after);
            if !(1..=MAX_EXTENT as i64).contains(&total) {
                return refuse(format!("it pads an extent of {extent} to {total}"), "check its pads");
            }
            let positions = (0..total).map(|at| padded(at - before, extent, &mode));
            match positions.collect() {
                Some(positions) => Ok(positions),
                None => refuse(
                    format!("mode {mode} with {before} and {after} on an extent of {extent}"),
                    "pad by less than the image's extent, by zeros, or by repeating the edge",
                ),
            }
        })
    }

    pub(super) fn slice(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let [starts, ends, axes, steps] = [(1, "starts"), (2, "ends"), (3, "axes"), (4, "steps")]
            .map(|(index, name)| self.stated(node, index, attributes, name));
        let computed = || refuse("its ends are computed from values", "export with a fixed input size");
        let (Stated::Known(starts), Stated::Known(ends)) = (starts, ends) else { return computed() };
        let axes = axes.or((0..starts.len() as i64).collect());
        let (Some(axes), Some(steps)) = (axes, steps.or(vec![1; starts.len()])) else { return computed() };
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
            let reason = "starts, ends, axes and steps do not fit each other";
            return Err(OnnxError::field(self.file, format!("node `{layer}`"), reason).into());
        }
        if self.is_flat(node, 0) {
            return refuse("it slices a vector", "slice channels or the image");
        }
        self.pick(layer, x, &axes, |at, extent| {
            let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
            let step = steps[at];
            let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
            let (start, end) = (from_end(starts[at]).clamp(low, high), from_end(ends[at]).clamp(low, high));
            let count = ((end - start) as f64 / step as f64).ceil().max(0.0) as i64;
            Ok((0..count).map(|i| usize::try_from(start + i * step).ok()).collect())
        })
    }

    pub(super) fn gather(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let stated = attributes.int("axis", 0);
        let axis = self.axis(stated).filter(|_| !self.is_flat(node, 0));
        let index = self.constant(node, 1).filter(|index| index.dims.len() <= 1);
        let (Some(axis), Some(index), Some(single)) =
            (axis, index.and_then(Tensor::as_ints), index.map(|index| index.dims.is_empty()))
        else {
            return refuse(
                "it takes out of the batch, or by a table",
                "take channels, or ranges of the image (x[:, 1:2])",
            );
        };
        let extent = self.extent(x, axis) as i64;
        let positions = index.iter().map(|&i| usize::try_from(if i < 0 { i + extent } else { i }).ok());
        let x = self.resampled(layer, x, vec![Resample::pick(axis, positions.collect::<Vec<_>>())])?;
        if !single {
            return Ok(Value::Node(x, Post::None));
        }
        // A single one leaves its axis out.
        let (rank, shape) = (self.graph.rank(), self.graph.node(x).shape);
        let mut dims = self.extents_of(x, false);
        dims.remove(usize::try_from(stated).unwrap_or((rank + 2).saturating_add_signed(stated as isize)));
        match Arrangement::image(x, shape.to_array(), rank).reshaped(&dims) {
            Some(arranged) => Ok(Value::Arranged(arranged, Post::None)),
            None => refuse("it drops an axis", "take ranges (x[:, 1:2])"),
        }
    }

    /// All parts but the first are entered as values here.
    pub(super) fn split(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let Some(axis) = self.axis(attributes.int("axis", 0)).filter(|_| !self.is_flat(node, 0)) else {
            return refuse("it splits the batch or a vector", "split channels or the image");
        };
        let (extent, parts) = (self.extent(x, axis), node.output.len().max(1));
        let even = extent.div_ceil(parts) as i64;
        let sizes = match self.stated(node, 1, attributes, "split") {
            Stated::Known(sizes) => sizes,
            Stated::Absent => (0..parts as i64).map(|part| even.min(extent as i64 - part * even)).collect(),
            Stated::Computed => {
                return refuse("its sizes are computed from values", "export with constants folded");
            }
        };
        let fits = sizes.iter().all(|&size| size > 0) && sizes.iter().sum::<i64>() == extent as i64;
        if !fits || sizes.len() != parts {
            let reason = format!("parts of {sizes:?} where {extent} is to be split into {parts}");
            return Err(OnnxError::field(self.file, format!("node `{layer}`: split"), reason).into());
        }
        let mut start = 0;
        let mut first = Value::Unknown;
        for (part, (size, output)) in sizes.into_iter().zip(&node.output).enumerate() {
            let positions = (start..start + size as usize).map(Some);
            start += size as usize;
            let value = self.resample(
                &if part == 0 { layer.to_string() } else { format!("{layer}.{part}") },
                x,
                vec![Resample::pick(axis, positions)],
            )?;
            if part == 0 {
                first = value;
            } else {
                self.set(output, value);
            }
        }
        Ok(first)
    }

    /// Nearest and linear interpolation, axis by axis.
    pub(super) fn resize(
        &mut self,
        node: &'a NodeProto,
        layer: &str,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Stop> {
        let old = node.op_type == "Upsample" || node.input.len() == 2;
        let floats = |index: usize| self.constant(node, index).filter(|t| t.len() > 0).map(Tensor::to_floats);
        let scales = match attributes.floats("scales") {
            Some(scales) => Some(scales.to_vec()),
            None => floats(if old { 1 } else { 2 }),
        };
        let sizes = if old { None } else { self.constant(node, 3).and_then(Tensor::as_ints) };
        let sizes = sizes.filter(|sizes| !sizes.is_empty()).map(<[i64]>::to_vec);
        let axes: Vec<i64> = match attributes.ints("axes") {
            Some(axes) => axes.to_vec(),
            None => (0..self.graph.rank() as i64 + 2).collect(),
        };
        let mode = attributes.text("mode", "nearest");
        let coordinates =
            attributes.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" });
        let rounding = attributes.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" });
        if let Err(reason) = check_resize(attributes, &mode, &coordinates, &rounding) {
            return refuse(
                reason,
                "upsample by nearest or linear interpolation, or by transposed convolution",
            );
        }
        let Some(x) = self.tensor(node, 0)? else { return Ok(Value::Unknown) };
        let mut maps = Vec::new();
        for (at, &axis) in axes.iter().enumerate() {
            let graph_axis = self.axis(axis);
            let extent = graph_axis.map_or(1, |axis| self.extent(x, axis));
            let (to, scale) = match (&sizes, &scales) {
                (Some(sizes), _) if sizes.len() == axes.len() => {
                    let to = usize::try_from(sizes[at]).unwrap_or(0);
                    (to, to as f32 / extent as f32)
                }
                (None, Some(scales)) if scales.len() == axes.len() => {
                    ((extent as f32 * scales[at]).floor() as usize, scales[at])
                }
                _ => {
                    return refuse(
                        "its size is computed from the image",
                        "export with a fixed input size, or upsample by a fixed factor",
                    );
                }
            };
            if to == extent && scale == 1.0 {
                continue;
            }
            let Some(axis) = graph_axis.filter(|&axis| axis > 0 && (1..=MAX_EXTENT).contains(&to)) else {
                return refuse(format!("it resizes axis {axis} to {to}"), "resize the image alone");
            };
            let place = Place { extent, to, scale, coordinates: &coordinates };
            maps.push(if mode == "nearest" { place.nearest(axis, &rounding) } else { place.linear(axis) });
        }
        self.resample(layer, x, maps)
    }
}

/// Integers that a node may state as a constant input or attribute.
enum Stated {
    Absent,
    Computed,
    Known(Vec<i64>),
}

impl Stated {
    /// What is stated, or the default; `None` where it is computed.
    fn or(self, default: Vec<i64>) -> Option<Vec<i64>> {
        match self {
            Self::Known(values) => Some(values),
            Self::Absent => Some(default),
            Self::Computed => None,
        }
    }
}

/// Where a padded position comes from: `Some(None)` for a zero, `None` where the mode does not reach so far.
#[expect(clippy::option_option, reason = "nowhere differs from a zero")]
fn padded(at: i64, extent: i64, mode: &str) -> Option<Option<usize>> {
    let inside = (0..extent).contains(&at);
    let from = match mode {
        _ if inside => at,
        "constant" => return Some(None),
        "edge" => at.clamp(0, extent - 1),
        "reflect" => {
            let mirrored = if at < 0 { -at } else { 2 * (extent - 1) - at };
            (0..extent).contains(&mirrored).then_some(mirrored)?
        }
        "wrap" => at.rem_euclid(extent),
        _ => return None,
    };
    Some(usize::try_from(from).ok())
}

/// What of ONNX's interpolations is known here.
fn check_resize(
    attributes: &Attributes<'_>,
    mode: &str,
    coordinates: &str,
    rounding: &str,
) -> Result<(), String> {
    const COORDINATES: [&str; 5] =
        ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"];
    const ROUNDINGS: [&str; 4] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"];
    let aspect = attributes.text("keep_aspect_ratio_policy", "stretch");
    if !["nearest", "linear"].contains(&mode) {
        Err(format!("{mode} interpolation"))
    } else if !COORDINATES.contains(&coordinates) || !ROUNDINGS.contains(&rounding) {
        Err(format!("interpolation with {coordinates} coordinates, {rounding}"))
    } else if attributes.int("antialias", 0) != 0 {
        Err("interpolation with antialiasing".into())
    } else if aspect != "stretch" {
        Err(format!("interpolation that keeps the aspect ratio ({aspect})"))
    } else {
        Ok(())
    }
}

/// Interpolation along one axis, as ONNX's `Resize` defines it.
struct Place<'a> {
    extent: usize,
    to: usize,
    scale: f32,
    coordinates: &'a str,
}

impl Place<'_> {
    /// Where position `i` of the result lies in the input; `scale` as the input's extent over the result's.
    fn source(&self, i: usize, scale: f64) -> f64 {
        let (i, extent, to) = (i as f64, self.extent as f64, self.to as f64);
        match self.coordinates {
            "asymmetric" => i / scale,
            "align_corners" if self.to > 1 => i * (extent - 1.0) / (to - 1.0),
            "align_corners" => 0.0,
            "pytorch_half_pixel" if self.to == 1 => 0.0,
            "half_pixel_symmetric" => {
                let adjusted = to / (scale * extent);
                extent / 2.0 * (1.0 - adjusted) + (i + 0.5) / scale - 0.5
            }
            _ => (i + 0.5) / scale - 0.5,
        }
    }

    fn nearest(&self, axis: usize, rounding: &str) -> Resample {
        let position = |i: usize| {
            // In single precision, as runtimes do: halves must fall alike.
            let x = self.source(i, f64::from(self.scale)) as f32;
            let rounded = match rounding {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            };
            Some((rounded.max(0.0) as usize).min(self.extent - 1))
        };
        Resample::pick(axis, (0..self.to).map(position))
    }

    fn linear(&self, axis: usize) -> Resample {
        let last = self.extent - 1;
        // A scale that was rounded to a float is the quotient of the extents.
        let quotient = self.to as f64 / self.extent as f64;
        let stated = f64::from(self.scale);
        let scale = if (quotient / stated - 1.0).abs() < 1e-6 { quotient } else { stated };
        let row = |i: usize| {
            let x = self.source(i, scale).clamp(0.0, last as f64);
            let low = (x.floor() as usize).min(last);
            let part = x - low as f64;
            if part == 0.0 { vec![(low, 1.0)] } else { vec![(low, 1.0 - part), (low + 1, part)] }
        };
        Resample::from_coefficients(axis, &(0..self.to).map(row).collect::<Vec<_>>())
    }
}
