//! Convolution by coefficient packing: the product polynomial holds the convolution.
//!
//! Functionality: from shares of a stencil's input mod m to shares of its output mod m (any modulus); Bob holds the
//! weights. Cheetah (ePrint 2022/207, section 3.1) with the stream packing of [`super::layout`]; sums and products are
//! taken in the NTT domain mod q (ENSEI, arXiv 2003.05328: Hadamard products in the frequency domain), weights are
//! transformed on the fly and serve every window of a group.
//!
//! ```text
//!   Alice (x_A)                                   Bob (x_B, w)
//!   per group of windows, per window, per input polynomial:
//!   [x_A]                       --ciphertext-->   [x_A] ⊞ x_B
//!                                                 per block of output polynomials: Σ_i [x]_i ⊙ w_io
//!   decrypts y + r              <--sanitised--    y_B = −r
//! ```
//!
//! Windows form groups that share one transform of the weights; uploads of later groups travel while earlier ones
//! are computed. Where all windows make one small group, weights are multiplied as they are transformed and not kept.
//! Filters of one tap need no transform (`ntt::mac::flat`).
//! Memory: one group of ciphertexts and one block of weights, whatever the number of windows.
//! Security: Alice's uploads are RLWE encryptions; every reply is sanitised (`pahe::Sanitiser`) with a flooding width
//! from public bounds and the whole run's number of values.
//! Cost: 16 B + windows · input polynomials · ciphertext bytes up; reply bytes of every window and output polynomial down;
//! one round.

