//! Squares by Beaver pairs made with homomorphic encryption in slots.
//!
//! Functionality: from shares of x mod p to shares of x² mod p. Beaver (CRYPTO 1991), with one pair (a, a²) and one
//! opening per value (a triple would open two): x² = d² + 2·d∘a + a² with d = x − a. BUNET section IV makes pairs
//! by PAHE; here both parties contribute to a = a_A + a_B, and only the cross term is computed under encryption.
//!
//! ```text
//!   offline   Alice (a_A)                              Bob (a_B)
//!             [a_A] in slots       --ciphertexts-->    [a_A] ⊙ 2·a_B
//!             u = 2·a_A∘a_B + r    <--sanitised--      v = −r
//!             c_A = a_A² + u                           c_B = a_B² + v
//!   online    d_A = x_A − a_A      <--exchanged-->     d_B = x_B − a_B        (d = d_A + d_B is uniform)
//!             2·d∘a_A + c_A                            d² + 2·d∘a_B + c_B
//! ```
//!
//! Security: a is uniform as long as one party's part is, so that the opened d says nothing; replies are sanitised. Each
//! pair serves one value of one run. Exact mod p; the planner proves x² < p/2. Constant time.
//! Cost: offline 16 B and one ciphertext per n values up, one reply per ciphertext down; online ⌈log2 p⌉ bits per value
//! each way in one round.

use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::keys::KeySpec;
use crate::linear::coefficient::formats;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Needs, Prepared, Refusal, Site, Step, Strategy};
use channels::Channel;
use models::Op;
use models::manifest::LayerWeights;
use ntt::{Modulus, Slots};
use ot::packing;
use pahe::{
    Accumulators, CiphertextBlock, Decryptor, Encryptor, Params, Positions, ReplyFormat, ReplyJob, Sanitiser,
    UploadFormat, UploadStream, WeightBlock, WeightNorm,
};
use std::sync::Arc;

/// Squares by pairs made with PAHE.
pub struct Beaver;

impl Strategy for Beaver {
    fn name(&self) -> &'static str {
        "beaver"
    }

    fn operator(&self) -> Operator {
        Operator::Square
    }

    fn needs(&self) -> Needs {
        Needs::Prime
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        if site.node.op != Op::Square {
            return Err(Refusal("is no square".into()));
        }
        let mut refusal = Refusal("no parameter set fits".into());
        for (degree, limbs) in [(4096, 2), (8192, 3)] {
            let keys = KeySpec::plain(degree, limbs, site.from);
            let params = keys.params().map_err(|error| Refusal(error.to_string()))?;
            if params.slots().is_none() {
                refusal = Refusal(format!("{} is not 1 mod {}", site.from, 2 * degree));
                continue;
            }
            let norm = WeightNorm::slots(&params, 1);
            match formats(&params, |noise| noise.times(norm), site.run_coefficients) {
                Ok((upload, reply)) => {
                    let (modulus, len) = (site.from, site.node.shape.len());
                    return Ok(Box::new(Squares { keys, params, upload, reply, modulus, len }));
                }
                Err(reason) => refusal = reason,
            }
        }
        Err(refusal)
    }
}

struct Squares {
    keys: KeySpec,
    params: Arc<Params>,
    upload: UploadFormat,
    reply: ReplyFormat,
    modulus: Modulus,
    len: usize,
}

impl Squares {
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

    /// Slots from reply values mod p, appended to `out` up to the layer's length.
    fn decode(&self, polynomial: &mut [u64], out: &mut Vec<u64>) {
        let mut slots = vec![0; self.params.degree()];
        self.slots().decode_into(polynomial, &mut slots);
        out.extend(&slots[..slots.len().min(self.len - out.len())]);
    }

    /// Encodes the values of one block into the zeros of `out`.
    fn encode(&self, values: &[u64], out: &mut [u64]) {
        let mut slots = vec![0; self.params.degree()];
        slots[..values.len()].copy_from_slice(values);
        self.slots().encode_into(&slots, out);
    }

    /// a² plus the party's share of the cross term.
    fn pair(&self, a: Vec<u64>, cross: &[u64]) -> Prepared {
        let m = self.modulus;
        let c = a.iter().zip(cross).map(|(&a, &cross)| m.add(m.mul(a, a), cross)).collect();
        Prepared(vec![a, c])
    }

    /// Opens d = x − a and yields d with this party's 2·d∘a + c.
    fn open(
        &self,
        channel: &mut Channel,
        prepared: &Prepared,
        x: &[u64],
    ) -> Result<(Vec<u64>, Vec<u64>), ProtocolError> {
        let (m, [a, c]) = (self.modulus, &prepared.0[..]) else {
            return Err(ProtocolError::Disagreement("squares were not prepared".into()));
        };
        let own: Vec<u64> = x.iter().zip(a).map(|(&x, &a)| m.sub(x, a)).collect();
        let mut bytes = vec![0; packing::packed_len(self.len, m.bits())];
        channel.exchange(&packing::pack(&own, m.bits()), &mut bytes)?;
        let mut theirs = vec![0; self.len];
        packing::unpack_residues(&bytes, m, &mut theirs)?;
        let d: Vec<u64> = own.iter().zip(&theirs).map(|(&own, &theirs)| m.add(own, theirs)).collect();
        let product = |((&d, &a), &c): ((&u64, &u64), &u64)| m.add(m.mul(m.add(d, d), a), c);
        let share = d.iter().zip(a).zip(c).map(product).collect();
        Ok((d, share))
    }
}

