//! Convolution in the frequency domain under encryption (ENSEI, arXiv 2003.05328, section 4; BUNET's default).
//!
//! Functionality: from shares of a stencil's input mod p to shares of its output mod p, p prime; Bob holds the weights.
//! Each party transforms its own share by a multi-dimensional number-theoretic transform over the zero-padded grid,
//! whose lengths divide p − 1; since the transform is linear, spectra are shares of the spectrum. Slots of ciphertexts
//! hold the spectrum, so the convolution is one Hadamard product per pair of channels and block of n frequencies:
//!
//! ```text
//!   Alice (x_A)                                       Bob (x_B, w)
//!   x̂_A = NTT(x_A)
//!   per block of n frequencies:
//!   [x̂_A]                       --ciphertexts-->      [x̂_A] ⊞ x̂_B, Σ_i [x̂]_i ⊙ ŵ_io
//!   decrypts ŷ + r̂              <--sanitised--        ŷ_B = −r̂
//!   y_A = NTT⁻¹, cropped                              y_B = NTT⁻¹, cropped
//! ```
//!
//! The grid must be long enough that nothing wraps into an output; the planner picks p with the least padding over all
//! layers. A filter's spectrum is summed from the spectra of its taps, so that the filters of all channels
//! need not stand in memory. Slot-encoded weights are dense polynomials with coefficients up to p/2, which costs about 15 bits
//! of noise more than coefficient packing.
//! Security and hygiene as in [`super::coefficient`]. Cost: 16 B + blocks · input channels · ciphertext bytes up, blocks ·
//! output channels · reply bytes down; one round.

use super::coefficient::formats;
use super::stencil::{Stencil, StencilWeights};
use super::{Demand, Engine};
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::party::{Alice, Bob};
use crate::strategy::Refusal;
use channels::{Rx, Tx};
use meter::Primitive;
use models::{Dims, Manifest, NodeId, Shape};
use ntt::Modulus;
use ntt::{CyclicNtt, best_prime};
use pahe::{
    Decryptor, Encryptor, OnceSums, Params, Positions, ReplyFormat, ReplyJob, Sanitiser, UploadFormat,
    UploadStream, WeightNorm,
};
use rayon::prelude::*;
use std::sync::Arc;

/// Largest prime factor of a grid length.
const SMOOTH: usize = 13;

/// Least lengths of a cyclic grid on which no output of the stencil sees a wrapped value.
fn least_lengths(stencil: &Stencil) -> Dims {
    std::array::from_fn(|axis| {
        let (input, output) = (stencil.input.dims[axis] as i64, stencil.output.dims[axis] as i64);
        let last = output - 1 + stencil.origin[axis] + stencil.span()[axis] as i64;
        let gap = 0.max(-stencil.origin[axis]).max(last - (input - 1));
        (input + gap).max(output) as usize
    })
}

/// Least lengths for one layer of a network.
pub(crate) fn least_grid(manifest: &Manifest, id: NodeId, strategy: &str) -> Option<Dims> {
    let node = manifest.graph.node(id);
    let shapes = (manifest.graph.node(node.inputs[0]).shape, node.shape);
    Some(least_lengths(super::lowering(&node.op, shapes, strategy)?.stencil()))
}

/// The prime of exactly `bits` bits that is at least `least`, has slots at this ring degree, and pads these grids least; and the
/// sum of their padded volumes.
pub(crate) fn prime(degree: usize, grids: &[Dims], bits: u32, least: u64) -> Option<(Modulus, usize)> {
    let plan = best_prime(degree, grids, bits).ok()?;
    let modulus = Modulus::prime(plan.p).ok().filter(|_| plan.p >= least)?;
    Some((modulus, plan.volume()))
}

/// The shortest length that divides p − 1, has small factors and is at least `least`.
fn padded(p: u64, least: usize) -> Option<usize> {
    let smooth = |mut length: usize| {
        for factor in 2..=SMOOTH {
            while length.is_multiple_of(factor) {
                length /= factor;
            }
        }
        length == 1
    };
    (least..=1 << 16).find(|&length| (p - 1).is_multiple_of(length as u64) && smooth(length))
}