use super::layout::{Layout, Slot};
use super::stencil::{Stencil, StencilWeights};
use super::{Demand, Engine};
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::party::{Alice, Bob};
use crate::report::STATISTICAL_BITS;
use crate::strategy::Refusal;
use channels::{Rx, Tx};
use meter::Primitive;
use pahe::{
    Accumulators, CiphertextBlock, Decryptor, Encryptor, Noise, OnceSums, Params, Positions, ReplyFormat,
    ReplyJob, RunBudget, Sanitiser, Unsanitised, UploadFormat, UploadStream, WeightBlock, WeightNorm,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes of transformed ciphertexts up to which all windows may form one group: each weight is then transformed once, and a
/// small block of weights is enough.
const ONE_GROUP: usize = 512 << 20;
/// Bytes of weights in a block that serves one group only.
const WEIGHT_BLOCK: usize = 128 << 20;
/// Bytes of transformed weights that may be kept for all groups otherwise,
const WEIGHTS: usize = 768 << 20;
/// with this many windows in a group;
const GROUP: usize = 8;
/// and bytes of ciphertexts in a group where even the weights are too many.
const CIPHERTEXTS: usize = 1 << 30;
/// Bytes of the sums of a block of output polynomials, which become its replies.
const SUMS: usize = 32 << 20;

/// One stencil, packed, with ciphertext parameters fixed.
pub(crate) struct CoefficientEngine {
    layout: Layout,
    keys: KeySpec,
    params: Arc<Params>,
    upload: UploadFormat,
    reply: ReplyFormat,
    /// Windows per group.
    tiles: usize,
    /// Output polynomials per block of weights.
    block: usize,
    /// Whether there are so few windows that weights are better forgotten than kept.
    once: bool,
    /// Terms of the filters, where they are so few that no filter needs a transform.
    flat_terms: Option<usize>,
    /// Per window, where inputs go and outputs stand.
    inputs: Vec<Vec<Slot>>,
    outputs: Vec<Vec<Slot>>,
}

/// The formats of uploads and replies for a computation that turns an upload's noise into `noise` of it: as many upload
/// bits dropped as leave room for the flooding.
pub(crate) fn formats(
    params: &Params,
    noise: impl Fn(Noise) -> Noise,
    run_coefficients: u64,
) -> Result<(UploadFormat, ReplyFormat), Refusal> {
    let budget = RunBudget { statistical_bits: STATISTICAL_BITS, ..RunBudget::standard(run_coefficients) };
    let attempt = |drop_bits: u32| {
        let upload = UploadFormat::new(params, drop_bits)?;
        let noise = noise(Noise::fresh(upload).with_share());
        Ok::<_, pahe::ParamError>((upload, ReplyFormat::new(params, &budget, noise)?))
    };
    let full = attempt(0).map_err(|error| Refusal(error.to_string()))?;
    Ok((1..40).map_while(|drop_bits| attempt(drop_bits).ok()).last().unwrap_or(full))
}

impl CoefficientEngine {
    pub(crate) fn plan(stencil: Stencil, demand: &Demand) -> Result<Self, Refusal> {
        let mut refusal = Refusal("no parameter set fits".into());
        // Several outputs per polynomial mean more noise: rather one than a larger ring.
        for (degree, limbs, most_unfold) in [(4096, 2, usize::MAX), (4096, 2, 1), (8192, 3, usize::MAX)] {
            let Some(layout) = Layout::new(&stencil, degree, most_unfold) else {
                refusal = Refusal(format!("its kernel spans more than {degree} coefficients"));
                continue;
            };
            let keys = KeySpec::plain(degree, limbs, demand.modulus);
            let params = keys.params().map_err(|error| Refusal(error.to_string()))?;
            let norm = WeightNorm::coefficients((1 << demand.weight_bits) - 1, layout.terms());
            match formats(&params, |noise| noise.times(norm), demand.run_coefficients) {
                Ok((upload, reply)) => return Ok(Self::with(layout, keys, params, upload, reply)),
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    fn with(
        layout: Layout,
        keys: KeySpec,
        params: Arc<Params>,
        upload: UploadFormat,
        reply: ReplyFormat,
    ) -> Self {
        let polynomial = 8 * params.words();
        let (inputs, outputs) = (layout.input_groups(), layout.output_groups());
        let windows = layout.windows();
        let flat_terms = layout.filter_terms().filter(|_| layout.is_flat());
        let once = layout.is_once();
        // Kernels take outputs two at a time.
        let fitting = |bytes: usize, each: usize| ((bytes / each).max(2) / 2 * 2).min(outputs);
        let weightless = once || flat_terms.is_some();
        let block = |tiles: usize| {
            let weights = if weightless { outputs } else { fitting(WEIGHT_BLOCK, polynomial * inputs) };
            weights.min(fitting(SUMS, 2 * polynomial * tiles))
        };
        let ciphertexts = |tiles: usize| 2 * polynomial * inputs * tiles;
        let even = |tiles: usize| windows.div_ceil(windows.div_ceil(tiles));
        let (all_weights, group) = (polynomial * inputs * outputs, even(GROUP));
        let keeps = !once && all_weights <= WEIGHTS;
        let one = once || ciphertexts(windows) <= ONE_GROUP;
        // Fresh memory is dear, so the smaller of the two that transform each weight once.
        let (tiles, block) = if flat_terms.is_some() {
            (group, block(group))
        } else if keeps && (!one || ciphertexts(windows) > ciphertexts(group) + all_weights) {
            (group, outputs)
        } else if one {
            (windows, block(windows))
        } else {
            let tiles = even((CIPHERTEXTS / ciphertexts(1)).max(1));
            (tiles, block(tiles))
        };
        let (slots_in, slots_out) = (layout.input_slots(), layout.output_slots());
        let (inputs, outputs) = (slots_in, slots_out);
        Self { layout, keys, params, upload, reply, tiles, block, once, flat_terms, inputs, outputs }
    }

    /// Groups of windows, in the order in which they travel.
    fn groups(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let windows = self.layout.windows();
        (0..windows).step_by(self.tiles).map(move |start| start..(start + self.tiles).min(windows))
    }

    /// Blocks of output polynomials.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let outputs = self.layout.output_groups();
        (0..outputs).step_by(self.block).map(move |start| start..(start + self.block).min(outputs))
    }

    /// Where output polynomials of a window hold results, channel by channel: all of the list, or as much of it as there are
    /// channels in the last.
    fn positions(&self, window: usize) -> Vec<u32> {
        let channels = self.layout.outputs_of(0).len();
        let shift = |o: usize| (o * self.layout.output_stride()) as u32;
        let slots = &self.outputs[window];
        (0..channels).flat_map(|o| slots.iter().map(move |slot| slot.coefficient + shift(o))).collect()
    }

    /// Values in the reply of one output polynomial of a window.
    fn reply_len(&self, window: usize, output: usize) -> usize {
        self.outputs[window].len() * self.layout.outputs_of(output).len()
    }

    /// Bytes of one block of replies.
    fn reply_bytes(&self, group: &Range<usize>, block: &Range<usize>) -> usize {
        let pairs = group.clone().flat_map(|window| block.clone().map(move |output| (window, output)));
        pairs.map(|(w, o)| self.reply.reply_bytes(&self.params, self.reply_len(w, o))).sum()
    }

    /// Puts the results of one block of replies, window by window and output by output, into place.
    fn scatter(&self, group: &Range<usize>, block: &Range<usize>, values: &[u64], out: &mut [u64]) {
        let volume = super::volume(self.layout.stencil());
        let unfold = self.layout.outputs_of(0).len();
        let mut starts = Vec::with_capacity(group.len());
        let mut start = 0;
        for window in group.clone() {
            starts.push(start);
            start += block.clone().map(|output| self.reply_len(window, output)).sum::<usize>();
        }
        let first = block.start * unfold;
        let channels = out.par_chunks_mut(volume).skip(first).take(block.len() * unfold);
        channels.enumerate().for_each_init(
            || meter::scope(Primitive::Local),
            |_, (channel, out)| {
                for (window, start) in group.clone().zip(&starts) {
                    let slots = &self.outputs[window];
                    let values = &values[start + channel * slots.len()..][..slots.len()];
                    slots.iter().zip(values).for_each(|(slot, &value)| out[slot.voxel as usize] = value);
                }
            },
        );
    }

    fn send_uploads(
        &self,
        mut encryptor: Encryptor,
        input: &[u64],
        tx: &mut Tx,
    ) -> Result<(), ProtocolError> {
        tx.send(&encryptor.stream().header())?;
        let polynomials = self.layout.input_groups();
        let mut bytes = Vec::new();
        for group in self.groups() {
            for window in group {
                bytes.clear();
                let fill = |i: usize, out: &mut [u64]| self.layout.pack(&self.inputs[window], i, input, out);
                encryptor.encrypt(polynomials, fill, &mut bytes);
                tx.send(&bytes)?;
            }
            tx.flush()?;
        }
        Ok(())
    }

    fn receive_replies(&self, decryptor: &Decryptor, rx: &mut Rx) -> Result<Vec<u64>, ProtocolError> {
        let mut out = vec![0; self.layout.stencil().output.len()];
        let mut values = Zeroizing::new(Vec::new());
        for group in self.groups() {
            for block in self.blocks() {
                let bytes = rx.recv(self.reply_bytes(&group, &block))?;
                let lists: Vec<_> = group.clone().map(|window| self.positions(window)).collect();
                values.clear();
                decryptor.decrypt(&bytes, &self.listed(&group, &block, &lists), &mut values)?;
                self.scatter(&group, &block, &values, &mut out);
            }
        }
        Ok(out)
    }

    /// The positions of one block of replies, from those of its windows.
    fn listed<'p>(
        &self,
        group: &Range<usize>,
        block: &Range<usize>,
        lists: &'p [Vec<u32>],
    ) -> Vec<Positions<'p>> {
        let pairs = group.clone().zip(lists).flat_map(|pair| block.clone().map(move |output| (pair, output)));
        let listed = |((window, list), output): ((usize, &'p Vec<u32>), usize)| {
            Positions::List(&list[..self.reply_len(window, output)])
        };
        pairs.map(listed).collect()
    }
}

impl Engine for CoefficientEngine {
    fn describe(&self) -> String {
        let Self { layout, keys, upload, reply, tiles, block, .. } = self;
        format!("coefficient {layout:?} {keys:?} {upload:?} {reply:?} {tiles} {block}")
    }

    fn cost(&self) -> Cost {
        let ciphertexts = self.layout.windows() * self.layout.input_groups();
        let up = UploadStream::HEADER_BYTES + ciphertexts * self.upload.ciphertext_bytes(&self.params);
        let mut down = 0;
        for slots in &self.outputs {
            for output in 0..self.layout.output_groups() {
                let valid = slots.len() * self.layout.outputs_of(output).len();
                down += self.reply.reply_bytes(&self.params, valid);
            }
        }
        Cost::online(up as u64, down as u64, 1)
    }

    fn keys(&self) -> KeySpec {
        self.keys.clone()
    }

    fn reply_coefficients(&self) -> u64 {
        self.layout.stencil().output.len() as u64
    }

    fn memory(&self) -> u64 {
        let polynomial = 8 * self.params.words();
        let inputs = self.layout.input_groups();
        let kept = if self.once || self.flat_terms.is_some() { 0 } else { inputs * self.block };
        // A ciphertext is a pair of polynomials, a sum a pair of double words.
        (polynomial * (2 * self.tiles * inputs + kept + 4 * self.tiles * self.block)) as u64
    }

    fn alice(&self, alice: &mut Alice, input: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let key = alice.key(&self.keys)?;
        let encryptor = Encryptor::new(&key, self.upload, &mut alice.prg);
        let decryptor = Decryptor::new(&key, self.reply);
        alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| self.send_uploads(encryptor, input, tx));
                let output = self.receive_replies(&decryptor, rx);
                // The thread that failed first has the reason; the other only sees the channel end.
                match uploads.join() {
                    Ok(sent) => sent.and(output),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })
    }

    fn bob(&self, bob: &mut Bob, weights: &StencilWeights, input: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let mut product = Product {
            engine: self,
            weights,
            input,
            sanitiser,
            bytes: Vec::new(),
            shares: Zeroizing::default(),
            out: vec![0; self.layout.stencil().output.len()],
        };
        let buffers = &mut bob.buffers;
        bob.channel.stream(|tx, rx| {
            let mut header = [0; UploadStream::HEADER_BYTES];
            rx.recv_into(&mut header)?;
            let stream = UploadStream::from_header(&self.params, self.upload, header);
            if self.once {
                product.once(&stream, buffers, tx, rx)
            } else {
                product.kept(&stream, buffers, tx, rx)
            }
        })?;
        Ok(product.out)
    }
}