impl Step for Squares {
    fn describe(&self) -> String {
        let Self { keys, upload, reply, len, .. } = self;
        format!("beaver squares {keys:?} {upload:?} {reply:?} {len}")
    }

    fn cost(&self) -> Cost {
        let (blocks, n) = (self.blocks(), self.params.degree());
        let up = UploadStream::HEADER_BYTES + blocks * self.upload.ciphertext_bytes(&self.params);
        let down = blocks * self.reply.reply_bytes(&self.params, n);
        let opening = packing::packed_len(self.len, self.modulus.bits()) as u64;
        Cost {
            offline: Flow { alice_to_bob: up as u64, bob_to_alice: down as u64, rounds: 1 },
            online: Flow { alice_to_bob: opening, bob_to_alice: opening, rounds: 1 },
        }
    }

    fn keys(&self) -> Option<KeySpec> {
        Some(self.keys.clone())
    }

    fn reply_coefficients(&self) -> u64 {
        (self.blocks() * self.params.degree()) as u64
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        let key = alice.key(&self.keys)?;
        let mut a = vec![0; self.len];
        self.modulus.sample(&mut alice.prg, &mut a);
        let mut encryptor = Encryptor::new(&key, self.upload, &mut alice.prg);
        let decryptor = Decryptor::new(&key, self.reply);
        let mut cross = Vec::with_capacity(self.len);
        alice.channel.stream(|tx, rx| {
            std::thread::scope(|scope| {
                let uploads = scope.spawn(|| {
                    tx.send(&encryptor.stream().header())?;
                    let mut bytes = Vec::new();
                    for index in 0..self.blocks() {
                        bytes.clear();
                        encryptor.encrypt(1, |_, out| self.encode(self.block(&a, index), out), &mut bytes);
                        tx.send(&bytes)?;
                    }
                    Ok::<_, ProtocolError>(tx.flush()?)
                });
                let received = (0..self.blocks()).try_for_each(|_| {
                    let bytes = rx.recv(self.reply.reply_bytes(&self.params, self.params.degree()))?;
                    let mut polynomial = Vec::new();
                    decryptor.decrypt(&bytes, &[Positions::All], &mut polynomial)?;
                    self.decode(&mut polynomial, &mut cross);
                    Ok::<_, ProtocolError>(())
                });
                match uploads.join() {
                    Ok(sent) => sent.and(received),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            })
        })?;
        Ok(self.pair(a, &cross))
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        let key = bob.key(&self.keys)?;
        let mut a = vec![0; self.len];
        self.modulus.sample(&mut bob.prg, &mut a);
        let mut sanitiser = Sanitiser::new(&key, self.reply, &mut bob.prg);
        let mut ciphertext = CiphertextBlock::new(&self.params, 1, 1);
        let mut factor = WeightBlock::new(&self.params, 1, 1, 1);
        let mut product = Accumulators::new(&self.params, 1, 1);
        let mut cross = Vec::with_capacity(self.len);
        bob.channel.stream(|tx, rx| {
            let mut header = [0; UploadStream::HEADER_BYTES];
            rx.recv_into(&mut header)?;
            let stream = UploadStream::from_header(&self.params, self.upload, header);
            for index in 0..self.blocks() {
                let bytes = rx.recv(stream.ciphertext_bytes())?;
                ciphertext.ingest(&stream, index as u64, &bytes, &[(0, 0)], None)?;
                let doubled: Vec<u64> =
                    self.block(&a, index).iter().map(|&a| self.modulus.add(a, a)).collect();
                factor.fill(|_, _, out| {
                    let mut polynomial = vec![0; out.len()];
                    self.encode(&doubled, &mut polynomial);
                    out.iter_mut().zip(&polynomial).for_each(|(out, &x)| *out = self.modulus.lift(x));
                });
                product.clear();
                product.multiply_accumulate(&ciphertext, &factor);
                let job = ReplyJob { source: product.sum(0, 0), positions: Positions::All };
                let (mut bytes, mut share) = (Vec::new(), Vec::new());
                sanitiser.reply(&[job], &mut bytes, &mut share);
                tx.send(&bytes)?;
                tx.flush()?;
                self.decode(&mut share, &mut cross);
            }
            Ok::<_, ProtocolError>(())
        })?;
        Ok(self.pair(a, &cross))
    }

    fn alice(
        &self,
        alice: &mut Alice,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        Ok(self.open(&mut alice.channel, &prepared, &inputs[0].values)?.1)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let (d, share) = self.open(&mut bob.channel, &prepared, &inputs[0].values)?;
        let m = self.modulus;
        Ok(share.iter().zip(&d).map(|(&share, &d)| m.add(share, m.mul(d, d))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Layer, run_layer, values_below};
    use prg::{Prg, Seed};

    #[test]
    fn squares_equal_the_integer_reference() {
        let mut prg = Prg::new(&Seed::from_bytes([61; 16]));
        for p in [40_961, 737_281, 16_760_833] {
            let modulus = Modulus::prime(p).unwrap();
            let limit = ((p / 2) as f64).sqrt() as i64 - 1;
            for len in [1, 5000] {
                let values = values_below(limit, len, &mut prg);
                run_layer(&Beaver, Layer::new(Op::Square, &values, modulus, modulus), &mut prg)
                    .assert_exact();
            }
        }
    }
}
