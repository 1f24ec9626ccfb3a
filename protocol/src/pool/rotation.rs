//! Average pooling by rotate-and-sum on slots (BUNET, section on pooling layers).
//!
//! Functionality: from shares of x mod p to shares of the window sums mod p. The grid is cut into boxes of whole windows,
//! each of which lies in one row of n/2 slots, so that no window straddles rows or ciphertexts. Per axis, the sum over
//! k taps is built by doubling, S_2m = S_m + rot(S_m, m·pitch), with one more rotation for every odd bit of k; then the
//! slots at window origins hold the sums.
//!
//! ```text
//!   Alice (x_A)                                  Bob (x_B)
//!   [x_A] in slots          --ciphertexts-->     [x_A] ⊞ x_B, rotate and add per axis
//!   decrypts y + r          <--sanitised--       y_B = −r
//!   reads window origins                         reads window origins
//! ```
//!
//! Every slot of a reply is masked, used or not. Rotation keys switch over a special prime, at n = 8192.
//! `local` gives the same result without any traffic; this strategy is the paper's.
//! Cost: rotation keys at set-up; 16 B + one ciphertext per n slots up, one reply each down; one round.

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::linear::coefficient::formats;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use models::manifest::LayerWeights;
use models::{Dims, Op, Shape, Window};
use pahe::{
    Ciphertext, Decryptor, Encryptor, Noise, Params, Positions, ReplyFormat, ReplyJob, Sanitiser,
    UploadFormat, UploadStream,
};
use std::sync::Arc;

/// Average pooling by homomorphic rotate-and-sum.
pub struct Rotation;

const DEGREE: usize = 8192;

