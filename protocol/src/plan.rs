//! From a public manifest and a configuration to a plan: what each layer does, with every parameter fixed.
//!
//! Each party derives the plan for itself; the handshake compares hashes. Deriving it
//!
//! 1. looks up the strategy of every layer;
//! 2. gives every edge a modulus: edges that no operator between them can convert share one, prime where one
//!    of their operators needs slots, else as the preset prefers;
//! 3. proves ranges: every edge's bound against its modulus, by the operator's own demand, or refuses the network
//!    naming layer, range and what would fit;
//! 4. fixes the parameters of every step, twice or more, since the flooding of each reply depends on the number of
//!    reply coefficients of the whole run.

use crate::PROTOCOL_VERSION;
use crate::config::{Config, Operator};
use crate::cost::{Cost, Flow};
use crate::error::PlanError;
use crate::keys::KeySpec;
use crate::ots::{Directions, Ledger};
use crate::store::keeps_transfers;
use crate::strategy::{Needs, STRATEGIES, Site, Step, Strategy, find, operator};
use models::{Manifest, NodeId, Op};
use ntt::Modulus;

/// One layer of the plan.
pub struct PlannedLayer {
    /// The node.
    pub id: NodeId,
    /// The operator it is.
    pub operator: Operator,
    /// The strategy's name.
    pub strategy: &'static str,
    /// Modulus of its value.
    pub modulus: Modulus,
    /// The step.
    pub step: Box<dyn Step>,
    /// Exact bulk bytes and rounds, OTs included.
    pub cost: Cost,
}

/// A network ready to run.
pub struct Plan {
    manifest: Manifest,
    config: Config,
    layers: Vec<PlannedLayer>,
    input_modulus: Modulus,
    hash: [u8; 32],
}

/// The strategy and the two edge classes of one node.
struct Choice {
    id: NodeId,
    operator: Operator,
    strategy: &'static dyn Strategy,
    engine: &'static dyn Strategy,
}

impl Plan {
    /// Derives the plan.
    pub fn derive(manifest: &Manifest, config: &Config) -> Result<Self, PlanError> {
        check_manifest(manifest, config)?;
        let choices = choose(manifest, config)?;
        let moduli = moduli(manifest, config, &choices)?;
        let mut run_coefficients = 1u64 << 20;
        let layers = loop {
            let layers = plan_layers(manifest, &choices, &moduli, run_coefficients)?;
            let replies: u64 = layers.iter().map(|layer| layer.step.reply_coefficients()).sum();
            if replies <= run_coefficients {
                break charge(layers, config);
            }
            run_coefficients = replies.next_power_of_two();
        };
        let hash = hash(manifest, config, &layers);
        let (manifest, config) = (manifest.clone(), config.clone());
        Ok(Self { manifest, config, layers, input_modulus: moduli[0], hash })
    }

    /// The public network.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What was asked for.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The layers in order, all nodes but the input.
    pub fn layers(&self) -> &[PlannedLayer] {
        &self.layers
    }

    /// Modulus of the input's shares.
    pub fn input_modulus(&self) -> Modulus {
        self.input_modulus
    }

    /// What both parties must agree on.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Whether Alice learns the scores of the last layer, and not the labels alone.
    pub fn opens_scores(&self) -> bool {
        self.layers.iter().any(|layer| layer.step.opens())
    }

    /// The distinct encryption keys that the steps need.
    pub fn keys(&self) -> Vec<KeySpec> {
        KeySpec::union(self.layers.iter().filter_map(|layer| layer.step.keys()))
    }

    /// The sources of oblivious transfers that the steps need.
    pub(crate) fn ot_directions(&self) -> Directions {
        let needs = self.layers.iter().map(|layer| Directions::of(&layer.step.ots()));
        needs.fold(Directions::default(), Directions::or)
    }

    /// Offline and online cost of all layers.
    pub fn cost(&self) -> Cost {
        self.layers.iter().map(|layer| layer.cost).sum()
    }

    /// Cost of the set-up: keys and base OTs.
    pub fn setup_cost(&self) -> Flow {
        let [keys, transfers] = crate::session::setup_cost(self);
        keys + transfers
    }

    /// What is left of the set-up in a run from a pool: transfers of a source that cannot be kept.
    pub fn pooled_setup_cost(&self) -> Flow {
        if keeps_transfers(self) { Flow::default() } else { crate::session::setup_cost(self)[1] }
    }
}

