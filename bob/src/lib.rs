//! The provider: serves a trained network.
