//! What the commands share: errors and exit codes, common flags, logs, run records, tables, stopping.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | a mistake of this program |
//! | 2 | the command line does not parse |
//! | 3 | an input (scan, model, manifest, key, configuration) cannot be read or does not fit |
//! | 4 | an output cannot be written |
//! | 5 | no connection: unreachable, not trusted, busy, lost, stalled |
//! | 6 | the peer sent what the protocol does not allow |
//! | 7 | the network cannot run as asked, or the peer refused to run it |
//! | 8 | some scans of a folder failed, the others are done |
//! | 130 | stopped by the user |
#![forbid(unsafe_code)]

mod failure;
mod flags;
mod folder;
mod log;
mod machine;
mod output;
mod record;
mod stop;
mod table;
mod units;

pub use failure::{Failure, Kind, finish};
pub use flags::{Endpoint, PlanFlags, RunFlags, preset, profile, store};
pub use folder::{CaseRecord, CaseStatus, FolderRecord, FolderSummary};
pub use log::start_log;
pub use machine::{commit, machine};
pub use output::{append_json, append_only, private_file, write_json};
pub use record::{Run, merge, short};
pub use stop::{follow_parent, on_stop};
pub use table::{
    Align, Table, escape, is_idle, layer_phases, layer_table, layers, megabytes, phase_lines, phases, shape,
    sum, summary,
};
pub use units::{bytes, seconds};

/// The exit codes, for the end of every `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 internal mistake, 2 wrong usage, 3 bad input, 4 output not \
writable, 5 no connection, 6 the peer broke the protocol, 7 cannot run as asked, 8 some scans of a folder failed, 130 stopped.";
