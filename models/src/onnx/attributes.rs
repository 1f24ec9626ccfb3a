//! An operator's attributes, with the defaults of the standard.

use super::OnnxError;
use super::proto::{AttributeProto, NodeProto};
use super::tensor::Tensor;
use std::path::Path;

/// The attributes of one node.
pub(super) struct Attributes<'a> {
    file: &'a Path,
    attributes: &'a [AttributeProto],
}

impl<'a> Attributes<'a> {
    pub(super) fn of(file: &'a Path, node: &'a NodeProto) -> Self {
        Self { file, attributes: &node.attribute }
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| &attribute.ints[..])
    }

    pub(super) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.find(name).map(|attribute| &attribute.floats[..])
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> String {
        self.find(name).map_or(default.into(), |attribute| String::from_utf8_lossy(&attribute.s).into_owned())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Result<Tensor, OnnxError>> {
        let tensor = self.find(name)?.t.as_ref()?;
        Some(Tensor::decode(self.file, tensor))
    }
}
