//! Channels between parties: framing, accounting, shaping, in memory.
