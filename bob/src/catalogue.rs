//! The networks on offer.

use cli::Failure;
use models::Model;
use protocol::session::Catalogue;
use std::path::PathBuf;

/// Networks with different names, and their manifests' hashes.
pub struct Models {
    models: Vec<(Model, [u8; 32])>,
    opens_scores: bool,
}

impl Models {
    /// Reads bundles.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Failure> {
        let load = |path: &PathBuf| models::bundle::load(path).map_err(Failure::input);
        Self::new(paths.iter().map(load).collect::<Result<_, _>>()?)
    }

    /// Offers these networks.
    pub fn new(models: Vec<Model>) -> Result<Self, Failure> {
        let mut offered: Vec<(Model, [u8; 32])> = Vec::new();
        for model in models {
            let name = &model.manifest.name;
            if offered.iter().any(|(other, _)| other.manifest.name == *name) {
                return Err(Failure::input(format!("two networks are called `{name}`; serve one of them")));
            }
            let hash = model.manifest.hash();
            offered.push((model, hash));
        }
        Ok(Self { models: offered, opens_scores: false })
    }

    /// Lets clients see scores, or not.
    pub fn opening_scores(self, opens_scores: bool) -> Self {
        Self { opens_scores, ..self }
    }
}

impl Catalogue for Models {
    fn by_name(&self, name: Option<&str>) -> Option<&Model> {
        let mut models = self.models.iter().map(|(model, _)| model);
        models.find(|model| name.is_none_or(|name| name == model.manifest.name))
    }

    fn by_hash(&self, hash: &[u8; 32]) -> Option<&Model> {
        self.models.iter().find(|(_, own)| own == hash).map(|(model, _)| model)
    }

    fn names(&self) -> Vec<String> {
        self.models.iter().map(|(model, _)| model.manifest.name.clone()).collect()
    }

    fn opens_scores(&self) -> bool {
        self.opens_scores
    }
}
