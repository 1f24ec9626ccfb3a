//! Packed additively homomorphic encryption: BFV with sanitised replies.
