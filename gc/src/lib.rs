//! Garbled circuits: free XOR, half gates, re-keyed, batched.
