//! Progress per layer with the time left: a bar on a terminal, plain lines elsewhere.

use cli::seconds;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::Plan;
use protocol::engine::{Measure, Observer, Phase, is_local};
use protocol::plan::PlannedLayer;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Steps of the bar.
const STEPS: u64 = 1000;

/// Shows how a run goes.
pub(crate) struct Progress {
    show: Show,
    /// Per layer: name, whether it is worth a line, expected share of the work.
    layers: Vec<(String, bool, f64)>,
    patches: usize,
    patch: usize,
    /// Which scan of how many.
    case: Option<(usize, usize)>,
    /// Work done, of all patches.
    done: f64,
    /// Work done, and when, at the first layer's start.
    start: Instant,
}

enum Show {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// Progress of `patches` runs of a plan.
    pub(crate) fn new(plan: &Plan, patches: usize, quiet: bool) -> Self {
        let show = match (quiet, stderr().is_terminal()) {
            (true, _) => Show::Nothing,
            (false, true) => Show::Bar(bar()),
            (false, false) => Show::Lines,
        };
        let graph = &plan.manifest().graph;
        let work: Vec<f64> = plan.layers().iter().map(|layer| work(plan, layer)).collect();
        let total = work.iter().sum::<f64>().max(f64::MIN_POSITIVE) * patches as f64;
        let layers = plan.layers().iter().zip(work).map(|(layer, work)| {
            let node = graph.node(layer.id);
            (node.name.clone(), !is_local(&node.op), work / total)
        });
        Self {
            show,
            layers: layers.collect(),
            patches,
            patch: 0,
            case: None,
            done: 0.0,
            start: Instant::now(),
        }
    }

    /// Of one scan of several: the bar tells which; elsewhere a line per layer would be too much.
    pub(crate) fn of_case(mut self, case: (usize, usize)) -> Self {
        if let Show::Lines = self.show {
            self.show = Show::Nothing;
        }
        self.case = Some(case);
        self
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.finish_and_clear();
        }
    }

    /// Time left, once enough is done to tell.
    fn left(&self) -> Option<f64> {
        let elapsed = self.start.elapsed().as_secs_f64();
        (self.done > 0.01).then(|| elapsed * (1.0 - self.done).max(0.0) / self.done)
    }

    /// The same in words, no more precise than it is.
    fn left_words(&self) -> String {
        match self.left().map(f64::ceil) {
            None => String::new(),
            Some(left @ ..120.0) => format!(", about {left} s left"),
            Some(left) => format!(", about {} min left", (left / 60.0).round()),
        }
    }

    /// `, scan 3/5, patch 2/9`, where there are several.
    fn of_patch(&self) -> String {
        let case = self.case.map_or_else(String::new, |(number, of)| format!(", scan {number}/{of}"));
        let several = self.patches > 1;
        let patch = if several { format!(", patch {}/{}", self.patch, self.patches) } else { String::new() };
        case + &patch
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:32}] {percent:>3}%  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Expected seconds of a layer on some machine; only ratios matter: bytes through the channel, for linear layers one
/// pass of homomorphic products over all pairs of channels, and oblivious transfers by the value.
fn work(plan: &Plan, layer: &PlannedLayer) -> f64 {
    let graph = &plan.manifest().graph;
    let node = graph.node(layer.id);
    let total = layer.cost.total();
    let bytes = (total.alice_to_bob + total.bob_to_alice) as f64;
    let values = node.shape.len() as f64;
    let inputs = node.inputs.first().map_or(0, |&id| graph.node(id).shape.channels);
    let products = if node.op.has_weights() { inputs as f64 * values } else { 0.0 };
    let transfers = if layer.step.ots().is_empty() { 0.0 } else { values };
    2e-9 * bytes + 30e-9 * products + 2e-6 * transfers + 1e-3
}

impl Observer for Progress {
    fn phase(&mut self, phase: Phase) {
        let text = match phase {
            Phase::Setup => {
                self.patch += 1;
                "setting up keys and oblivious transfer"
            }
            Phase::Resume => {
                self.patch += 1;
                "taking what was prepared"
            }
            Phase::Offline => "preparing, before the scan is used",
            Phase::Online => {
                if self.patch == 1 {
                    self.start = Instant::now();
                }
                return;
            }
        };
        match &self.show {
            Show::Bar(bar) => bar.set_message(format!("{text}{}", self.of_patch())),
            Show::Lines => eprintln!("{text}{}", self.of_patch()),
            Show::Nothing => {}
        }
    }

    fn layer(&mut self, index: usize, _layer: &PlannedLayer) {
        let (name, worth, _) = &self.layers[index];
        if let (Show::Bar(bar), true) = (&self.show, worth) {
            let left = self.left_words();
            bar.set_message(format!("{name} ({}/{}{}{left})", index + 1, self.layers.len(), self.of_patch()));
        }
    }

    fn done(&mut self, index: usize, measure: &Measure) {
        let (name, worth, share) = &self.layers[index];
        self.done += share;
        let left = self.left_words();
        match &self.show {
            Show::Bar(bar) => bar.set_position((self.done * STEPS as f64) as u64),
            Show::Lines if *worth => eprintln!(
                "layer {}/{}{} {name}: {}{left}",
                index + 1,
                self.layers.len(),
                self.of_patch(),
                seconds(measure.seconds)
            ),
            _ => {}
        }
    }
}
