//! The fixed-point machine that functions and training are written for once, and run on several times: over shares
//! ([`Party`]) and in the clear ([`Clear`](crate::clear::Clear)), with the same integer semantics.

use crate::conv::Conv;
use crate::error::Error;
use crate::party::Party;
use crate::pool::{MaxPool, Route};
use crate::share::{Bits, Shares};
use channels::Traffic;

/// A vector of secrets or of plain integers, modulo 2^64, with its local operations.
pub trait Vector: Clone {
    /// Zeros.
    fn zeros(len: usize) -> Self;
    /// Number of values.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Value-wise sum.
    fn add(&self, other: &Self) -> Self;
    /// Value-wise difference.
    fn sub(&self, other: &Self) -> Self;
    /// Product with a public integer.
    fn scale(&self, factor: u64) -> Self;
    /// The values at `index`, in that order.
    fn gather(&self, index: &[usize]) -> Self;
    /// The values from `start` on, `len` of them.
    fn slice(&self, start: usize, len: usize) -> Self;
    /// All values of all parts.
    fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self
    where
        Self: 'a;
}

/// A function of the leading bit's position.
pub type Table<'a> = &'a dyn Fn(u32) -> u64;

/// Operations on [`Vector`]s that need the other parties, with the meaning that [`Party`]'s methods have.
pub trait Arithmetic: Sized {
    /// Vectors.
    type Vector: Vector;
    /// Secret bits, one per value.
    type Mask;
    /// Winners of a pooling.
    type Route;
    /// What can fail.
    type Error;

    /// What this party sent and received so far; nothing in the clear.
    fn traffic(&mut self) -> Traffic {
        Traffic::default()
    }

    /// x + c.
    fn add_public(&self, x: &Self::Vector, constant: u64) -> Self::Vector;
    /// Shares of public values.
    fn public(&self, values: &[u64]) -> Self::Vector;
    /// x·y/2^shift, rounded stochastically.
    fn mul_fixed(
        &mut self,
        x: &Self::Vector,
        y: &Self::Vector,
        shift: u32,
    ) -> Result<Self::Vector, Self::Error>;
    /// x²/2^shift.
    fn square_fixed(&mut self, x: &Self::Vector, shift: u32) -> Result<Self::Vector, Self::Error> {
        self.mul_fixed(x, x, shift)
    }
    /// x/2^shift.
    fn truncate(&mut self, x: &Self::Vector, shift: u32) -> Result<Self::Vector, Self::Error>;
    /// max(0, x) and where x ≥ 0.
    fn rectify(&mut self, x: &Self::Vector, bits: u32) -> Result<(Self::Vector, Self::Mask), Self::Error>;
    /// max(0, x).
    fn clip(&mut self, x: &Self::Vector, bits: u32) -> Result<Self::Vector, Self::Error> {
        Ok(self.rectify(x, bits)?.0)
    }
    /// x where the mask is set, else 0.
    fn masked(&mut self, mask: &Self::Mask, x: &Self::Vector) -> Result<Self::Vector, Self::Error>;
    /// The value-wise maximum.
    fn largest(&mut self, candidates: &[Self::Vector], bits: u32) -> Result<Self::Vector, Self::Error>;
    /// `ones` where a candidate is the first of the largest, else 0, candidate after candidate.
    fn argmax(&mut self, candidates: &[Self::Vector], bits: u32) -> Result<Self::Vector, Self::Error>;
    /// Max pooling.
    fn pool(
        &mut self,
        pool: &MaxPool,
        x: &Self::Vector,
        bits: u32,
    ) -> Result<(Self::Vector, Self::Route), Self::Error>;
    /// Its gradient.
    fn unpool(
        &mut self,
        pool: &MaxPool,
        route: &Self::Route,
        gradient: &Self::Vector,
    ) -> Result<Self::Vector, Self::Error>;
    /// Two tables at the leading bit of x, 0 < x < 2^bits.
    fn by_leading_bit(
        &mut self,
        x: &Self::Vector,
        bits: u32,
        tables: [Table<'_>; 2],
    ) -> Result<[Self::Vector; 2], Self::Error>;
    /// Convolution; bias at the scale of the product.
    fn convolve(
        &mut self,
        plan: &Conv,
        x: &Self::Vector,
        weights: &Self::Vector,
        bias: &Self::Vector,
        shift: u32,
    ) -> Result<Self::Vector, Self::Error>;
    /// Gradient of a convolution's input.
    fn convolve_back(
        &mut self,
        plan: &Conv,
        gradient: &Self::Vector,
        weights: &Self::Vector,
        shift: u32,
    ) -> Result<Self::Vector, Self::Error>;
    /// Gradients of the weights and biases of several convolutions, given (plan, x, gradient): one after the other,
    /// sums over the batch; biases multiplied by 2^`bias_shift` to the scale of the product, all truncated by `shift`.
    fn weight_gradients(
        &mut self,
        layers: &[(&Conv, &Self::Vector, &Self::Vector)],
        bias_shift: u32,
        shift: u32,
    ) -> Result<Self::Vector, Self::Error>;
    /// Reveals a vector to whoever runs this.
    fn reveal(&mut self, x: &Self::Vector) -> Result<Vec<u64>, Self::Error>;
}

impl Vector for Shares<u64> {
    fn zeros(len: usize) -> Self {
        Shares::zeros(len)
    }
    fn len(&self) -> usize {
        Shares::len(self)
    }
    fn add(&self, other: &Self) -> Self {
        Shares::add(self, other)
    }
    fn sub(&self, other: &Self) -> Self {
        Shares::sub(self, other)
    }
    fn scale(&self, factor: u64) -> Self {
        Shares::scale(self, factor)
    }
    fn gather(&self, index: &[usize]) -> Self {
        Shares::gather(self, index)
    }
    fn slice(&self, start: usize, len: usize) -> Self {
        Shares::slice(self, start, len)
    }
    fn concat<'a>(parts: impl IntoIterator<Item = &'a Self>) -> Self {
        Shares::concat(parts)
    }
}

