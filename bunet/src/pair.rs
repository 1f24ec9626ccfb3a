//! Two parties on this machine: `bob serve` and `alice segment` as processes of their own, over TLS.
//!
//! What they share is a folder with their keys, the network's bundle and the configuration. Its owner may see both
//! parties' recorded shares, and so can demand that every value is the integer reference's.

use cli::{Failure, Kind};
use models::Model;
use models::graph::NodeId;
use models::record::RunRecord;
use ndarray::Array4;
use protocol::audit::{self, AuditFile, Checked};
use protocol::{Config, Plan};
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long Bob may take to end after Alice has her result.
const FAREWELL: Duration = Duration::from_secs(60);

/// One run of both.
pub(crate) struct Pair<'a> {
    /// Holds `model.bunet`; gets keys, records and audits.
    pub(crate) folder: &'a Path,
    /// Strategies.
    pub(crate) config: &'a Config,
    /// Threads of each party.
    pub(crate) threads: Option<u16>,
    /// The network that both imitate.
    pub(crate) profile: Option<&'a str>,
    /// Layers whose inputs are recorded although they are exact.
    pub(crate) also: &'a [NodeId],
    /// Flags of Alice's own: the scan and where the answer goes.
    pub(crate) alice: Vec<OsString>,
}

/// A folder for a run, for its owner alone; it is gone afterwards, however the run ends.
pub(crate) fn folder(prefix: &str) -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix(prefix).permissions(Permissions::from_mode(0o700)).tempdir();
    let failed =
        |error| Failure::output(format!("{}: cannot write: {error}", std::env::temp_dir().display()));
    made.map_err(failed)
}

/// Removes a folder when the user stops this process; the parties end with it.
pub(crate) fn remove_on_stop(folder: &Path) {
    let doomed = folder.to_owned();
    cli::on_stop(move || {
        // What cannot be removed lies in a folder for temporary files.
        let _ = std::fs::remove_dir_all(&doomed);
        std::process::exit(Kind::Interrupted as i32);
    });
}

impl Pair<'_> {
    /// Runs both, and joins their records.
    pub(crate) fn run(&self) -> Result<RunRecord, Failure> {
        net::keygen(self.folder, &["alice", "bob"])?;
        let config = toml::to_string(self.config).map_err(|error| internal(&error))?;
        std::fs::write(self.folder.join("run.toml"), config).map_err(|error| internal(&error))?;
        let (mut bob, address) = self.start_bob()?;
        let mut alice = self.start_alice(&address)?;
        let status = alice.process.wait().map_err(|error| internal(&error))?;
        if !status.success() {
            return Err(internal(&"Alice's run failed, see above"));
        }
        bob.end()?;
        let read = |name: &str| -> Result<RunRecord, Failure> {
            let text = std::fs::read_to_string(self.folder.join(name)).map_err(|error| internal(&error))?;
            serde_json::from_str(&text).map_err(|error| internal(&error))
        };
        Ok(cli::merge(read("alice.json")?, &read("bob.json")?))
    }

    /// This program again, in the folder, as one of the parties.
    fn party(&self, name: &str, peer: &str) -> Result<Command, Failure> {
        let mut command = Command::new(std::env::current_exe().map_err(|error| internal(&error))?);
        command.current_dir(self.folder).stdin(Stdio::piped());
        command.args([name, if name == "bob" { "serve" } else { "segment" }]);
        command.args(["--identity", &format!("{name}.key"), "--trust", &format!("{peer}.crt")]);
        command.args(["--with-parent", "--json", &format!("{name}.json")]);
        command.args(["--audit", &format!("{name}.audit"), "--idle-timeout", "7200"]);
        if !self.also.is_empty() {
            let also: Vec<String> = self.also.iter().map(ToString::to_string).collect();
            command.args(["--audit-also", &also.join(",")]);
        }
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(profile) = self.profile {
            command.args(["--profile", profile]);
        }
        Ok(command)
    }

    fn start_bob(&self) -> Result<(Party, String), Failure> {
        let mut command = self.party("bob", "alice")?;
        command.args(["--model", "model.bunet", "--listen", "127.0.0.1:0", "--once", "--quiet"]);
        command.stdout(Stdio::piped());
        let mut bob = Party::start(command)?;
        let mut line = String::new();
        if let Some(out) = bob.process.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(|error| internal(&error))?;
        }
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let address = address.ok_or_else(|| internal(&"Bob does not listen"))?.to_owned();
        Ok((bob, address))
    }

    fn start_alice(&self, address: &str) -> Result<Party, Failure> {
        let mut command = self.party("alice", "bob")?;
        command.args(["--server", address, "--config", "run.toml"]).args(&self.alice);
        command.stdout(Stdio::null());
        Party::start(command)
    }
}

/// What the reference says of the run in this folder, with its carries; `see` is shown every value.
pub(crate) fn audit(
    folder: &Path,
    plan: &Plan,
    model: &Model,
    input: &Array4<i64>,
    see: &mut dyn FnMut(NodeId, &Array4<i64>),
) -> Result<Checked, Failure> {
    let shares = |name: &str| {
        let file = File::open(folder.join(name)).map_err(|error| internal(&error))?;
        Ok::<_, Failure>(AuditFile::new(BufReader::new(file)))
    };
    let (mut alice, mut bob) = (shares("alice.audit")?, shares("bob.audit")?);
    audit::check(plan, model, input, &mut alice, &mut bob, see).map_err(|error| internal(&error))
}

/// A process that does not outlive its owner: standard input is held open as long as it is wanted.
struct Party {
    process: Child,
    _leash: Option<ChildStdin>,
}

impl Party {
    fn start(mut command: Command) -> Result<Self, Failure> {
        let mut process = command.spawn().map_err(|error| internal(&error))?;
        let leash = process.stdin.take(); // waiting would close it
        Ok(Self { process, _leash: leash })
    }

    /// Waits for a successful end.
    fn end(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        while start.elapsed() < FAREWELL {
            match self.process.try_wait().map_err(|error| internal(&error))? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(internal(&"Bob's run failed, see above")),
                None => sleep(Duration::from_millis(5)),
            }
        }
        Err(internal(&"Bob does not end"))
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // It has most often ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn internal(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Internal, format!("two parties on this machine: {error}"))
}