pub(crate) struct EnseiEngine {
    stencil: Stencil,
    modulus: Modulus,
    transform: CyclicNtt,
    keys: KeySpec,
    params: Arc<Params>,
    upload: UploadFormat,
    reply: ReplyFormat,
}

impl EnseiEngine {
    pub(crate) fn plan(stencil: Stencil, demand: &Demand) -> Result<Self, Refusal> {
        let modulus = demand.modulus;
        let p = modulus.value();
        let lengths = least_lengths(&stencil).map(|least| padded(p, least));
        let [Some(d), Some(h), Some(w)] = lengths else {
            return Err(Refusal(format!("{p} − 1 has no divisor long enough for its grid")));
        };
        let transform = CyclicNtt::new(p, &[d, h, w]).map_err(|error| Refusal(error.to_string()))?;
        let spectrum_bits = demand.weight_bits + modulus.bits() + stencil.taps().ilog2() + 1;
        if spectrum_bits > 62 {
            return Err(Refusal(format!("its weights' spectra need {spectrum_bits} bits, 62 are possible")));
        }
        let mut refusal = Refusal("no parameter set fits".into());
        for (degree, limbs) in [(4096, 2), (8192, 3)] {
            let keys = KeySpec::plain(degree, limbs, modulus);
            let params = keys.params().map_err(|error| Refusal(error.to_string()))?;
            if params.slots().is_none() {
                refusal = Refusal(format!("{modulus} is not 1 mod {}", 2 * degree));
                continue;
            }
            let norm = WeightNorm::slots(&params, stencil.input.channels);
            match formats(&params, |noise| noise.times(norm), demand.run_coefficients) {
                Ok((upload, reply)) => {
                    return Ok(Self { stencil, modulus, transform, keys, params, upload, reply });
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    fn blocks(&self) -> usize {
        self.transform.volume().div_ceil(self.params.degree())
    }

    fn grid(&self) -> Shape {
        let dims = self.transform.dims();
        Shape { channels: 1, dims: [dims[0], dims[1], dims[2]] }
    }

    /// The spectra of a share's channels.
    fn spectra(&self, input: &[u64]) -> Vec<Vec<u64>> {
        let spectrum = |channel: &[u64]| {
            let mut grid = vec![0; self.transform.volume()];
            copy_box(channel, self.stencil.input.dims, &mut grid, self.grid().dims);
            self.transform.forward(&mut grid);
            grid
        };
        let channels = input.par_chunks_exact(self.stencil.input.volume());
        channels.map_init(metered, |_, channel| spectrum(channel)).collect()
    }

    /// Output channels from spectra that arrive block by block.
    fn voxels(&self, spectra: Vec<Vec<u64>>) -> Vec<u64> {
        let crop = |mut spectrum: Vec<u64>| {
            spectrum.truncate(self.transform.volume());
            self.transform.inverse(&mut spectrum);
            let mut channel = vec![0; self.stencil.output.volume()];
            crop_box(&spectrum, self.grid().dims, &mut channel, self.stencil.output.dims);
            channel
        };
        spectra.into_par_iter().map_init(metered, |_, spectrum| crop(spectrum)).collect::<Vec<_>>().concat()
    }

    /// Slot-encodes one block of a spectrum into the zeros of `out`.
    fn encode(&self, spectrum: &[u64], block: usize, out: &mut [u64]) {
        let n = self.params.degree();
        let values = &spectrum[block * n..spectrum.len().min((block + 1) * n)];
        let mut slots = vec![0; n];
        slots[..values.len()].copy_from_slice(values);
        if let Some(encoding) = self.params.slots() {
            encoding.encode_into(&slots, out);
        }
    }

    fn decode(&self, polynomial: &mut [u64], spectrum: &mut Vec<u64>) {
        let start = spectrum.len();
        spectrum.resize(start + polynomial.len(), 0);
        if let Some(encoding) = self.params.slots() {
            encoding.decode_into(polynomial, &mut spectrum[start..]);
        }
    }

    /// Per tap, the spectrum of reading at that tap's offset: ω^(−f·δ), got by transforming a one at −δ.
    fn tap_spectra(&self) -> Vec<Vec<u64>> {
        let (grid, kernel) = (self.grid().dims, self.stencil.kernel);
        let tap = |index: usize| {
            let at = [index / (kernel[1] * kernel[2]), index / kernel[2] % kernel[1], index % kernel[2]];
            let back: Dims = std::array::from_fn(|axis| {
                let offset = self.stencil.origin[axis] + (at[axis] * self.stencil.step[axis]) as i64;
                (-offset).rem_euclid(grid[axis] as i64) as usize
            });
            let mut one = vec![0; self.transform.volume()];
            one[(back[0] * grid[1] + back[1]) * grid[2] + back[2]] = 1;
            self.transform.forward(&mut one);
            one
        };
        (0..self.stencil.taps()).into_par_iter().map_init(metered, |_, index| tap(index)).collect()
    }

    /// One block of a filter's spectrum as the coefficients of its slot encoding.
    fn filter(&self, taps: &[Vec<u64>], weights: &[i32], block: usize, out: &mut [i64]) {
        let n = self.params.degree();
        let range = block * n..self.transform.volume().min((block + 1) * n);
        let rows: Vec<_> = taps.iter().map(|tap| &tap[range.clone()]).collect();
        let mut slots = vec![0; n];
        // Sums stay below 2^62 by the plan; one reduction at the end.
        self.modulus.combine(&mut slots[..range.len()], &rows, weights);
        let mut polynomial = vec![0; n];
        if let Some(encoding) = self.params.slots() {
            encoding.encode_into(&slots, &mut polynomial);
        }
        out.iter_mut().zip(&polynomial).for_each(|(out, &x)| *out = self.modulus.lift(x));
    }

    fn send_uploads(
        &self,
        mut encryptor: Encryptor,
        spectra: &[Vec<u64>],
        tx: &mut Tx,
    ) -> Result<(), ProtocolError> {
        tx.send(&encryptor.stream().header())?;
        let mut bytes = Vec::new();
        for block in 0..self.blocks() {
            bytes.clear();
            encryptor.encrypt(spectra.len(), |i, out| self.encode(&spectra[i], block, out), &mut bytes);
            tx.send(&bytes)?;
            tx.flush()?;
        }
        Ok(())
    }

    fn receive_replies(&self, decryptor: &Decryptor, rx: &mut Rx) -> Result<Vec<Vec<u64>>, ProtocolError> {
        let (n, outputs) = (self.params.degree(), self.stencil.output.channels);
        let mut spectra = vec![Vec::with_capacity(self.blocks() * n); outputs];
        for _ in 0..self.blocks() {
            let bytes = rx.recv(outputs * self.reply.reply_bytes(&self.params, n))?;
            let mut values = Vec::new();
            decryptor.decrypt(&bytes, &vec![Positions::All; outputs], &mut values)?;
            let pairs = spectra.par_iter_mut().zip(values.par_chunks_exact_mut(n));
            pairs.for_each_init(metered, |_, (spectrum, polynomial)| self.decode(polynomial, spectrum));
        }
        Ok(spectra)
    }
}

impl Engine for EnseiEngine {
    fn describe(&self) -> String {
        let Self { stencil, transform, keys, upload, reply, .. } = self;
        format!("ensei {stencil:?} {:?} {keys:?} {upload:?} {reply:?}", transform.dims())
    }

    fn cost(&self) -> Cost {
        let (blocks, n) = (self.blocks(), self.params.degree());
        let ciphertexts = blocks * self.stencil.input.channels;
        let up = UploadStream::HEADER_BYTES + ciphertexts * self.upload.ciphertext_bytes(&self.params);
        let down = blocks * self.stencil.output.channels * self.reply.reply_bytes(&self.params, n);
        Cost::online(up as u64, down as u64, 1)
    }

    fn keys(&self) -> KeySpec {
        self.keys.clone()
    }

    fn reply_coefficients(&self) -> u64 {
        (self.blocks() * self.params.degree() * self.stencil.output.channels) as u64
    }

    fn memory(&self) -> u64 {
        let polynomial = 8 * self.params.limbs().len() * self.params.degree();
        let (inputs, outputs) = (self.stencil.input.channels, self.stencil.output.channels);
        let spectra =
            8 * self.transform.volume() * (inputs + outputs + self.stencil.kernel.iter().product::<usize>());
        (polynomial * (2 * inputs + 2 * outputs) + spectra) as u64
    }

    fn alice(&self, alice: &mut Alice, input: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let key = alice.key(&self.keys)?;
        let encryptor = Encryptor::new(&key, self.upload, &mut alice.prg);
        let decryptor = Decryptor::new(&key, self.reply);
        let spectra = self.spectra(input);
        let replies = alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| self.send_uploads(encryptor, &spectra, tx));
                let replies = self.receive_replies(&decryptor, rx);
                match uploads.join() {
                    Ok(sent) => sent.and(replies),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        Ok(self.voxels(replies))
    }

    fn bob(&self, bob: &mut Bob, weights: &StencilWeights, input: &[u64]) -> Result<Vec<u64>, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let mut sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let (inputs, outputs) = (self.stencil.input.channels, self.stencil.output.channels);
        let (spectra, taps) = (self.spectra(input), self.tap_spectra());
        let mut sums = OnceSums::new(&self.params, 1, inputs, outputs);
        let mut replies = vec![Vec::with_capacity(self.blocks() * self.params.degree()); outputs];
        bob.channel.stream(|tx, rx| {
            let mut header = [0; UploadStream::HEADER_BYTES];
            rx.recv_into(&mut header)?;
            let stream = UploadStream::from_header(&self.params, self.upload, header);
            for block in 0..self.blocks() {
                let bytes = rx.recv(inputs * stream.ciphertext_bytes())?;
                let share = |i: usize, out: &mut [u64]| self.encode(&spectra[i], block, out);
                sums.ingest(&stream, (block * inputs) as u64, &bytes, 0, Some(&share))?;
                sums.compute(0..outputs, |i, o, out| self.filter(&taps, weights.taps(o, i), block, out));
                let job = |o: usize| ReplyJob { source: sums.sum(0, o), positions: Positions::All };
                let jobs: Vec<_> = (0..outputs).map(job).collect();
                let (mut bytes, mut shares) = (Vec::new(), Vec::new());
                sanitiser.reply(&jobs, &mut bytes, &mut shares);
                tx.send(&bytes)?;
                tx.flush()?;
                let pairs = replies.par_iter_mut().zip(shares.par_chunks_exact_mut(self.params.degree()));
                pairs.for_each_init(metered, |_, (spectrum, polynomial)| self.decode(polynomial, spectrum));
            }
            Ok::<_, ProtocolError>(())
        })?;
        Ok(self.voxels(replies))
    }
}

/// Spectra are transforms.
fn metered() -> meter::Scope {
    meter::scope(Primitive::Transform)
}

/// Rows of a box: where they begin in the small and in the large grid.
fn rows(small: Dims, large: Dims) -> impl Iterator<Item = (usize, usize)> {
    (0..small[0]).flat_map(move |d| {
        (0..small[1]).map(move |h| ((d * small[1] + h) * small[2], (d * large[1] + h) * large[2]))
    })
}

fn copy_box(from: &[u64], small: Dims, to: &mut [u64], large: Dims) {
    for (s, l) in rows(small, large) {
        to[l..l + small[2]].copy_from_slice(&from[s..s + small[2]]);
    }
}

fn crop_box(from: &[u64], large: Dims, to: &mut [u64], small: Dims) {
    for (s, l) in rows(small, large) {
        to[s..s + small[2]].copy_from_slice(&from[l..l + small[2]]);
    }
}
