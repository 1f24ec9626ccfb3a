//! The two processes.

use super::Stage;
use crate::args::Demo;
use cli::{Failure, Kind};
use models::record::RunRecord;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long Bob may take to end after Alice has her result.
const FAREWELL: Duration = Duration::from_secs(20);

/// Runs both, and joins their records.
pub(super) fn run(stage: &Stage<'_>, flags: &Demo) -> Result<RunRecord, Failure> {
    net::keygen(stage.folder, &["alice", "bob"])?;
    let (mut bob, address) = start_bob(stage, flags)?;
    let done = start_alice(stage, flags, &address).and_then(|mut alice| {
        let status = alice.process.wait().map_err(|error| internal(&error))?;
        if status.success() { Ok(()) } else { Err(internal(&"Alice's run failed, see above")) }
    });
    let ended = done.and_then(|()| bob.end());
    ended?;
    let read = |name: &str| -> Result<RunRecord, Failure> {
        let text = std::fs::read_to_string(stage.folder.join(name)).map_err(|error| internal(&error))?;
        serde_json::from_str(&text).map_err(|error| internal(&error))
    };
    Ok(cli::merge(read("alice.json")?, &read("bob.json")?))
}

/// A process that does not outlive its owner: standard input is held open as long as it is wanted.
struct Party {
    process: Child,
    _leash: Option<ChildStdin>,
}

impl Party {
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
    Failure::new(Kind::Internal, format!("demo: {error}"))
}

/// This program again, in the stage's folder, as one of the parties.
fn party(stage: &Stage<'_>, flags: &Demo, name: &str, peer: &str) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| internal(&error))?);
    command.current_dir(stage.folder).stdin(Stdio::piped());
    command.args([name, if name == "bob" { "serve" } else { "segment" }]);
    command.args(["--identity", &format!("{name}.key"), "--trust", &format!("{peer}.crt")]);
    command.args(["--with-parent", "--json", &format!("{name}.json"), "--audit", &format!("{name}.audit")]);
    if let Some(threads) = flags.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    Ok(command)
}

fn start(mut command: Command) -> Result<Party, Failure> {
    let mut process = command.spawn().map_err(|error| internal(&error))?;
    let leash = process.stdin.take(); // waiting would close it
    Ok(Party { process, _leash: leash })
}

fn start_bob(stage: &Stage<'_>, flags: &Demo) -> Result<(Party, String), Failure> {
    let mut command = party(stage, flags, "bob", "alice")?;
    command.args(["--model", "model.bunet", "--listen", "127.0.0.1:0", "--once", "--quiet"]);
    command.stdout(Stdio::piped());
    let mut bob = start(command)?;
    let mut line = String::new();
    if let Some(out) = bob.process.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|error| internal(&error))?;
    }
    let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
    let address = address.ok_or_else(|| internal(&"Bob does not listen"))?.to_owned();
    Ok((bob, address))
}

fn start_alice(stage: &Stage<'_>, flags: &Demo, address: &str) -> Result<Party, Failure> {
    let mut command = party(stage, flags, "alice", "bob")?;
    command.args(["--server", address, "--input", stage.case.scan.name]);
    command.args(["--reference", stage.case.label.name, "--overwrite"]);
    command.args([OsString::from("--output"), stage.mask.clone().into()]);
    command.args([OsString::from("--overlay"), stage.overlay.clone().into()]);
    command.args(plan_flags(flags)?);
    command.stdout(Stdio::null());
    start(command)
}

/// The strategies, passed on.
fn plan_flags(flags: &Demo) -> Result<Vec<OsString>, Failure> {
    let plan = &flags.plan;
    let mut args: Vec<OsString> = Vec::new();
    let mut push = |flag: &str, value: OsString| args.extend([flag.into(), value]);
    if let Some(preset) = plan.preset {
        push("--preset", preset.name().into());
    }
    if let Some(bits) = plan.bits {
        push("--bits", bits.to_string().into());
    }
    for (operator, name) in &plan.strategy {
        push("--strategy", format!("{}={name}", operator.name()).into());
    }
    for (layer, name) in &plan.layer {
        push("--layer", format!("{layer}={name}").into());
    }
    if let Some(path) = &plan.config {
        push("--config", absolute(path)?.into());
    }
    Ok(args)
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    path.canonicalize().map_err(|error| Failure::input(format!("{}: {error}", path.display())))
}