impl Arithmetic for Party {
    type Vector = Shares<u64>;
    type Mask = Bits;
    type Route = Route;
    type Error = Error;

    fn traffic(&mut self) -> Traffic {
        Party::traffic(self)
    }

    fn add_public(&self, x: &Shares<u64>, constant: u64) -> Shares<u64> {
        Party::add_public(self, x, constant)
    }

    fn public(&self, values: &[u64]) -> Shares<u64> {
        Party::public(self, values)
    }

    fn mul_fixed(&mut self, x: &Shares<u64>, y: &Shares<u64>, shift: u32) -> Result<Shares<u64>, Error> {
        Party::mul_fixed(self, x, y, shift)
    }

    fn truncate(&mut self, x: &Shares<u64>, shift: u32) -> Result<Shares<u64>, Error> {
        Party::truncate(self, x, shift)
    }

    fn rectify(&mut self, x: &Shares<u64>, bits: u32) -> Result<(Shares<u64>, Bits), Error> {
        self.relu(x, bits)
    }

    fn masked(&mut self, mask: &Bits, x: &Shares<u64>) -> Result<Shares<u64>, Error> {
        self.select(mask, x)
    }

    fn largest(&mut self, candidates: &[Shares<u64>], bits: u32) -> Result<Shares<u64>, Error> {
        Ok(self.maximum(candidates, bits)?.0)
    }

    fn argmax(&mut self, candidates: &[Shares<u64>], bits: u32) -> Result<Shares<u64>, Error> {
        let (_, route) = self.maximum(candidates, bits)?;
        let ones = Party::public(self, &vec![1; candidates[0].len()]);
        Ok(Shares::concat(&self.distribute(&route, &ones)?))
    }

    fn pool(&mut self, pool: &MaxPool, x: &Shares<u64>, bits: u32) -> Result<(Shares<u64>, Route), Error> {
        self.max_pool(pool, x, bits)
    }

    fn unpool(
        &mut self,
        pool: &MaxPool,
        route: &Route,
        gradient: &Shares<u64>,
    ) -> Result<Shares<u64>, Error> {
        self.max_pool_backward(pool, route, gradient)
    }

    fn by_leading_bit(
        &mut self,
        x: &Shares<u64>,
        bits: u32,
        tables: [Table<'_>; 2],
    ) -> Result<[Shares<u64>; 2], Error> {
        let planes = self.decompose(x, bits)?;
        let tops = self.or_from_top(&planes)?;
        // The leading bit is where the ORs step from 0 to 1 downwards: a table is a weighted sum of its differences.
        let step = |table: Table<'_>, j: u32| table(j).wrapping_sub(if j > 0 { table(j - 1) } else { 0 });
        let weightings = tables.map(|table| (0..bits).map(|j| step(table, j)).collect());
        let mut sums = self.weighted(&tops, &weightings)?.into_iter();
        Ok(std::array::from_fn(|_| sums.next().unwrap_or_else(|| unreachable!("one sum per weighting"))))
    }

    fn convolve(
        &mut self,
        plan: &Conv,
        x: &Shares<u64>,
        weights: &Shares<u64>,
        bias: &Shares<u64>,
        shift: u32,
    ) -> Result<Shares<u64>, Error> {
        self.conv(plan, x, weights, bias, shift)
    }

    fn convolve_back(
        &mut self,
        plan: &Conv,
        gradient: &Shares<u64>,
        weights: &Shares<u64>,
        shift: u32,
    ) -> Result<Shares<u64>, Error> {
        self.conv_backward(plan, gradient, weights, shift)
    }

    fn weight_gradients(
        &mut self,
        layers: &[(&Conv, &Shares<u64>, &Shares<u64>)],
        bias_shift: u32,
        shift: u32,
    ) -> Result<Shares<u64>, Error> {
        let mut z = Vec::new();
        for (plan, x, gradient) in layers {
            let start = z.len();
            z.resize(start + plan.weights(), 0);
            plan.add_weight_gradient_share(&mut z[start..], x, gradient);
            // The own components of a replicated sharing are an additive sharing.
            z.extend(plan.sum_channels(&gradient.own).map(|sum| sum << bias_shift));
        }
        self.reshare_truncated(z, shift)
    }

    fn reveal(&mut self, x: &Shares<u64>) -> Result<Vec<u64>, Error> {
        self.open(x)
    }
}
