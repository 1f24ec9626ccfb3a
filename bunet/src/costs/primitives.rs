//! CPU time by primitive.

use super::{Party, Scale, phases};
use cli::{Align, Table};
use meter::Primitive;
use models::record::{Effort, LayerRecord, RunRecord};

/// A part of what a layer cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Offline,
    Online,
    Both,
}

impl Part {
    /// The effort of this part, where it is known.
    fn of(self, layer: &LayerRecord) -> Option<&Effort> {
        match self {
            Self::Offline => layer.phases.as_ref().map(|phases| &phases.offline.effort),
            Self::Online => layer.phases.as_ref().map(|phases| &phases.online.effort),
            Self::Both => Some(&layer.effort),
        }
    }
}

/// CPU seconds of both parties.
pub(crate) fn spent_by_both(effort: &Effort, primitive: Primitive) -> f64 {
    Party::BOTH.map(|party| party.spent(effort, primitive)).iter().sum()
}

/// A primitive's name, with the places where it may be broken.
fn heading(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Transform => "trans\u{ad}form",
        Primitive::Hadamard => "hada\u{ad}mard",
        Primitive::Evaluate => "eval\u{ad}uate",
        Primitive::Compare => "com\u{ad}pare",
        Primitive::Truncate => "trun\u{ad}cate",
        Primitive::Transport => "trans\u{ad}port",
        other => other.name(),
    }
}

/// CPU seconds by primitive, and what belongs to none.
fn split(effort: &Effort, party: Party, primitives: &[Primitive]) -> Vec<f64> {
    let parts: Vec<f64> = primitives.iter().map(|&primitive| party.spent(effort, primitive)).collect();
    let other = (party.cpu(effort) - parts.iter().sum::<f64>()).max(0.0);
    parts.into_iter().chain([other]).collect()
}

/// Per layer, one party's CPU seconds by primitive; nothing where the record does not know.
pub(crate) fn primitives_by_layer(run: &RunRecord, party: Party, part: Part) -> Option<Table> {
    let scale = Scale::of(run);
    let layers: Vec<(&str, &Effort)> =
        run.layers.iter().filter_map(|layer| Some((layer.name.as_str(), part.of(layer)?))).collect();
    let occurs =
        |primitive: &Primitive| layers.iter().any(|(_, effort)| scale.shows(party.spent(effort, *primitive)));
    let primitives: Vec<Primitive> = Primitive::ALL.into_iter().filter(occurs).collect();
    let mut columns = vec![("layer", Align::Left)];
    columns.extend(primitives.iter().map(|&primitive| (heading(primitive), Align::Right)));
    columns.extend([("other", Align::Right), ("all", Align::Right)]);
    let mut table = Table::new(&columns);
    let mut any = false;
    for (name, effort) in layers.into_iter().filter(|(_, effort)| scale.shows(party.cpu(effort))) {
        let seconds = split(effort, party, &primitives).into_iter().chain([party.cpu(effort)]);
        table.push(std::iter::once(name.to_owned()).chain(seconds.map(|s| scale.cell(s))).collect());
        any = true;
    }
    any.then_some(table)
}

/// CPU seconds by primitive: a row each, a column for each party in each phase.
pub(crate) fn primitives_by_phase(run: &RunRecord) -> Table {
    let scale = Scale::of(run);
    let places: Vec<(&str, &Effort, Party)> = phases(run)
        .into_iter()
        .flat_map(|(phase, effort)| Party::BOTH.map(|party| (phase, effort, party)))
        .collect();
    let heads: Vec<String> =
        places.iter().map(|(phase, _, party)| format!("{phase}\n{}", party.name())).collect();
    let mut columns = vec![("CPU seconds", Align::Left)];
    columns.extend(heads.iter().map(|head| (head.as_str(), Align::Right)));
    columns.push(("both,\nall phases", Align::Right));
    let mut table = Table::new(&columns);
    let mut row = |name: &str, seconds: Vec<f64>| {
        let total: f64 = seconds.iter().sum();
        if scale.shows(total) {
            let seconds = seconds.into_iter().chain([total]).map(|seconds| scale.cell(seconds));
            table.push(std::iter::once(name.to_owned()).chain(seconds).collect());
        }
    };
    let parts: Vec<Vec<f64>> =
        places.iter().map(|(_, effort, party)| split(effort, *party, &Primitive::ALL)).collect();
    for (i, primitive) in Primitive::ALL.into_iter().enumerate() {
        row(primitive.name(), parts.iter().map(|parts| parts[i]).collect());
    }
    row("other", parts.iter().map(|parts| parts[Primitive::ALL.len()]).collect());
    row("all", places.iter().map(|(_, effort, party)| party.cpu(effort)).collect());
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::record::{LayerPart, LayerPhases, PerParty};
    use std::collections::BTreeMap;

    fn effort(seconds: f64) -> Effort {
        let primitives = BTreeMap::from([("garble".to_owned(), seconds / 2.0)]);
        Effort {
            cpu_seconds: PerParty { alice: None, bob: Some(seconds) },
            primitives: PerParty { alice: None, bob: Some(primitives) },
            ..Effort::default()
        }
    }

    #[test]
    fn what_belongs_to_no_primitive_is_told() {
        let phases = LayerPhases {
            offline: LayerPart::default(),
            online: LayerPart { effort: effort(2.0), ..LayerPart::default() },
        };
        let layer =
            |phases| LayerRecord { name: "a".into(), effort: effort(2.0), phases, ..LayerRecord::default() };
        let run = |phases| RunRecord { layers: vec![layer(phases)], ..RunRecord::default() };
        let (old, new) = (run(None), run(Some(phases)));
        let row = "| a | 1.000 | 1.000 | 2.000 |";
        let shown = |run, part| primitives_by_layer(run, Party::Bob, part).map(|table| table.markdown());
        assert!(shown(&new, Part::Both).unwrap_or_default().contains(row));
        assert!(shown(&new, Part::Online).unwrap_or_default().contains(row));
        assert_eq!(shown(&new, Part::Offline), None);
        assert!(shown(&old, Part::Both).unwrap_or_default().contains(row));
        assert_eq!(shown(&old, Part::Online), None);
        assert!(primitives_by_layer(&new, Party::Alice, Part::Both).is_none());
    }
}
