//! Arithmetic on constants: the chains of `Constant`, `Shape`, `Slice`, `Reshape`, … that exporters leave around paddings.

use super::attributes::Attributes;
use super::tensor::{Data, Tensor};

/// Most values of a folded constant: such chains compute shapes and paddings, not images.
const MAX_FOLDED: usize = 1 << 16;

/// Evaluates an operator whose inputs are all constant; `None` where it is not among those that fold.
pub(super) fn fold(op: &str, attributes: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let x = inputs.first().copied().flatten();
    match op {
        "ConstantOfShape" => constant_of_shape(attributes, x?),
        "Identity" | "Dropout" => x.cloned(),
        "Cast" => cast(attributes, x?),
        "Concat" => concat(attributes, inputs),
        "Reshape" => reshape(x?, inputs.get(1).copied().flatten()?.as_ints()?),
        "Squeeze" if x?.len() == 1 => Some(Tensor { dims: Vec::new(), ..x?.clone() }),
        "Unsqueeze" | "Squeeze" if x?.dims.len() <= 1 => Some(Tensor { dims: vec![x?.len()], ..x?.clone() }),
        "Slice" => slice(attributes, inputs),
        "Transpose" => transpose(attributes, x?),
        "Expand" => expand(x?, inputs.get(1).copied().flatten()?.as_ints()?),
        "Tile" if x?.dims.len() == 1 => tile(x?, inputs.get(1).copied().flatten()?.as_ints()?),
        "Gather" => gather(attributes, x?, inputs.get(1).copied().flatten()?),
        "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" => {
            arithmetic(op, x?, inputs.get(1).copied().flatten()?)
        }
        "Floor" | "Ceil" | "Neg" => map(op, x?),
        "Shape" => Some(shape(attributes, &x?.dims)),
        "ReduceProd" => {
            Some(Tensor::ints(vec![x?.as_ints()?.iter().try_fold(1_i64, |n, &x| n.checked_mul(x))?]))
        }
        "Range" => range(inputs),
        _ => None,
    }
    .filter(|folded| folded.len() <= MAX_FOLDED)
}

fn constant_of_shape(attributes: &Attributes<'_>, shape: &Tensor) -> Option<Tensor> {
    let dims: Vec<usize> =
        shape.as_ints()?.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<_>>()?;
    let count =
        dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim)).filter(|&n| n <= MAX_FOLDED)?;
    let data = match attributes.tensor("value").map(|value| value.map(|value| value.data)) {
        None => Data::Floats(vec![0.0; count]),
        Some(Ok(Data::Ints(value))) => Data::Ints(vec![*value.first()?; count]),
        Some(Ok(Data::Floats(value))) => Data::Floats(vec![*value.first()?; count]),
        Some(Err(_)) => return None,
    };
    Some(Tensor { dims, data })
}

fn cast(attributes: &Attributes<'_>, x: &Tensor) -> Option<Tensor> {
    let data = match (attributes.int("to", 0), &x.data) {
        (1 | 10 | 11 | 16, _) => Data::Floats(x.to_floats()),
        (6 | 7, Data::Ints(values)) => Data::Ints(values.clone()),
        (6 | 7, Data::Floats(values)) => Data::Ints(values.iter().map(|&value| value as i64).collect()),
        _ => return None,
    };
    Some(Tensor { dims: x.dims.clone(), data })
}

/// Along axis 0, of integers or of floats.
fn concat(attributes: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    if inputs.iter().any(|input| input.is_some_and(|input| input.as_ints().is_none())) {
        let parts = inputs.iter().map(|input| input.filter(|input| input.dims.len() == 1));
        let parts: Vec<Vec<f32>> = parts.map(|part| part.map(Tensor::to_floats)).collect::<Option<_>>()?;
        let values = parts.concat();
        return Some(Tensor { dims: vec![values.len()], data: Data::Floats(values) });
    }
    let mut values = Vec::new();
    for input in inputs {
        let input = (*input)?;
        if input.dims.len() != 1 || !matches!(attributes.int("axis", 0), 0 | -1) {
            return None;
        }
        values.extend_from_slice(input.as_ints()?);
    }
    Some(Tensor::ints(values))
}

