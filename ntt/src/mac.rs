//! Lazy multiply-accumulate: sums\[tile\]\[o\] = Σ_i pairs\[tile\]\[i\] · weights\[i\]\[o\], pointwise in the NTT domain.
//!
//! A *pair* is the two polynomials of a ciphertext. The layout decides the speed: eight lanes of every operand form a
//! 64-byte [`Group`], and all groups with one lane position of one limb form a *slab*, in which the kernel walks
//! straight through memory:
//!
//! | type | slab order |
//! | --- | --- |
//! | [`PairTiles`] | \[tile block\]\[input\]\[tile in block\]\[polynomial\] |
//! | [`WeightTiles`] | \[output block\]\[input\]\[output in block\] |
//! | [`PairSums`] | \[tile block\]\[output\]\[tile in block\]\[polynomial\] |
//!
//! Slabs follow each other by limb, then lane position. Each ends with one unused group, so that the distance between
//! slabs is no power of two (which would map them all to the same cache sets). A slab of weights stays in cache while
//! all tiles pass over it. Blocks are 2 tiles × 2 outputs, or 1 × 4 for a single tile: sixteen accumulator registers.
//!
//! Products of reduced 50-bit operands are summed unreduced; headroom and carries are those of [`Lanes::Sum`].
//! Plaintexts that are constant over stretches of the domain take a word per stretch instead: [`flat`].
//! While a slab is worked on, the next one is asked for: it comes from memory.
//! Cost: tiles × inputs × outputs × 2 × limbs × n products, 0.07 to 0.1 ns each with AVX-512. Constant time: yes.

pub mod flat;

use crate::pages::zeroed;
use crate::ring::{Modular, Ring};
use crate::simd::{Group, Isa, Kernel, LANES, Lanes, Weight};
use meter::Primitive;
use rayon::prelude::*;

/// Most inputs of one block: the headroom of [`Lanes::Sum`].
pub const MAX_INPUTS: usize = 32_768;

/// Slabs per parallel task.
const SLABS_PER_TASK: usize = 16;

/// How many tiles and outputs the inner loop handles at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocking {
    tiles: usize,
    outputs: usize,
}

impl Blocking {
    fn for_tiles(tiles: usize) -> Self {
        if tiles == 1 { Self { tiles: 1, outputs: 4 } } else { Self { tiles: 2, outputs: 2 } }
    }
}

/// Slabs of `stride` groups each, one per limb and lane position.
struct Slabs {
    groups: Vec<Group>,
    degree: usize,
    stride: usize,
}

impl Slabs {
    fn empty(degree: usize) -> Self {
        Self { groups: Vec::new(), degree, stride: 1 }
    }

    /// Another shape in the same memory. What was there stays, wherever it now is: reduced residues of some limb,
    /// hence valid operands until they are overwritten.
    fn reshape(&mut self, limbs: usize, degree: usize, used: usize) {
        let len = limbs * degree / LANES * (used + 1);
        let groups = std::mem::take(&mut self.groups);
        (self.degree, self.stride) = (degree, used + 1);
        self.groups = if groups.capacity() < len { zeroed(len) } else { groups };
        self.groups.resize(len, Group::default());
    }

    /// The slab of this number, empty if there is none.
    fn get(&self, slab: usize) -> &[Group] {
        self.groups.get(slab * self.stride..(slab + 1) * self.stride).unwrap_or_default()
    }

    /// Copies polynomial `k` of `staged` (each `limbs·n` words) to position `place(k)` of all slabs.
    fn scatter(&mut self, staged: &[u64], polynomials: usize, place: impl Fn(usize) -> usize) {
        let per_limb = self.degree / LANES;
        let words = self.groups.len() / self.stride * LANES;
        assert_eq!(staged.len(), polynomials * words, "staged polynomials have all limbs");
        let (stride, staged) = (self.stride, staged.as_chunks::<LANES>().0);
        let (per_task, isa) = (SLABS_PER_TASK.min(per_limb), Isa::detect());
        let places: Vec<_> = (0..polynomials).map(place).collect();
        self.groups.par_chunks_mut(stride * per_task).enumerate().for_each(|(task, slabs)| {
            for (at, staged) in places.iter().zip(staged.chunks_exact(words / LANES)) {
                isa.run(Scatter { staged: &staged[task * per_task..], slabs, stride, at: *at });
            }
        });
    }

