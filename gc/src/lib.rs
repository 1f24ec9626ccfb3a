//! Garbled circuits: free XOR, half gates, re-keyed, batched.
//!
//! Functionality: for each of n instances of a public [`Circuit`], the garbler brings numbers and masks, the evaluator
//! brings words; the evaluator learns value − mask for every shared output (the garbler's share is its mask), and one
//! of the two, by [`Reveal`], learns every revealed output. Either party of a protocol may play either role.
//!
//! Papers: free XOR (Kolesnikov, Schneider, ICALP 2008); point-and-permute (Beaver, Micali, Rogaway, STOC 1990); half
//! gates (Zahur, Rosulek, Evans, EUROCRYPT 2015, ePrint 2014/756, figure 2); concrete security and re-keying (Guo,
//! Katz, Wang, Weng, Yu, CRYPTO 2020, ePrint 2019/1168); projections (ePrint 2016/969, section 3) for outputs that
//! become additive shares. The transcript of a batch stands in front of the `batch` module's source.
//!
//! Deviations: labels of the garbler's inputs are not sent, both parties derive the active ones; instances lie side by
//! side in lanes of 16, each lane group garbled as a whole; shared outputs are garbled as weighted bits (a row of
//! residues each) and not by a subtractor.
//!
//! Security: semi-honest. The hash is π_K(σ(x) ⊕ tweak) ⊕ σ(x) with AES-128 as π: circular correlation robust for
//! labels as half gates derive them, in the ideal-cipher model (2014/756, section 5; σ linear orthomorphism as in
//! ePrint 2019/074). A key serves 8 operations of one lane group, 128 of them in all, with at most 256 tweaks of its
//! own, and never returns: a multi-instance attack gains a factor 2^8 and not the number of gates, which leaves
//! 128 − 8 = 120 bits. Garbling does not authenticate: a peer that sends wrong tables, or a channel that lets them be
//! changed, gives wrong outputs and is not noticed; a malicious garbler learns more than it should. Lengths and ranges
//! are checked all the same.
//!
//! The offset is that of the source of correlated OTs, which makes the labels of the evaluator's inputs and may serve
//! hashed OTs beside: both hashes are circular correlation robust for one offset, under keys that never meet (one
//! offset for free XOR and for hashed authenticated bits: Wang, Ranellucci, Katz, CCS 2017, ePrint 2017/030). A batch
//! takes its keys and its garbler's labels from the source's seed and position, of which none comes twice.
//!
//! Cost ([`cost`], exact): 32 bytes per AND; per weighted bit of a shared output 1 row, 3 if it is an AND, of
//! ⌈(bits of the residue)/8⌉ bytes, and one such residue per shared output; 1 bit per revealed bit; and an oblivious
//! transfer per bit that the evaluator feeds ([`transfers`]). One round. Memory: a few chunks of 256 KiB of tables per
//! thread and their input labels, whatever n is; a circuit larger than that takes its own size for 16 instances.
//!
//! Constant time in inputs, masks and labels.
//!
//! ```
//! use channels::memory;
//! use gc::{Reveal, circuits::Relu};
//! use ntt::Modulus;
//! use ot::{CotReceiver, CotSender};
//! use prg::Prg;
//!
//! let m = Modulus::pow2(24)?;
//! let relu = Relu { m_in: m, m_out: m, shift: 8 };
//! // x = a + b = −512 and 1000; shares of the results are masks for the garbler, the rest for the evaluator.
//! let (a, b) = ([5, 900], [m.reduce(-517), 100]);
//! let masks = [77, 88];
//! let (mut to_bob, mut to_alice) = memory::pair();
//! let shares = std::thread::scope(|scope| {
//!     scope.spawn(|| -> Result<_, gc::GcError> {
//!         let mut prg = Prg::from_os();
//!         let offset = u128::from_le_bytes(*prg.seed().as_bytes()) | 1;
//!         let mut labels = CotSender::setup(&mut to_bob, offset, &mut prg)?;
//!         gc::garble(&mut labels, &mut to_bob, &relu, &[&a, &masks], 2, Reveal::ToEvaluator)
//!     });
//!     let mut labels = CotReceiver::setup(&mut to_alice, &mut Prg::from_os())?;
//!     gc::evaluate(&mut labels, &mut to_alice, &relu, &[&b], 2, Reveal::ToEvaluator)
//! })?;
//! assert_eq!([m.add(shares[0][0], masks[0]), m.add(shares[0][1], masks[1])], [0, 4]); // 1000/256, half up
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod batch;
mod chunk;
mod circuit;
pub mod circuits;
mod cost;
mod error;
mod gates;
mod group;
mod kernel;
mod layout;
mod local;
mod packing;
mod program;
mod session;
mod term;
pub mod word;

pub use batch::{Reveal, evaluate, garble, transfers};
pub use circuit::{Circuit, Output, OutputKind, Shape, Sum, Term, clear};
pub use cost::{Cost, cost};
pub use error::GcError;
pub use gates::{Clear, Gates, Word};
pub use kernel::Isa;
pub use local::LocalChunk;
pub use program::Program;