fn check_manifest(manifest: &Manifest, config: &Config) -> Result<(), PlanError> {
    let nodes = manifest.graph.nodes();
    if manifest.edges.len() != nodes.len() {
        return Err(PlanError::Manifest("it does not state one edge per layer".into()));
    }
    let bits = config.bits.unwrap_or(manifest.share_bits);
    if !(16..=40).contains(&bits) {
        return Err(PlanError::Bits(bits));
    }
    if let Some(unknown) = config.layers.keys().find(|&name| nodes.iter().all(|node| node.name != *name)) {
        return Err(PlanError::UnknownLayer(unknown.clone()));
    }
    for (id, node) in nodes.iter().enumerate() {
        let name = &node.name;
        if node.op.has_weights() != manifest.layers.contains_key(&id) {
            return Err(PlanError::Manifest(format!("layer `{name}` and its weights do not fit")));
        }
        if manifest.layers.get(&id).is_some_and(|layer| layer.weight_bits > 24) {
            return Err(PlanError::Manifest(format!("layer `{name}` has weights of more than 24 bits")));
        }
        if manifest.edges[id].bound > 1 << 40 {
            return Err(PlanError::Manifest(format!("layer `{name}` has values of more than 40 bits")));
        }
        if node.op.is_readout() != (id == manifest.graph.output()) {
            return Err(PlanError::Manifest(
                "the last layer, and no other, must be an argmax or threshold".into(),
            ));
        }
    }
    Ok(())
}

fn choose(manifest: &Manifest, config: &Config) -> Result<Vec<Choice>, PlanError> {
    let look_up = |operator: Operator, name: &str| {
        find(operator, name).ok_or_else(|| {
            let known = STRATEGIES.iter().filter(|strategy| strategy.operator() == operator);
            PlanError::UnknownStrategy {
                operator: operator.name().into(),
                name: name.into(),
                known: known.map(|strategy| strategy.name()).collect::<Vec<_>>().join(", "),
            }
        })
    };
    let mut choices = Vec::new();
    for (id, node) in manifest.graph.nodes().iter().enumerate() {
        let Some(operator) = operator(&node.op) else { continue };
        let strategy = look_up(operator, config.strategy(operator, &node.name))?;
        let engine = match operator {
            Operator::TransposedConvolution => {
                look_up(Operator::Convolution, config.strategy(Operator::Convolution, ""))?
            }
            _ => strategy,
        };
        choices.push(Choice { id, operator, strategy, engine });
    }
    Ok(choices)
}

/// Groups of edges that carry one modulus: a union-find over nodes.
struct Classes(Vec<usize>);

