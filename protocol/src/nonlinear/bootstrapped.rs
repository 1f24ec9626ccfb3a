//! ReLU with truncation by programmable bootstrapping (TFHE, by the `tfhe` crate): for comparison only.
//!
//! Functionality: from shares of x mod 2^k, k ≤ 32, to shares of max(0, ⌊x/2^s + ½⌋) mod 2^t, exactly. Values stand in the
//! upper k bits of encrypted 32-bit integers, where sums wrap as shares do.
//!
//! ```text
//!   Alice (a)                                        Bob (b)
//!   offline: client key          --server key-->
//!   [a]                          --ciphertexts-->    [x] = [a] + b,  [y] = max(0, [x] + ½) ≫ s,  [y] + r
//!   decrypts y + r               <--ciphertexts--    −r
//! ```
//!
//! **Not for runs.** The mask hides y, but the noise of a bootstrapped ciphertext depends on what went into it, and nothing
//! here sanitises it: Alice, who has the key, could learn of b, hence of x. Published remedies (Ducas and Stehlé,
//! EUROCRYPT 2016; Bourse and Izabachène, FHE.org 2024) cost further bootstrappings or parameters that the crate does not
//! offer. So it is no entry of [`crate::strategy::STRATEGIES`]; `bunet bench activations` runs it on random values.
//! Cost: [`KEY`] bytes once, [`UP`] and [`DOWN`] bytes per value; one round.

use crate::config::Operator;
use crate::cost::{Cost, Flow};
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::Op;
use models::manifest::LayerWeights;
use ntt::Modulus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tfhe::named::Named;
use tfhe::prelude::*;
use tfhe::{
    ClientKey, CompressedFheInt32, CompressedServerKey, ConfigBuilder, DeserializationConfig, FheInt32,
    SerializationConfig, Unversionize, Versionize, set_server_key, unset_server_key,
};
use zeroize::Zeroizing;

/// Bits of the encrypted integers.
const WIDTH: u32 = 32;
/// Values of a layer: each takes seconds of a core.
const MOST: usize = 64;
/// Bytes of a compressed server key.
const KEY: usize = 60_228_265;
/// Bytes of an upload, seeded.
const UP: usize = 3_174;
/// Bytes of a reply.
const DOWN: usize = 264_100;
/// No message is longer.
const LIMIT: u64 = 1 << 30;

/// ReLU by bootstrapping.
pub struct BootstrappedRelu;

impl Strategy for BootstrappedRelu {
    fn name(&self) -> &'static str {
        "tfhe"
    }

    fn operator(&self) -> Operator {
        Operator::Relu
    }

    fn most_values(&self) -> usize {
        MOST
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        let Op::Relu { shift } = site.node.op else { return Err(Refusal("is no ReLU".into())) };
        let (Modulus::Pow2 { bits: from }, Modulus::Pow2 { bits: to }) = (site.from, site.to) else {
            return Err(Refusal("computes modulo powers of two, not modulo primes".into()));
        };
        let n = site.node.shape.len();
        if from > WIDTH || to > WIDTH || n > self.most_values() {
            return Err(Refusal(format!("takes up to {MOST} values of up to {WIDTH} bits")));
        }
        Ok(Box::new(Relu { from, to, shift, n }))
    }
}

struct Relu {
    from: u32,
    to: u32,
    shift: u32,
    n: usize,
}

impl Step for Relu {
    fn describe(&self) -> String {
        let Self { from, to, shift, n } = self;
        format!("tfhe relu {from} {to} {shift} {n}")
    }

    fn cost(&self) -> Cost {
        Cost {
            offline: Flow { alice_to_bob: KEY as u64, bob_to_alice: 0, rounds: 0 },
            online: Flow {
                alice_to_bob: (UP * self.n) as u64,
                bob_to_alice: (DOWN * self.n) as u64,
                rounds: 1,
            },
        }
    }

    fn prepare_alice(&self, alice: &mut Alice) -> Result<Prepared, ProtocolError> {
        let client = ClientKey::generate(ConfigBuilder::default().build());
        alice.channel.send(&write(&CompressedServerKey::new(&client), KEY)?)?;
        alice.channel.flush()?;
        Ok(keep(&Zeroizing::new(to_bytes(&client)?)))
    }

    fn prepare_bob(&self, bob: &mut Bob) -> Result<Prepared, ProtocolError> {
        Ok(keep(&bob.channel.recv(KEY)?))
    }