    /// Reads position `place(k)` of all slabs into polynomial `k` of `staged`, for each of `polynomials`.
    fn gather(&self, polynomials: usize, place: impl Fn(usize) -> usize, staged: &mut [u64]) {
        let slabs = self.groups.len() / self.stride;
        assert_eq!(staged.len(), polynomials * slabs * LANES, "staged polynomials have all limbs");
        let staged = staged.as_chunks_mut::<LANES>().0;
        for (i, slab) in self.groups.chunks_exact(self.stride).enumerate() {
            for k in 0..polynomials {
                staged[k * slabs + i] = slab[place(k)].0;
            }
        }
    }
}

/// Copies of groups to one place of consecutive slabs, as wide as registers are.
struct Scatter<'a> {
    staged: &'a [[u64; LANES]],
    slabs: &'a mut [Group],
    stride: usize,
    at: usize,
}

impl Kernel for Scatter<'_> {
    type Output = ();
    #[inline(always)]
    fn run<L: Lanes>(self) {
        for (slab, group) in self.slabs.chunks_exact_mut(self.stride).zip(self.staged) {
            L::load(group).store(&mut slab[self.at].0);
        }
    }
}

/// Ciphertext pairs, `tiles` × `inputs`.
pub struct PairTiles {
    slabs: Slabs,
    blocking: Blocking,
    tiles: usize,
    inputs: usize,
}

impl PairTiles {
    /// Zeros for `limbs` limbs of degree `degree`.
    ///
    /// # Panics
    /// If `tiles` or `inputs` is zero or `inputs` exceeds [`MAX_INPUTS`].
    pub fn new(limbs: usize, degree: usize, tiles: usize, inputs: usize) -> Self {
        let (slabs, blocking) = (Slabs::empty(degree), Blocking::for_tiles(tiles));
        let mut this = Self { slabs, blocking, tiles, inputs };
        this.reshape(limbs, degree, tiles, inputs);
        this
    }

    /// Another shape in the same memory, with unspecified contents.
    ///
    /// # Panics
    /// As [`PairTiles::new`].
    pub fn reshape(&mut self, limbs: usize, degree: usize, tiles: usize, inputs: usize) {
        assert!(tiles > 0 && inputs > 0 && inputs <= MAX_INPUTS, "{tiles} tiles of {inputs} inputs");
        (self.blocking, self.tiles, self.inputs) = (Blocking::for_tiles(tiles), tiles, inputs);
        self.slabs.reshape(limbs, degree, tiles.next_multiple_of(self.blocking.tiles) * inputs * 2);
    }

    /// Tiles and inputs.
    pub fn shape(&self) -> (usize, usize) {
        (self.tiles, self.inputs)
    }

    /// Stores pairs in the NTT domain. `staged` holds, for each of the `places` (tile, input), the first polynomial
    /// and then the second, each as all its limbs.
    ///
    /// # Panics
    /// If a place is outside of the block or `staged` has another length.
    pub fn scatter(&mut self, places: &[(usize, usize)], staged: &[u64]) {
        let (tiles, inputs, block) = (self.tiles, self.inputs, self.blocking.tiles);
        self.slabs.scatter(staged, 2 * places.len(), |k| {
            let (tile, input) = places[k / 2];
            assert!(tile < tiles && input < inputs, "place ({tile}, {input}) of {tiles} × {inputs}");
            (((tile / block) * inputs + input) * block + tile % block) * 2 + k % 2
        });
    }
}

/// Plaintexts in the NTT domain, `inputs` × `outputs`.
pub struct WeightTiles {
    slabs: Slabs,
    blocking: Blocking,
    inputs: usize,
    outputs: usize,
}

impl WeightTiles {
    /// Zeros, for pairs of `tiles` tiles.
    ///
    /// # Panics
    /// If a dimension is zero or `inputs` exceeds [`MAX_INPUTS`].
    pub fn new(limbs: usize, degree: usize, tiles: usize, inputs: usize, outputs: usize) -> Self {
        let (slabs, blocking) = (Slabs::empty(degree), Blocking::for_tiles(tiles));
        let mut this = Self { slabs, blocking, inputs, outputs };
        this.reshape(limbs, degree, tiles, inputs, outputs);
        this
    }

