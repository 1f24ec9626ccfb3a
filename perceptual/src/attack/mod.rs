//! Attacks: what an adversary gets from protected images, and at what price.

pub mod fold;
