//! Products of Alice's numbers with Bob's mod a prime, by homomorphic encryption in slots.
//!
//! Functionality: Alice has vectors a_1 … a_i of the same length, Bob a vector b_jk for every pair of an output k and an
//! input j. They get shares mod p of Σ_j a_j ∘ b_jk for every k. BUNET (arXiv 2007.06855), section IV, makes Beaver
//! triples so.
//!
//! ```text
//!   Alice (a_j)                                        Bob (b_jk)
//!   [a_j] in slots             --ciphertexts-->        Σ_j [a_j] ⊙ b_jk
//!   c_k                        <--sanitised--          −r_k
//! ```
//!
//! Security: semi-honest; replies are sanitised. Constant time.
//! Cost: 16 B and i ciphertexts per n values up, one reply per output and n values down, in one round. Uploads and replies
//! stream, a few blocks of n values at a time.

use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::linear::coefficient::formats;
use crate::party::{Alice, Bob};
use crate::strategy::{Refusal, Site};
use meter::Primitive;
use ntt::{Modulus, Slots};
use pahe::{
    Ciphertext, Decryptor, Encryptor, Params, Plaintext, Positions, ReplyFormat, ReplyJob, Sanitiser,
    UploadError, UploadFormat, UploadStream, WeightNorm,
};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Blocks of n values that are worked on together.
const BATCH: usize = 8;

/// A vector of residues per input or output, wiped when dropped.
pub(crate) type Vectors = Zeroizing<Vec<Vec<u64>>>;

/// Sums of products in slots.
pub(crate) struct SlotProducts {
    keys: KeySpec,
    params: Arc<Params>,
    upload: UploadFormat,
    reply: ReplyFormat,
    pub(crate) modulus: Modulus,
    /// Values per vector.
    pub(crate) len: usize,
    inputs: usize,
    outputs: usize,
}