/// Bob's blocks, kept from layer to layer: fresh memory costs as much as filling it.
#[derive(Default)]
pub struct Buffers {
    once: Option<OnceSums>,
    kept: Option<(CiphertextBlock, WeightBlock, Accumulators)>,
}

/// Bob's half of one layer.
struct Product<'a> {
    engine: &'a CoefficientEngine,
    weights: &'a StencilWeights,
    input: &'a [u64],
    sanitiser: Sanitiser,
    bytes: Vec<u8>,
    shares: Zeroizing<Vec<u64>>,
    out: Vec<u64>,
}

impl Product<'_> {
    /// One group of few windows: weights are multiplied as they are transformed.
    fn once(
        &mut self,
        stream: &UploadStream,
        buffers: &mut Buffers,
        tx: &mut Tx,
        rx: &mut Rx,
    ) -> Result<(), ProtocolError> {
        let CoefficientEngine { layout, params, tiles, block, inputs, .. } = self.engine;
        let polynomials = layout.input_groups();
        let sums = buffers.once.get_or_insert_with(|| OnceSums::new(params, *tiles, polynomials, *block));
        sums.reshape(params, *tiles, polynomials, *block);
        for (window, slots) in inputs.iter().enumerate() {
            let bytes = rx.recv(polynomials * stream.ciphertext_bytes())?;
            let share = |i: usize, out: &mut [u64]| layout.pack(slots, i, self.input, out);
            sums.ingest(stream, (window * polynomials) as u64, &bytes, window, Some(&share))?;
        }
        for block in self.engine.blocks() {
            sums.compute(block.clone(), |i, o, out| layout.filter(self.weights, o, i, out));
            let source = |window, output| sums.sum(window, output - block.start);
            self.reply(&(0..*tiles), &block, &source, tx)?;
        }
        Ok(())
    }

    /// Groups of windows that share one transform of the weights.
    fn kept(
        &mut self,
        stream: &UploadStream,
        buffers: &mut Buffers,
        tx: &mut Tx,
        rx: &mut Rx,
    ) -> Result<(), ProtocolError> {
        let CoefficientEngine { layout, params, tiles, block, inputs, .. } = self.engine;
        let polynomials = layout.input_groups();
        let (ciphertexts, filters, sums) = buffers.kept.get_or_insert_with(|| {
            let ciphertexts = CiphertextBlock::new(params, *tiles, polynomials);
            let filters = WeightBlock::new(params, 1, 1, 1);
            (ciphertexts, filters, Accumulators::new(params, *tiles, *block))
        });
        ciphertexts.reshape(params, *tiles, polynomials);
        match self.engine.flat_terms {
            Some(terms) => filters.reshape_flat(params, *tiles, polynomials, *block, terms),
            None => filters.reshape(params, *tiles, polynomials, *block),
        }
        sums.reshape(params, *tiles, *block);
        let mut filled = false;
        for group in self.engine.groups() {
            for window in group.clone() {
                let bytes = rx.recv(polynomials * stream.ciphertext_bytes())?;
                let places: Vec<_> = (0..polynomials).map(|i| (window - group.start, i)).collect();
                let share = |i: usize, out: &mut [u64]| layout.pack(&inputs[window], i, self.input, out);
                ciphertexts.ingest(stream, (window * polynomials) as u64, &bytes, &places, Some(&share))?;
            }
            for block in self.engine.blocks() {
                if !filled {
                    filters.fill(|i, o, out| {
                        if block.start + o < block.end {
                            layout.filter(self.weights, block.start + o, i, out);
                        }
                    });
                    filled = self.engine.block == layout.output_groups();
                }
                sums.multiply_accumulate(ciphertexts, filters);
                let source = |window, output| sums.sum(window - group.start, output - block.start);
                self.reply(&group, &block, &source, tx)?;
            }
        }
        Ok(())
    }

    /// Sanitises and sends the sums of a group of windows and a block of output polynomials.
    fn reply<'s>(
        &mut self,
        group: &Range<usize>,
        block: &Range<usize>,
        source: &dyn Fn(usize, usize) -> Unsanitised<'s>,
        tx: &mut Tx,
    ) -> Result<(), ProtocolError> {
        let lists: Vec<_> = group.clone().map(|window| self.engine.positions(window)).collect();
        let positions = self.engine.listed(group, block, &lists);
        let pairs = group.clone().flat_map(|window| block.clone().map(move |output| (window, output)));
        let jobs = pairs.zip(positions).map(|((window, output), positions)| {
            let source = source(window, output);
            ReplyJob { source, positions }
        });
        let jobs: Vec<_> = jobs.collect();
        self.bytes.clear();
        self.shares.clear();
        self.sanitiser.reply(&jobs, &mut self.bytes, &mut self.shares);
        tx.send(&self.bytes)?;
        tx.flush()?;
        self.engine.scatter(group, block, &self.shares, &mut self.out);
        Ok(())
    }
}
