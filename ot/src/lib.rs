//! Oblivious transfer: base OT, extension, correlated, random and chosen OT.