impl SlotProducts {
    /// For vectors as long as a layer's value, `inputs` of Alice's and `outputs` results.
    pub(crate) fn plan(site: &Site<'_>, inputs: usize, outputs: usize) -> Result<Self, Refusal> {
        let mut refusal = Refusal("no parameter set fits".into());
        for (degree, limbs) in [(4096, 2), (8192, 3)] {
            let keys = KeySpec::plain(degree, limbs, site.from);
            let params = keys.params().map_err(|error| Refusal(error.to_string()))?;
            if params.slots().is_none() {
                refusal = Refusal(format!("{} is not 1 mod {}", site.from, 2 * degree));
                continue;
            }
            let norm = WeightNorm::slots(&params, inputs);
            match formats(&params, |noise| noise.times(norm), site.run_coefficients) {
                Ok((upload, reply)) => {
                    let (modulus, len) = (site.from, site.node.shape.len());
                    return Ok(Self { keys, params, upload, reply, modulus, len, inputs, outputs });
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }

    fn blocks(&self) -> usize {
        self.len.div_ceil(self.params.degree())
    }

    fn slots(&self) -> &Slots {
        self.params.slots().expect("the plan refuses parameters without slots")
    }

    /// The blocks that are worked on and travel together, in order.
    fn batches(&self) -> impl Iterator<Item = Range<usize>> {
        let blocks = self.blocks();
        (0..blocks).step_by(BATCH).map(move |start| start..(start + BATCH).min(blocks))
    }

    /// The values of a block; the last one may be short.
    fn values_of(&self, block: usize) -> Range<usize> {
        let n = self.params.degree();
        block * n..self.len.min((block + 1) * n)
    }

    /// Slots from the replies of a batch, put in place.
    fn decode(&self, batch: Range<usize>, replies: &mut [u64], out: &mut [Vec<u64>]) {
        let n = self.params.degree();
        let values = self.values_of(batch.start).start..self.values_of(batch.end - 1).end;
        let mut blocks: Vec<_> = out.iter_mut().map(|out| out[values.clone()].chunks_mut(n)).collect();
        let places: Vec<_> =
            batch.flat_map(|_| blocks.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect();
        replies.par_chunks_exact_mut(n).zip(places).for_each_init(
            || (Zeroizing::new(vec![0; n]), meter::scope(Primitive::Pairs)),
            |(slots, _), (polynomial, out)| {
                self.slots().decode_into(polynomial, slots);
                out.copy_from_slice(&slots[..out.len()]);
            },
        );
    }

    /// Every parameter in words.
    pub(crate) fn describe(&self) -> String {
        let Self { keys, upload, reply, len, inputs, outputs, .. } = self;
        format!("{keys:?} {upload:?} {reply:?} {len} {inputs} {outputs}")
    }

    /// Exact bytes and rounds.
    pub(crate) fn flow(&self) -> Flow {
        let (blocks, n) = (self.blocks(), self.params.degree());
        let ciphertexts = blocks * self.inputs * self.upload.ciphertext_bytes(&self.params);
        Flow {
            alice_to_bob: (UploadStream::HEADER_BYTES + ciphertexts) as u64,
            bob_to_alice: (blocks * self.outputs * self.reply.reply_bytes(&self.params, n)) as u64,
            rounds: 1,
        }
    }

    /// The keys that it needs.
    pub(crate) fn keys(&self) -> KeySpec {
        self.keys.clone()
    }

    /// Coefficients of the replies.
    pub(crate) fn reply_coefficients(&self) -> u64 {
        (self.blocks() * self.outputs * self.params.degree()) as u64
    }

    /// Alice's shares, one vector per output.
    pub(crate) fn alice(&self, alice: &mut Alice, a: &[Vec<u64>]) -> Result<Vectors, ProtocolError> {
        let key = alice.key(&self.keys)?;
        let mut encryptor = Encryptor::new(&key, self.upload, &mut alice.prg);
        let decryptor = Decryptor::new(&key, self.reply);
        let encode = |block: usize, a: &[u64], out: &mut [u64]| {
            let mut slots = Zeroizing::new(vec![0; out.len()]);
            let values = &a[self.values_of(block)];
            slots[..values.len()].copy_from_slice(values);
            self.slots().encode_into(&slots, out);
        };
        let mut out = Zeroizing::new(vec![vec![0; self.len]; self.outputs]);
        alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| {
                    tx.send(&encryptor.stream().header())?;
                    let mut bytes = Vec::new();
                    for batch in self.batches() {
                        bytes.clear();
                        let fill = |k: usize, out: &mut [u64]| {
                            encode(batch.start + k / self.inputs, &a[k % self.inputs], out);
                        };
                        encryptor.encrypt(batch.len() * self.inputs, fill, &mut bytes);
                        tx.send(&bytes)?;
                        tx.flush()?;
                    }
                    Ok::<_, ProtocolError>(())
                });
                let mut polynomials = Zeroizing::new(Vec::new());
                let received = self.batches().try_for_each(|batch| {
                    let replies = batch.len() * self.outputs;
                    let reply = self.reply.reply_bytes(&self.params, self.params.degree());
                    let bytes = rx.recv(replies * reply)?;
                    polynomials.clear();
                    decryptor.decrypt(&bytes, &vec![Positions::All; replies], &mut polynomials)?;
                    self.decode(batch, &mut polynomials, &mut out);
                    Ok::<_, ProtocolError>(())
                });
                match uploads.join() {
                    Ok(sent) => sent.and(received),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        Ok(out)
    }

    /// Bob's shares, one vector per output; `b(j, k, values, out)` tells what these values of Alice's vector j are
    /// multiplied with for output k.
    pub(crate) fn bob(
        &self,
        bob: &mut Bob,
        b: impl Fn(usize, usize, Range<usize>, &mut [u64]) + Sync,
    ) -> Result<Vectors, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let mut sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let mut blocks: Vec<_> = (0..BATCH.min(self.blocks())).map(|_| Block::new(self)).collect();
        let mut out = Zeroizing::new(vec![vec![0; self.len]; self.outputs]);
        let (mut bytes, mut shares) = (Vec::new(), Zeroizing::new(Vec::new()));
        bob.channel.stream(|tx, rx| {
            let mut header = [0; UploadStream::HEADER_BYTES];
            rx.recv_into(&mut header)?;
            let stream = UploadStream::from_header(&self.params, self.upload, header);
            for batch in self.batches() {
                let upload = self.inputs * stream.ciphertext_bytes();
                let uploads = rx.recv(batch.len() * upload)?;
                let blocks = &mut blocks[..batch.len()];
                blocks.par_iter_mut().zip(batch.clone()).zip(uploads.par_chunks_exact(upload)).try_for_each(
                    |((block, index), bytes)| {
                        let factor = |j, k, out: &mut [u64]| b(j, k, self.values_of(index), out);
                        block.multiply(self, &stream, index, bytes, factor)
                    },
                )?;
                let sums = blocks.iter().flat_map(|block| &block.sums);
                let jobs = sums.map(|sum| ReplyJob { source: sum.into(), positions: Positions::All });
                let jobs: Vec<_> = jobs.collect();
                bytes.clear();
                shares.clear();
                sanitiser.reply(&jobs, &mut bytes, &mut shares);
                tx.send(&bytes)?;
                tx.flush()?;
                self.decode(batch, &mut shares, &mut out);
            }
            Ok::<_, ProtocolError>(())
        })?;
        Ok(out)
    }
}

/// What Bob works with at one block of values.
struct Block {
    upload: Ciphertext,
    factor: Plaintext,
    sums: Vec<Ciphertext>,
    values: Zeroizing<Vec<u64>>,
    polynomial: Zeroizing<Vec<u64>>,
}

impl Block {
    fn new(products: &SlotProducts) -> Self {
        let params = &products.params;
        let [values, polynomial] = [(); 2].map(|()| Zeroizing::new(vec![0; params.degree()]));
        let sums = (0..products.outputs).map(|_| Ciphertext::zero(params)).collect();
        Self { upload: Ciphertext::zero(params), factor: Plaintext::zero(params), sums, values, polynomial }
    }

    /// The sums of one block: Alice's ciphertexts times Bob's factors.
    fn multiply(
        &mut self,
        products: &SlotProducts,
        stream: &UploadStream,
        index: usize,
        bytes: &[u8],
        factor: impl Fn(usize, usize, &mut [u64]),
    ) -> Result<(), UploadError> {
        let used = products.values_of(index).len();
        self.sums.iter_mut().for_each(Ciphertext::clear);
        for (j, bytes) in bytes.chunks_exact(stream.ciphertext_bytes()).enumerate() {
            let number = (index * products.inputs + j) as u64;
            {
                let _metered = meter::scope(Primitive::Transform);
                self.upload.refill(stream, number, bytes, None)?;
            }
            for (k, sum) in self.sums.iter_mut().enumerate() {
                {
                    let _metered = meter::scope(Primitive::Pairs);
                    self.values[used..].fill(0);
                    factor(j, k, &mut self.values[..used]);
                }
                {
                    let _metered = meter::scope(Primitive::Transform);
                    self.factor.set_slots(&products.params, &self.values, &mut self.polynomial);
                }
                let _metered = meter::scope(Primitive::Hadamard);
                sum.multiply_add(&self.upload, &self.factor);
            }
        }
        Ok(())
    }
}