fn reshape(x: &Tensor, shape: &[i64]) -> Option<Tensor> {
    let known: usize =
        shape.iter().filter(|&&dim| dim > 0).try_fold(1_usize, |n, &dim| n.checked_mul(dim as usize))?;
    if shape.iter().any(|&dim| dim == 0 || dim < -1) || shape.iter().filter(|&&dim| dim == -1).count() > 1 {
        return None;
    }
    let dims: Vec<usize> =
        shape.iter().map(|&dim| if dim == -1 { x.len() / known } else { dim as usize }).collect();
    (dims.iter().product::<usize>() == x.len()).then(|| Tensor { dims, data: x.data.clone() })
}

/// Permutes values: `index` names, for each output value, the input value.
fn pick(x: &Tensor, dims: Vec<usize>, index: &[usize]) -> Option<Tensor> {
    let data = match &x.data {
        Data::Ints(values) => {
            Data::Ints(index.iter().map(|&i| values.get(i).copied()).collect::<Option<_>>()?)
        }
        Data::Floats(values) => {
            Data::Floats(index.iter().map(|&i| values.get(i).copied()).collect::<Option<_>>()?)
        }
    };
    Some(Tensor { dims, data })
}

/// Along axis 0 of a vector or matrix, with any step.
fn slice(attributes: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let x = (*inputs.first()?)?;
    let input = |index: usize, name: &str, default: i64| -> Option<i64> {
        match inputs.get(index).copied().flatten() {
            Some(tensor) => tensor.as_ints()?.first().copied(),
            None => Some(attributes.ints(name).and_then(|values| values.first().copied()).unwrap_or(default)),
        }
    };
    let (start, end) = (input(1, "starts", 0)?, input(2, "ends", i64::MAX)?);
    let (axis, step) = (input(3, "axes", 0)?, input(4, "steps", 1)?);
    let single =
        (1..5).all(|index| inputs.get(index).copied().flatten().is_none_or(|tensor| tensor.len() == 1));
    if axis != 0 || !single || step == 0 || x.dims.is_empty() {
        return None;
    }
    let rows = x.dims[0] as i64;
    let wrap = |at: i64| if at < 0 { at.saturating_add(rows) } else { at };
    let (low, high) = if step > 0 { (0, rows) } else { (-1, rows - 1) };
    let (start, end) = (wrap(start).clamp(low, high).max(0), wrap(end).clamp(low, high));
    let mut picked = Vec::new();
    let mut at = start;
    while (step > 0 && at < end) || (step < 0 && at > end) {
        picked.push(at as usize);
        at = at.saturating_add(step);
    }
    let width = x.len() / x.dims[0].max(1);
    let index: Vec<usize> = picked.iter().flat_map(|row| row * width..(row + 1) * width).collect();
    let mut dims = x.dims.clone();
    dims[0] = picked.len();
    pick(x, dims, &index)
}

/// Of a matrix.
fn transpose(attributes: &Attributes<'_>, x: &Tensor) -> Option<Tensor> {
    let [rows, columns] = x.dims[..] else { return None };
    if attributes.ints("perm").is_some_and(|perm| perm != [1, 0]) {
        return None;
    }
    let index: Vec<usize> = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).collect();
    pick(x, vec![columns, rows], &index)
}

