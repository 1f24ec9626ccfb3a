//! The two-party engine: operators, strategies, plan and sessions.