impl Strategy for Rotation {
    fn name(&self) -> &'static str {
        "rotation"
    }

    fn operator(&self) -> Operator {
        Operator::AveragePool
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::AvgPool { window } = site.node.op else {
            return Err(Refusal("is no average pooling".into()));
        };
        let boxes = Boxes::new(window, site.inputs[0], site.node.shape, DEGREE / 2)?;
        let sums = boxes.sums();
        let steps = sums.iter().map(|sum| sum.step).collect::<Vec<_>>();
        let mut refusal = Refusal("no parameter set fits".into());
        for limbs in [2, 3] {
            let keys = KeySpec::rotating(DEGREE, limbs, site.from, steps.clone());
            let params = keys.params().map_err(|error| Refusal(error.to_string()))?;
            if params.slots().is_none() {
                return Err(Refusal(format!("{} is not 1 mod {}; take wider shares", site.from, 2 * DEGREE)));
            }
            let noise = |fresh: Noise| predicted(&params, &sums, fresh);
            match formats(&params, noise, site.run_coefficients) {
                Ok((upload, reply)) => {
                    return Ok(Box::new(RotationStep { boxes, sums, keys, params, upload, reply }));
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }
}

/// One rotation and addition.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// Slots to the left.
    step: usize,
    /// Whether the axis's first ciphertext is rotated (an odd bit of k) instead of the running sum.
    first: bool,
    /// Whether this begins a new axis.
    axis_start: bool,
}

/// Noise after the sums.
fn predicted(params: &Params, sums: &[Sum], fresh: Noise) -> Noise {
    let (mut noise, mut first) = (fresh, fresh);
    for sum in sums {
        if sum.axis_start {
            first = noise;
        }
        let rotated = if sum.first { first } else { noise };
        noise = noise.plus(rotated.rotated(params));
    }
    noise
}

/// The grid cut into boxes of whole windows, a whole number of boxes per row of slots.
#[derive(Clone, Debug)]
struct Boxes {
    window: Window,
    input: Shape,
    output: Shape,
    /// Output extents of a box.
    cell: Dims,
    /// Input extents of a box.
    extent: Dims,
    /// Boxes per axis.
    counts: Dims,
    /// Boxes per row of slots.
    per_row: usize,
    row: usize,
}

impl Boxes {
    fn new(window: Window, input: Shape, output: Shape, row: usize) -> Result<Self, Refusal> {
        let mut best: Option<Self> = None;
        for d in 1..=output.dims[0] {
            for h in 1..=output.dims[1] {
                for w in 1..=output.dims[2] {
                    let cell = [d, h, w];
                    let extent: Dims = std::array::from_fn(|axis| {
                        (cell[axis] - 1) * window.stride[axis]
                            + (window.kernel[axis] - 1) * window.dilation[axis]
                            + 1
                    });
                    let size: usize = extent.iter().product();
                    if size > row {
                        break; // wider boxes are larger still
                    }
                    let counts = std::array::from_fn(|axis| output.dims[axis].div_ceil(cell[axis]));
                    let boxes =
                        Self { window, input, output, cell, extent, counts, per_row: row / size, row };
                    if best.as_ref().is_none_or(|best| boxes.rows() < best.rows()) {
                        best = Some(boxes);
                    }
                }
            }
        }
        best.ok_or_else(|| Refusal(format!("its window needs more than {row} slots")))
    }

    fn count(&self) -> usize {
        self.input.channels * self.counts.iter().product::<usize>()
    }

    fn rows(&self) -> usize {
        self.count().div_ceil(self.per_row)
    }

    fn ciphertexts(&self) -> usize {
        self.rows().div_ceil(2)
    }

    /// First slot of a box, across all ciphertexts.
    fn start(&self, index: usize) -> usize {
        let size: usize = self.extent.iter().product();
        index / self.per_row * self.row + index % self.per_row * size
    }

    /// Rotations and additions that leave each window's sum at its origin.
    fn sums(&self) -> Vec<Sum> {
        let mut sums = Vec::new();
        let pitch = [self.extent[1] * self.extent[2], self.extent[2], 1];
        let taps = pitch.iter().zip(self.window.dilation).map(|(pitch, dilation)| pitch * dilation);
        for (kernel, tap) in self.window.kernel.into_iter().zip(taps) {
            let (mut covered, begin) = (1, sums.len());
            for bit in (0..kernel.ilog2()).rev() {
                sums.push(Sum { step: covered * tap, first: false, axis_start: sums.len() == begin });
                covered *= 2;
                if kernel >> bit & 1 == 1 {
                    sums.push(Sum { step: covered * tap, first: true, axis_start: false });
                    covered += 1;
                }
            }
        }
        sums
    }

    /// Calls `body` with channel and first output voxel of each box.
    fn for_each(&self, mut body: impl FnMut(usize, usize, Dims)) {
        let per_channel: usize = self.counts.iter().product();
        for index in 0..self.count() {
            let (channel, at) = (index / per_channel, index % per_channel);
            let at = [
                at / (self.counts[1] * self.counts[2]),
                at / self.counts[2] % self.counts[1],
                at % self.counts[2],
            ];
            body(self.start(index), channel, std::array::from_fn(|axis| at[axis] * self.cell[axis]));
        }
    }

    /// A share's values in slots, padding as zeros.
    fn fill(&self, values: &[u64]) -> Vec<u64> {
        let mut slots = vec![0; self.ciphertexts() * 2 * self.row];
        let (dims, extent) = (self.input.dims, self.extent);
        self.for_each(|start, channel, first| {
            for (offset, at) in places(extent) {
                let from: [Option<usize>; 3] = std::array::from_fn(|axis| {
                    (first[axis] * self.window.stride[axis] + at[axis])
                        .checked_sub(self.window.pad_before[axis])
                        .filter(|&x| x < dims[axis])
                });
                if let [Some(d), Some(h), Some(w)] = from {
                    let voxel = ((channel * dims[0] + d) * dims[1] + h) * dims[2] + w;
                    slots[start + offset] = values[voxel];
                }
            }
        });
        slots
    }

    /// The window origins' slots as the layer's output.
    fn origins(&self, slots: &[u64]) -> Vec<u64> {
        let mut values = vec![0; self.output.len()];
        let (dims, extent) = (self.output.dims, self.extent);
        self.for_each(|start, channel, first| {
            for (_, at) in places(self.cell) {
                let to: Dims = std::array::from_fn(|axis| first[axis] + at[axis]);
                if (0..3).any(|axis| to[axis] >= dims[axis]) {
                    continue;
                }
                let from: Dims = std::array::from_fn(|axis| at[axis] * self.window.stride[axis]);
                let slot = start + (from[0] * extent[1] + from[1]) * extent[2] + from[2];
                values[((channel * dims[0] + to[0]) * dims[1] + to[1]) * dims[2] + to[2]] = slots[slot];
            }
        });
        values
    }
}

/// Row-major offsets and places of a box.
fn places(dims: Dims) -> impl Iterator<Item = (usize, Dims)> {
    let volume = dims.iter().product();
    (0..volume).map(move |i| (i, [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]]))
}

