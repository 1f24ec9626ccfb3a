//! The scores themselves for Alice, in place of the labels: only where she asks for them and Bob allows it.
//!
//! Functionality: argmax or threshold from shares of the scores to the scores, which Alice learns, and from which she reads
//! the labels herself. Exact, over any modulus; nothing is compared.
//!
//! ```text
//!   Alice                                              Bob
//!   own + theirs mod m                   <--share--    own share of the scores
//! ```
//!
//! Security: Bob's message is determined by the scores and Alice's share, so that she learns the scores and no more. But scores
//! tell far more about the weights than labels do: with a scan of her choice each voxel is an equation in the last layer's
//! weights. Hence no run opens them unless Bob serves with that said ([`crate::session::Catalogue::opens_scores`]).
//! Cost: log2 m bits per score from Bob, who waits for nothing: no round. Constant time.

use crate::config::Operator;
use crate::cost::Cost;
use crate::error::ProtocolError;
use crate::party::{Alice, Bob};
use crate::share::Share;
use crate::strategy::{Prepared, Refusal, Site, Step, Strategy};
use models::manifest::LayerWeights;
use ntt::Modulus;
use ot::packing;

/// Argmax or threshold by Alice, who is shown the scores.
pub struct OpenReadout;

impl Strategy for OpenReadout {
    fn name(&self) -> &'static str {
        "open"
    }

    fn operator(&self) -> Operator {
        Operator::Readout
    }

    fn plan(&self, site: &Site<'_>) -> Result<Box<dyn Step>, Refusal> {
        Ok(Box::new(Open { n: site.inputs[0].len(), modulus: site.from }))
    }
}

struct Open {
    n: usize,
    modulus: Modulus,
}

impl Step for Open {
    fn describe(&self) -> String {
        format!("open {} mod {}", self.n, self.modulus)
    }

    fn cost(&self) -> Cost {
        Cost::online(0, packing::packed_len(self.n, self.modulus.bits()) as u64, 0)
    }

    fn opens(&self) -> bool {
        true
    }

    fn alice(&self, alice: &mut Alice, _: Prepared, inputs: &[&Share]) -> Result<Vec<u64>, ProtocolError> {
        let bytes = alice.channel.recv(packing::packed_len(self.n, self.modulus.bits()))?;
        let mut scores = vec![0; self.n];
        packing::unpack_residues(&bytes, self.modulus, &mut scores)?;
        let own = &inputs[0].values;
        scores.iter_mut().zip(own).for_each(|(score, &own)| *score = self.modulus.add(*score, own));
        Ok(scores)
    }

    fn bob(
        &self,
        bob: &mut Bob,
        _: Prepared,
        _: Option<&LayerWeights>,
        inputs: &[&Share],
    ) -> Result<Vec<u64>, ProtocolError> {
        bob.channel.send(&packing::pack(&inputs[0].values, self.modulus.bits()))?;
        bob.channel.flush()?;
        Ok(vec![0; self.n])
    }
}