    fn alice(
        &self,
        alice: &mut Alice,
        prepared: Prepared,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let client: ClientKey = read(&kept(&prepared)?)?;
        for &a in &inputs[0].values {
            let upload = CompressedFheInt32::try_encrypt(self.raised(a), &client).map_err(failed)?;
            alice.channel.send(&write(&upload, UP)?)?;
        }
        let mask = Modulus::pow2(self.to).map_err(failed)?.value() - 1;
        (0..self.n)
            .map(|_| {
                let reply: FheInt32 = read(&alice.channel.recv(DOWN)?)?;
                let masked: i32 = reply.decrypt(&client);
                Ok(u64::from(masked as u32) & mask)
            })
            .collect()
    }

    fn bob(
        &self,
        bob: &mut Bob,
        prepared: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        let server: CompressedServerKey = read(&kept(&prepared)?)?;
        set_server_key(server.decompress());
        let shares = inputs[0].values.iter().map(|&b| self.bob_value(bob, b)).collect();
        unset_server_key();
        shares
    }
}

impl Relu {
    /// A share in the upper bits.
    fn raised(&self, share: u64) -> i32 {
        ((share as u32) << (WIDTH - self.from)) as i32
    }

    fn bob_value(&self, bob: &mut Bob, b: u64) -> Result<u64, ProtocolError> {
        let modulus = Modulus::pow2(self.to).map_err(failed)?;
        let upload: CompressedFheInt32 = read(&bob.channel.recv(UP)?)?;
        let half = self.raised(if self.shift > 0 { 1 << (self.shift - 1) } else { 0 });
        let x = upload.decompress() + self.raised(b).wrapping_add(half);
        let y = x.max(0_i32) >> (WIDTH - self.from + self.shift);
        let r = bob.prg.next_u64() as u32;
        bob.channel.send(&write(&(y + r as i32), DOWN)?)?;
        bob.channel.flush()?;
        Ok(modulus.sub(0, u64::from(r) & (modulus.value() - 1)))
    }
}

fn failed(error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::Disagreement(format!("tfhe: {error}"))
}

fn to_bytes<T: Serialize + Versionize + Named>(object: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = Vec::new();
    SerializationConfig::new(LIMIT).serialize_into(object, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Bytes of the length that is declared.
fn write<T: Serialize + Versionize + Named>(object: &T, len: usize) -> Result<Vec<u8>, ProtocolError> {
    let bytes = to_bytes(object)?;
    if bytes.len() != len {
        return Err(failed(format!("{} takes {} bytes, not {len}", T::NAME, bytes.len())));
    }
    Ok(bytes)
}

fn read<T: DeserializeOwned + Unversionize + Named>(bytes: &[u8]) -> Result<T, ProtocolError> {
    DeserializationConfig::new(LIMIT).disable_conformance().deserialize_from(bytes).map_err(failed)
}

/// Bytes as words, their number first.
fn keep(bytes: &[u8]) -> Prepared {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    Prepared(vec![std::iter::once(bytes.len() as u64).chain(words).collect()])
}

fn kept(prepared: &Prepared) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    let words = prepared.0.first().and_then(|words| words.split_first());
    let (len, words) = words.ok_or_else(|| failed("keys were not prepared"))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * words.len()));
    words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.truncate(*len as usize);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ots::Source;
    use crate::testing::{Layer, try_run_layer};
    use models::Shape;
    use prg::Prg;

    #[test]
    fn messages_are_as_long_as_declared() {
        let client = ClientKey::generate(ConfigBuilder::default().build());
        let server = CompressedServerKey::new(&client);
        let upload = CompressedFheInt32::try_encrypt(-5, &client).unwrap();
        set_server_key(server.decompress());
        let reply = upload.decompress().max(0_i32) + 3;
        unset_server_key();
        let lengths =
            [to_bytes(&server), to_bytes(&upload), to_bytes(&reply)].map(|bytes| bytes.unwrap().len());
        assert_eq!(lengths, [KEY, UP, DOWN]);
    }

    #[test]
    fn it_rectifies_exactly_up_to_the_ends_of_the_range() {
        let m = Modulus::pow2(24).unwrap();
        let largest = (1 << 23) - 129;
        let values = [-largest, -129, -1, 0, 127, 128, largest];
        let shape = Shape { channels: 1, dims: [1, 1, values.len()] };
        let layer = Layer::shaped(Op::Relu { shift: 8 }, shape, &values, m, m);
        let run = try_run_layer(Source::Iknp, &BootstrappedRelu, layer, &mut Prg::from_os()).unwrap();
        run.assert_exact();
    }
}