struct RotationStep {
    boxes: Boxes,
    sums: Vec<Sum>,
    keys: KeySpec,
    params: Arc<Params>,
    upload: UploadFormat,
    reply: ReplyFormat,
}

impl RotationStep {
    fn encode(&self, slots: &[u64], index: usize, out: &mut [u64]) {
        if let Some(encoding) = self.params.slots() {
            encoding.encode_into(&slots[index * DEGREE..(index + 1) * DEGREE], out);
        }
    }

    /// Polynomials of replies to window sums.
    fn decode(&self, mut polynomials: Vec<u64>) -> Vec<u64> {
        let mut slots = vec![0; polynomials.len()];
        if let Some(encoding) = self.params.slots() {
            let pairs = polynomials.chunks_exact_mut(DEGREE).zip(slots.chunks_exact_mut(DEGREE));
            pairs.for_each(|(polynomial, slots)| encoding.decode_into(polynomial, slots));
        }
        self.boxes.origins(&slots)
    }

    /// The sums of every window at its origin.
    fn add_up(&self, bob: &Bob, ciphertext: Ciphertext) -> Result<Ciphertext, ProtocolError> {
        let (mut sum, mut first) = (ciphertext.clone(), ciphertext);
        for step in &self.sums {
            if step.axis_start {
                first = sum.clone();
            }
            let key = bob.rotation(&self.keys, step.step)?;
            let rotated = if step.first { first.rotated(key) } else { sum.rotated(key) };
            sum.add_assign(&rotated);
        }
        Ok(sum)
    }
}

impl Step for RotationStep {
    fn describe(&self) -> String {
        let Self { boxes, keys, upload, reply, .. } = self;
        format!("rotation {boxes:?} {keys:?} {upload:?} {reply:?}")
    }

    fn cost(&self) -> Cost {
        let ciphertexts = self.boxes.ciphertexts();
        let up = UploadStream::HEADER_BYTES + ciphertexts * self.upload.ciphertext_bytes(&self.params);
        Cost::online(up as u64, (ciphertexts * self.reply.reply_bytes(&self.params, DEGREE)) as u64, 1)
    }

    fn keys(&self) -> Option<KeySpec> {
        Some(self.keys.clone())
    }

    fn reply_coefficients(&self) -> u64 {
        (self.boxes.ciphertexts() * DEGREE) as u64
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let key = alice.key(&self.keys)?;
        let mut encryptor = Encryptor::new(&key, self.upload, &mut alice.prg);
        let decryptor = Decryptor::new(&key, self.reply);
        let slots = self.boxes.fill(&inputs[0].values);
        let count = self.boxes.ciphertexts();
        let polynomials = alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| {
                    tx.send(&encryptor.stream().header())?;
                    let mut bytes = Vec::new();
                    for index in 0..count {
                        bytes.clear();
                        encryptor.encrypt(1, |_, out| self.encode(&slots, index, out), &mut bytes);
                        tx.send(&bytes)?;
                    }
                    Ok::<_, ProtocolError>(tx.flush()?)
                });
                let mut polynomials = Vec::with_capacity(slots.len());
                let received = (0..count).try_for_each(|_| {
                    let bytes = rx.recv(self.reply.reply_bytes(&self.params, DEGREE))?;
                    Ok(decryptor.decrypt(&bytes, &[Positions::All], &mut polynomials)?)
                });
                match uploads.join() {
                    Ok(sent) => sent.and(received).map(|()| polynomials),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        Ok(self.decode(polynomials))
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let mut sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let slots = self.boxes.fill(&inputs[0].values);
        let mut header = [0; UploadStream::HEADER_BYTES];
        bob.channel.recv_into(&mut header)?;
        let stream = UploadStream::from_header(&self.params, self.upload, header);
        let mut masks = Vec::with_capacity(slots.len());
        for index in 0..self.boxes.ciphertexts() {
            let mut share = vec![0; DEGREE];
            self.encode(&slots, index, &mut share);
            let bytes = bob.channel.recv(stream.ciphertext_bytes())?;
            let ciphertext = Ciphertext::read(&stream, index as u64, &bytes, Some(&share))?;
            let sum = self.add_up(bob, ciphertext)?;
            let job = ReplyJob { source: (&sum).into(), positions: Positions::All };
            let mut bytes = Vec::new();
            sanitiser.reply(&[job], &mut bytes, &mut masks);
            bob.channel.send(&bytes)?;
        }
        bob.channel.flush()?;
        Ok(self.decode(masks))
    }
}