    /// Another shape in the same memory, with unspecified contents.
    ///
    /// # Panics
    /// As [`WeightTiles::new`].
    pub fn reshape(&mut self, limbs: usize, degree: usize, tiles: usize, inputs: usize, outputs: usize) {
        let valid = tiles > 0 && outputs > 0 && inputs > 0 && inputs <= MAX_INPUTS;
        assert!(valid, "{inputs} × {outputs} weights");
        (self.blocking, self.inputs, self.outputs) = (Blocking::for_tiles(tiles), inputs, outputs);
        self.slabs.reshape(limbs, degree, inputs * outputs.next_multiple_of(self.blocking.outputs));
    }

    /// Inputs and outputs.
    pub fn shape(&self) -> (usize, usize) {
        (self.inputs, self.outputs)
    }

    /// Stores polynomials in the NTT domain; `staged` holds all limbs of each of the `places` (input, output).
    ///
    /// # Panics
    /// If a place is outside of the block or `staged` has another length.
    pub fn scatter(&mut self, places: &[(usize, usize)], staged: &[u64]) {
        let (inputs, outputs, block) = (self.inputs, self.outputs, self.blocking.outputs);
        self.slabs.scatter(staged, places.len(), |k| {
            let (input, output) = places[k];
            assert!(input < inputs && output < outputs, "place ({input}, {output}) of {inputs} × {outputs}");
            ((output / block) * inputs + input) * block + output % block
        });
    }
}

/// Accumulated pairs, `tiles` × `outputs`, reduced.
pub struct PairSums {
    slabs: Slabs,
    blocking: Blocking,
    tiles: usize,
    outputs: usize,
    padded_outputs: usize,
}

impl PairSums {
    /// Zeros.
    ///
    /// # Panics
    /// If a dimension is zero.
    pub fn new(limbs: usize, degree: usize, tiles: usize, outputs: usize) -> Self {
        let (slabs, blocking) = (Slabs::empty(degree), Blocking::for_tiles(tiles));
        let mut this = Self { slabs, blocking, tiles, outputs, padded_outputs: outputs };
        this.reshape(limbs, degree, tiles, outputs);
        this
    }

    /// Another shape in the same memory, with unspecified contents.
    ///
    /// # Panics
    /// As [`PairSums::new`].
    pub fn reshape(&mut self, limbs: usize, degree: usize, tiles: usize, outputs: usize) {
        assert!(tiles > 0 && outputs > 0, "{tiles} × {outputs} sums");
        let blocking = Blocking::for_tiles(tiles);
        (self.blocking, self.tiles, self.outputs) = (blocking, tiles, outputs);
        self.padded_outputs = outputs.next_multiple_of(blocking.outputs);
        self.slabs.reshape(limbs, degree, tiles.next_multiple_of(blocking.tiles) * self.padded_outputs * 2);
    }

    /// Tiles and outputs.
    pub fn shape(&self) -> (usize, usize) {
        (self.tiles, self.outputs)
    }

    /// Copies the sums at `places` (tile, output) to `staged`: for each the first polynomial and then the second,
    /// each as all its limbs. Neighbouring places share cache lines and pages, so take several at once.
    ///
    /// # Panics
    /// If a place is outside or `staged` has another length.
    pub fn gather(&self, places: &[(usize, usize)], staged: &mut [u64]) {
        let block = self.blocking.tiles;
        let place = |k: usize| {
            let (tile, output) = places[k / 2];
            assert!(tile < self.tiles && output < self.outputs, "place ({tile}, {output})");
            (((tile / block) * self.padded_outputs + output) * block + tile % block) * 2 + k % 2
        };
        self.slabs.gather(2 * places.len(), place, staged);
    }
}

