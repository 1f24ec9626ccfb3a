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
//! stream.

use crate::cost::Flow;
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::linear::coefficient::formats;
use crate::party::{Alice, Bob};
use crate::strategy::{Refusal, Site};
use channels::Channel;
use ntt::{Modulus, Slots};
use ot::packing;
use pahe::{
    Accumulators, CiphertextBlock, Decryptor, Encryptor, Params, Positions, ReplyFormat, ReplyJob, Sanitiser,
    UploadFormat, UploadStream, WeightBlock, WeightNorm,
};
use std::sync::Arc;
use zeroize::Zeroizing;

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

    /// The values of one ciphertext; the last one may be short.
    fn block<'v>(&self, values: &'v [u64], index: usize) -> &'v [u64] {
        let n = self.params.degree();
        &values[index * n..self.len.min((index + 1) * n)]
    }

    /// Slots from the replies of one block, appended to the outputs up to their length.
    fn decode(&self, replies: &mut [u64], out: &mut [Vec<u64>]) {
        let mut slots = Zeroizing::new(vec![0; self.params.degree()]);
        for (polynomial, out) in replies.chunks_exact_mut(self.params.degree()).zip(out) {
            self.slots().decode_into(polynomial, &mut slots);
            out.extend(&slots[..slots.len().min(self.len - out.len())]);
        }
    }

    /// Encodes the values of one block into the zeros of `out`.
    fn encode(&self, values: &[u64], out: &mut [u64]) {
        let mut slots = Zeroizing::new(vec![0; self.params.degree()]);
        slots[..values.len()].copy_from_slice(values);
        self.slots().encode_into(&slots, out);
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
        let mut out = Zeroizing::new(vec![Vec::with_capacity(self.len); self.outputs]);
        alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| {
                    tx.send(&encryptor.stream().header())?;
                    let mut bytes = Vec::new();
                    for index in 0..self.blocks() {
                        bytes.clear();
                        let fill = |i: usize, out: &mut [u64]| self.encode(self.block(&a[i], index), out);
                        encryptor.encrypt(self.inputs, fill, &mut bytes);
                        tx.send(&bytes)?;
                    }
                    Ok::<_, ProtocolError>(tx.flush()?)
                });
                let positions = vec![Positions::All; self.outputs];
                let received = (0..self.blocks()).try_for_each(|_| {
                    let reply = self.reply.reply_bytes(&self.params, self.params.degree());
                    let bytes = rx.recv(self.outputs * reply)?;
                    let mut polynomials = Zeroizing::new(Vec::new());
                    decryptor.decrypt(&bytes, &positions, &mut polynomials)?;
                    self.decode(&mut polynomials, &mut out);
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

    /// Bob's shares, one vector per output; `b(j, k)` is what Alice's vector j is multiplied with for output k.
    pub(crate) fn bob(
        &self,
        bob: &mut Bob,
        b: impl Fn(usize, usize) -> Zeroizing<Vec<u64>>,
    ) -> Result<Vectors, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let factors: Vec<Vec<_>> =
            (0..self.inputs).map(|j| (0..self.outputs).map(|k| b(j, k)).collect()).collect();
        let mut sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let mut ciphertexts = CiphertextBlock::new(&self.params, 1, self.inputs);
        let mut weights = WeightBlock::new(&self.params, 1, self.inputs, self.outputs);
        let mut sums = Accumulators::new(&self.params, 1, self.outputs);
        let mut out = Zeroizing::new(vec![Vec::with_capacity(self.len); self.outputs]);
        let places: Vec<_> = (0..self.inputs).map(|i| (0, i)).collect();
        bob.channel.stream(|tx, rx| {
            let mut header = [0; UploadStream::HEADER_BYTES];
            rx.recv_into(&mut header)?;
            let stream = UploadStream::from_header(&self.params, self.upload, header);
            for index in 0..self.blocks() {
                let bytes = rx.recv(self.inputs * stream.ciphertext_bytes())?;
                ciphertexts.ingest(&stream, (index * self.inputs) as u64, &bytes, &places, None)?;
                weights.fill(|i, o, out| {
                    if o < self.outputs {
                        let mut polynomial = Zeroizing::new(vec![0; out.len()]);
                        self.encode(self.block(&factors[i][o], index), &mut polynomial);
                        out.iter_mut().zip(&*polynomial).for_each(|(out, &x)| *out = self.modulus.lift(x));
                    }
                });
                sums.clear();
                sums.multiply_accumulate(&ciphertexts, &weights);
                let job = |o| ReplyJob { source: sums.sum(0, o), positions: Positions::All };
                let jobs: Vec<_> = (0..self.outputs).map(job).collect();
                let (mut bytes, mut shares) = (Vec::new(), Zeroizing::new(Vec::new()));
                sanitiser.reply(&jobs, &mut bytes, &mut shares);
                tx.send(&bytes)?;
                tx.flush()?;
                self.decode(&mut shares, &mut out);
            }
            Ok::<_, ProtocolError>(())
        })?;
        Ok(out)
    }
}

/// Opens values of which each party knows a share: one exchange.
pub(crate) fn open(channel: &mut Channel, m: Modulus, own: &[u64]) -> Result<Vec<u64>, ProtocolError> {
    let mut bytes = vec![0; packing::packed_len(own.len(), m.bits())];
    channel.exchange(&packing::pack(own, m.bits()), &mut bytes)?;
    let mut theirs = vec![0; own.len()];
    packing::unpack_residues(&bytes, m, &mut theirs)?;
    Ok(own.iter().zip(&theirs).map(|(&own, &theirs)| m.add(own, theirs)).collect())
}

/// What [`open`] costs.
pub(crate) fn opening(m: Modulus, len: usize) -> Flow {
    let bytes = packing::packed_len(len, m.bits()) as u64;
    Flow { alice_to_bob: bytes, bob_to_alice: bytes, rounds: 1 }
}