impl Classes {
    fn find(&self, mut id: usize) -> usize {
        while self.0[id] != id {
            id = self.0[id];
        }
        id
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// The modulus of every node's value.
fn moduli(manifest: &Manifest, config: &Config, choices: &[Choice]) -> Result<Vec<Modulus>, PlanError> {
    let graph = &manifest.graph;
    let mut classes = Classes((0..graph.nodes().len()).collect());
    for choice in choices {
        let inputs = &graph.node(choice.id).inputs;
        inputs[1..].iter().for_each(|&input| classes.union(inputs[0], input));
        if !choice.strategy.converts() {
            classes.union(inputs[0], choice.id);
        }
    }
    let mut prime = vec![config.preset.prefers_prime(); graph.nodes().len()];
    for choice in choices {
        if [choice.strategy, choice.engine].iter().any(|strategy| strategy.needs() == Needs::Prime) {
            prime[classes.find(choice.id)] = true;
            prime[classes.find(graph.node(choice.id).inputs[0])] = true;
        }
    }
    let is_prime = |id: NodeId| prime[classes.find(id)];
    let bits = config.bits.unwrap_or(manifest.share_bits);
    let power = Modulus::pow2(bits).map_err(|_| PlanError::Bits(bits))?;
    check_powers(manifest, choices, power, &is_prime)?;
    let shared = shared_prime(manifest, choices, bits, &is_prime)?;
    Ok((0..graph.nodes().len()).map(|id| if is_prime(id) { shared } else { power }).collect())
}

/// For every edge with its operators, the layer to name, the bound, and the least modulus that carries it.
fn demands(manifest: &Manifest, choices: &[Choice]) -> impl Iterator<Item = (NodeId, NodeId, u64, u64)> {
    choices.iter().flat_map(move |choice| {
        let node = manifest.graph.node(choice.id);
        let reads = node.inputs.iter().map(move |&input| {
            let bound = manifest.edges[input].bound;
            (input, choice.id, bound, choice.strategy.demand(&node.op, bound))
        });
        let own = manifest.edges[choice.id].bound;
        let value = (!node.op.is_readout()).then_some((choice.id, choice.id, own, 2 * own + 2));
        reads.chain(value)
    })
}

fn check_powers(
    manifest: &Manifest,
    choices: &[Choice],
    power: Modulus,
    is_prime: &impl Fn(NodeId) -> bool,
) -> Result<(), PlanError> {
    for (edge, layer, bound, least) in demands(manifest, choices) {
        if !is_prime(edge) && power.value() < least {
            let bits = least.next_power_of_two().trailing_zeros();
            return Err(PlanError::Range {
                layer: manifest.graph.node(layer).name.clone(),
                bound,
                modulus: power.to_string(),
                remedy: format!("shares of {bits} bits would fit"),
            });
        }
    }
    Ok(())
}

/// Widths of primes among which [`shared_prime`] chooses.
const WIDTHS: usize = 4;

/// The run's prime: of the asked-for bits where ranges allow, wider where they do not or where that pads spectra so much less
/// that wider shares are worth it.
fn shared_prime(
    manifest: &Manifest,
    choices: &[Choice],
    bits: u32,
    is_prime: &impl Fn(NodeId) -> bool,
) -> Result<Modulus, PlanError> {
    let widest = demands(manifest, choices).filter(|demand| is_prime(demand.0)).max_by_key(|demand| demand.3);
    let Some((_, layer, bound, least)) = widest else {
        return Modulus::pow2(bits).map_err(|_| PlanError::Bits(bits)); // no edge asks for a prime
    };
    let rotates = choices.iter().any(|choice| choice.strategy.name() == "rotation");
    let grids: Vec<_> = choices
        .iter()
        .filter(|choice| choice.engine.name() == "ensei")
        .filter_map(|choice| crate::linear::ensei::least_grid(manifest, choice.id, choice.strategy.name()))
        .collect();
    // Slots of a prime of more than 16 bits need the larger ring, or noise leaves no room for flooding.
    let degree = |bits: u32| if rotates || bits > 16 { 8192 } else { 4096 };
    let prime = |bits| {
        let (prime, volume) = crate::linear::ensei::prime(degree(bits), &grids, bits, least)?;
        Some((prime, volume * bits as usize))
    };
    let widths = (bits..=40).filter_map(prime).take(WIDTHS);
    widths.min_by_key(|&(_, work)| work).map(|(prime, _)| prime).ok_or_else(|| PlanError::Range {
        layer: manifest.graph.node(layer).name.clone(),
        bound,
        modulus: "any prime of at most 40 bits with slots".into(),
        remedy: "quantise with fewer fractional bits".into(),
    })
}

fn plan_layers(
    manifest: &Manifest,
    choices: &[Choice],
    moduli: &[Modulus],
    run_coefficients: u64,
) -> Result<Vec<PlannedLayer>, PlanError> {
    let graph = &manifest.graph;
    let plan = |choice: &Choice| {
        let node = graph.node(choice.id);
        let site = Site {
            id: choice.id,
            node,
            inputs: node.inputs.iter().map(|&input| graph.node(input).shape).collect(),
            input_edges: node.inputs.iter().map(|&input| manifest.edges[input]).collect(),
            edge: manifest.edges[choice.id],
            layer: manifest.layers.get(&choice.id).copied(),
            from: moduli[node.inputs[0]],
            to: moduli[choice.id],
            engine: choice.engine.name(),
            run_coefficients,
        };
        let step = choice.strategy.plan(&site).map_err(|refusal| PlanError::Refused {
            layer: node.name.clone(),
            strategy: choice.strategy.name().into(),
            reason: refusal.0,
        })?;
        Ok(PlannedLayer {
            id: choice.id,
            operator: choice.operator,
            strategy: choice.strategy.name(),
            modulus: moduli[choice.id],
            cost: step.cost(),
            step,
        })
    };
    choices.iter().map(plan).collect()
}

/// Adds the OTs' cost to every layer's own.
fn charge(mut layers: Vec<PlannedLayer>, config: &Config) -> Vec<PlannedLayer> {
    let mut ledger = Ledger::new(config.ot);
    for layer in &mut layers {
        layer.cost = layer.cost + ledger.charge(&layer.step.ots());
    }
    layers
}

fn hash(manifest: &Manifest, config: &Config, layers: &[PlannedLayer]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("bunet plan");
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(&PROTOCOL_VERSION.to_le_bytes());
    field(&manifest.hash());
    field(format!("{config:?}").as_bytes());
    for layer in layers {
        field(format!("{} {} {}", layer.id, layer.strategy, layer.modulus).as_bytes());
        field(layer.step.describe().as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Least modulus for an operator that reads values of this magnitude and adds its rounding constant.
pub(crate) fn plain_demand(op: &Op, bound: u64) -> u64 {
    let rounding = match *op {
        Op::Relu { shift } | Op::Truncate { shift } if shift > 0 => 1 << (shift - 1),
        _ => 0,
    };
    2 * (bound + rounding) + 2
}