/// sums = pairs · weights, limb by limb over `rings`, in parallel over slabs.
///
/// # Panics
/// If the shapes do not fit together.
pub fn multiply_accumulate(rings: &[&Ring], pairs: &PairTiles, weights: &WeightTiles, sums: &mut PairSums) {
    assert!(pairs.inputs == weights.inputs && weights.outputs == sums.outputs, "shapes");
    assert!(pairs.blocking == weights.blocking, "weights were laid out for another number of tiles");
    let degree = pairs.slabs.degree;
    assert!(weights.slabs.degree == degree, "one degree");
    assert_eq!(weights.slabs.groups.len(), rings.len() * degree / LANES * weights.slabs.stride, "limbs");
    for_each_slab(rings, pairs, sums, |slab| {
        let now = weights.slabs.get(slab);
        (&now[..now.len() - 1], weights.slabs.get(slab + 1)) // the padding group is left out
    });
}

/// sums = pairs · weights where `weights` tells those of a slab, and what should be asked for meanwhile.
fn for_each_slab<'w, W: Weight + 'w>(
    rings: &[&Ring],
    pairs: &PairTiles,
    sums: &mut PairSums,
    weights: impl Fn(usize) -> (&'w [W], &'w [Group]) + Sync,
) {
    assert!(pairs.tiles == sums.tiles && pairs.blocking == sums.blocking, "shapes");
    let degree = pairs.slabs.degree;
    assert!(rings.iter().all(|ring| ring.degree() == degree), "one degree");
    let per_limb = degree / LANES;
    for operand in [&pairs.slabs, &sums.slabs] {
        assert_eq!(operand.groups.len(), rings.len() * per_limb * operand.stride, "one ring per limb");
    }
    let (inputs, blocking) = (pairs.inputs, pairs.blocking);
    let slabs = sums.slabs.groups.par_chunks_mut(sums.slabs.stride).enumerate().with_min_len(SLABS_PER_TASK);
    let metered = || meter::scope(Primitive::Hadamard);
    slabs.for_each_init(metered, |_, (slab, sums)| {
        let ring = rings[slab / per_limb];
        let (p, pairs_ahead) = (ring.modulus(), pairs.slabs.get(slab + 1));
        let (weights, weights_ahead) = weights(slab);
        let (pairs, ahead) = (pairs.slabs.get(slab), [pairs_ahead, weights_ahead]);
        run_slab(ring.isa(), blocking, Operands { p, inputs, pairs, weights, ahead, sums });
    });
}

/// One slab of each operand, pairs and sums with their padding group, and the groups that come next.
struct Operands<'a, W> {
    p: u64,
    inputs: usize,
    pairs: &'a [Group],
    weights: &'a [W],
    ahead: [&'a [Group]; 2],
    sums: &'a mut [Group],
}

fn run_slab<W: Weight>(isa: Isa, blocking: Blocking, operands: Operands<'_, W>) {
    if blocking.tiles == 1 {
        isa.run(Slab::<W, 2, 4>(operands));
    } else {
        isa.run(Slab::<W, 4, 2>(operands));
    }
}

/// In blocks of `P` polynomials (two per tile) × `O` outputs.
struct Slab<'a, W, const P: usize, const O: usize>(Operands<'a, W>);