/// The extents that a `Shape` yields: all, or those from `start` to `end`.
pub(super) fn shape(attributes: &Attributes<'_>, extents: &[usize]) -> Tensor {
    let rank = extents.len() as i64;
    let at = |name: &str, default: i64| {
        let at = attributes.int(name, default);
        (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize
    };
    let (start, end) = (at("start", 0), at("end", rank));
    Tensor::ints(extents[start..end.max(start)].iter().map(|&extent| extent as i64).collect())
}

/// Of two vectors of one length, or a vector and a single value; integers stay integers.
fn arithmetic(op: &str, a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let len = a.len().max(b.len());
    if [a, b].iter().any(|x| x.dims.len() > 1 || (x.len() != len && x.len() != 1)) {
        return None;
    }
    let dims = if a.dims.len() >= b.dims.len() { &a.dims } else { &b.dims };
    let dims = if dims.is_empty() { Vec::new() } else { vec![len] };
    let data = match (&a.data, &b.data) {
        (Data::Ints(a), Data::Ints(b)) => {
            let apply = |a: i64, b: i64| match op {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                "Min" => Some(a.min(b)),
                _ => Some(a.max(b)),
            };
            Data::Ints((0..len).map(|i| apply(a[i % a.len()], b[i % b.len()])).collect::<Option<_>>()?)
        }
        _ => {
            let (a, b) = (a.to_floats(), b.to_floats());
            let apply = |a: f32, b: f32| match op {
                "Add" => a + b,
                "Sub" => a - b,
                "Mul" => a * b,
                "Div" => a / b,
                "Min" => a.min(b),
                _ => a.max(b),
            };
            Data::Floats((0..len).map(|i| apply(a[i % a.len()], b[i % b.len()])).collect())
        }
    };
    Some(Tensor { dims, data })
}

fn map(op: &str, x: &Tensor) -> Option<Tensor> {
    let data = match (&x.data, op) {
        (Data::Floats(x), "Floor") => Data::Floats(x.iter().map(|x| x.floor()).collect()),
        (Data::Floats(x), "Ceil") => Data::Floats(x.iter().map(|x| x.ceil()).collect()),
        (Data::Floats(x), _) => Data::Floats(x.iter().map(|x| -x).collect()),
        (Data::Ints(x), "Neg") => Data::Ints(x.iter().map(|x| x.checked_neg()).collect::<Option<_>>()?),
        (Data::Ints(_), _) => return None,
    };
    Some(Tensor { dims: x.dims.clone(), data })
}

/// Integers from a start to a limit.
fn range(inputs: &[Option<&Tensor>]) -> Option<Tensor> {
    let at = |index: usize| inputs.get(index).copied().flatten()?.as_ints()?.first().copied();
    let (start, limit, step) = (at(0)?, at(1)?, at(2)?);
    let count = limit.checked_sub(start)?.checked_div(step)?;
    (step > 0 && (0..MAX_FOLDED as i64).contains(&count))
        .then(|| Tensor::ints((start..limit).step_by(step as usize).collect()))
}

/// Of single values of a vector.
fn gather(attributes: &Attributes<'_>, x: &Tensor, at: &Tensor) -> Option<Tensor> {
    if x.dims.len() != 1 || attributes.int("axis", 0) != 0 {
        return None;
    }
    let rows = x.len() as i64;
    let wrapped = at.as_ints()?.iter().map(|&i| usize::try_from(if i < 0 { i + rows } else { i }).ok());
    let index: Vec<usize> = wrapped.collect::<Option<_>>()?;
    pick(x, at.dims.clone(), &index)
}

/// Repeats axes of extent 1, and leading ones that are not there, up to a shape.
fn expand(x: &Tensor, shape: &[i64]) -> Option<Tensor> {
    let axes = x.dims.len().max(shape.len());
    let extent = |of: &[i64], at: usize| (at + of.len()).checked_sub(axes).map_or(1, |at| of[at]);
    let own: Vec<i64> = x.dims.iter().map(|&dim| dim as i64).collect();
    let (mut dims, mut index, mut stride) = (Vec::new(), vec![0], x.len());
    for at in 0..axes {
        let (from, to) = (extent(&own, at), extent(shape, at));
        if from < 1 || to < 1 || (from != to && from != 1 && to != 1) {
            return None;
        }
        let to = usize::try_from(from.max(to)).ok()?;
        stride /= from as usize;
        let step = if from == 1 { 0 } else { stride };
        if index.len().checked_mul(to)? > MAX_FOLDED {
            return None;
        }
        index = index.into_iter().flat_map(|start| (0..to).map(move |i| start + i * step)).collect();
        dims.push(to);
    }
    pick(x, dims, &index)
}

/// A vector several times over.
fn tile(x: &Tensor, repeats: &[i64]) -> Option<Tensor> {
    let [times] = repeats else { return None };
    let count = usize::try_from(*times).ok()?.checked_mul(x.len()).filter(|&n| n <= MAX_FOLDED)?;
    pick(x, vec![count], &(0..count).map(|i| i % x.len()).collect::<Vec<_>>())
}