impl<W: Weight, const P: usize, const O: usize> Kernel for Slab<'_, W, P, O> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Operands { p, inputs, pairs, weights, ahead, sums } = self.0;
        let m = Modular::<L>::new(p);
        let pairs = pairs[..pairs.len() - 1].as_chunks::<P>().0; // the padding group is left out
        let weights = weights.as_chunks::<O>().0;
        let used = sums.len() - 1;
        let output_blocks = weights.len() / inputs;
        let blocks = output_blocks * (pairs.len() / inputs);
        let [mut next_pairs, mut next_weights] =
            ahead.map(|slab| slab.chunks(slab.len().div_ceil(blocks).max(1)));
        for (output_block, weights) in weights.chunks_exact(inputs).enumerate() {
            for (tile_block, pairs) in pairs.chunks_exact(inputs).enumerate() {
                let at = (tile_block * output_blocks + output_block) * O * P;
                let ahead = [&mut next_pairs, &mut next_weights].map(|next| next.next().unwrap_or_default());
                let products = L::sum_products(pairs, weights, ahead);
                let products = products.as_flattened().iter();
                for (sum, &products) in sums[..used][at..at + O * P].iter_mut().zip(products) {
                    let (low, high) = L::split(products);
                    m.wide(low, high).store(&mut sum.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::ntt_primes;
    use crate::simd::CARRY_EVERY;
    use prg::{Prg, Seed};

    /// A block with random contents, and the slow sums at one coefficient of each polynomial and limb.
    fn check(
        isa: Isa,
        limbs: &[u64],
        degree: usize,
        tiles: usize,
        inputs: usize,
        outputs: usize,
        largest: bool,
    ) {
        let rings: Vec<Ring> = limbs.iter().map(|&p| Ring::with_isa(degree, p, isa).unwrap()).collect();
        let rings: Vec<&Ring> = rings.iter().collect();
        let mut prg = Prg::new(&Seed::from_bytes([8; 16]));
        let mut polynomials = |count: usize| {
            let mut all = vec![0; count * limbs.len() * degree];
            for (k, x) in all.chunks_exact_mut(degree).enumerate() {
                let p = limbs[k % limbs.len()];
                if largest { x.fill(p - 1) } else { prg.fill_below(x, p) }
            }
            all
        };
        let pair_places: Vec<_> = (0..tiles).flat_map(|t| (0..inputs).map(move |i| (t, i))).collect();
        let weight_places: Vec<_> = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o))).collect();
        let (x, w) = (polynomials(2 * tiles * inputs), polynomials(inputs * outputs));
        // Memory that held another shape before.
        let mut pairs = PairTiles::new(1, 2 * degree, 1, 3);
        pairs.scatter(&[(0, 0)], &vec![limbs[0] - 1; 4 * degree]);
        pairs.reshape(limbs.len(), degree, tiles, inputs);
        let mut weights = WeightTiles::new(1, 2 * degree, 1, 1, 3);
        weights.scatter(&[(0, 2)], &vec![limbs[0] - 1; 2 * degree]);
        weights.reshape(limbs.len(), degree, tiles, inputs, outputs);
        let mut sums = PairSums::new(1, 2 * degree, 2, 2);
        sums.reshape(limbs.len(), degree, tiles, outputs);
        pairs.scatter(&pair_places, &x);
        weights.scatter(&weight_places, &w);
        multiply_accumulate(&rings, &pairs, &weights, &mut sums);
        let words = limbs.len() * degree;
        let mut got = vec![0; 2 * words];
        for (t, o, (l, &p)) in (0..tiles)
            .flat_map(|t| (0..outputs).map(move |o| (t, o)))
            .flat_map(|(t, o)| limbs.iter().enumerate().map(move |l| (t, o, l)))
        {
            sums.gather(&[(t, o)], &mut got);
            for q in 0..2 {
                for c in [0, (3 * t + 5 * o + l) % degree, degree - 1] {
                    let term = |i: usize| {
                        let a = x[((t * inputs + i) * 2 + q) * words + l * degree + c];
                        let b = w[(i * outputs + o) * words + l * degree + c];
                        u128::from(a) * u128::from(b) % u128::from(p)
                    };
                    let expected = (0..inputs).map(term).sum::<u128>() % u128::from(p);
                    assert_eq!(
                        u128::from(got[q * words + l * degree + c]),
                        expected,
                        "{} tile {t} output {o} limb {l}",
                        isa.name()
                    );
                }
            }
        }
    }

    #[test]
    fn sums_are_those_of_integers() {
        let limbs: Vec<u64> = ntt_primes(256, 50).take(2).chain(ntt_primes(256, 31).take(1)).collect();
        for isa in Isa::available() {
            for (tiles, inputs, outputs) in
                [(1, 1, 1), (1, 3, 5), (2, 7, 2), (3, 2, 3), (5, 4, 1), (8, 16, 7)]
            {
                check(isa, &limbs, 64, tiles, inputs, outputs, false);
            }
            check(isa, &limbs[..1], 256, 3, 2, 2, false); // more slabs than one task
        }
    }

    #[test]
    fn the_largest_residues_do_not_overflow_the_headroom() {
        let limb: Vec<u64> = ntt_primes(16, 50).take(1).collect();
        for isa in Isa::available() {
            check(isa, &limb, 16, 1, MAX_INPUTS, 1, true);
            check(isa, &limb, 16, 2, CARRY_EVERY + 1, 1, true);
        }
    }
}
