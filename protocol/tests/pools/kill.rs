//! Processes that are killed at every step: what is left is used on both sides or on neither, and never twice.
//!
//! Alice and Bob are this test's own program, started again as two processes that talk over a socket in a folder. One
//! of them stops at its n-th step and is killed there; then a run without trouble must succeed.

use crate::{make, network, quick, segment, serve, store};
use channels::{Channel, ChannelError, FRAME, Sink, Source};
use protocol::Plan;
use protocol::audit::MemoryAudit;
use protocol::report::Side;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says that a process stands still at a step.
const STOPPED: &str = "stopped at ";

struct Out(UnixStream);
struct In(UnixStream);

fn failed(error: std::io::Error) -> ChannelError {
    ChannelError::Transport(error.to_string())
}

impl Sink for Out {
    fn send(&mut self, frame: Vec<u8>) -> Result<(), ChannelError> {
        self.0.write_all(&frame).map_err(failed)
    }
}

impl Source for In {
    fn recv(&mut self) -> Result<Vec<u8>, ChannelError> {
        let mut frame = vec![0; FRAME];
        match self.0.read(&mut frame).map_err(failed)? {
            0 => Err(ChannelError::Closed),
            len => {
                frame.truncate(len);
                Ok(frame)
            }
        }
    }
}

fn channel(stream: UnixStream) -> Channel {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Channel::new(Out(stream.try_clone().unwrap()), In(stream))
}

/// One of the two processes.
#[test]
#[ignore = "started by the tests of this file"]
fn party() {
    let variable = |name: &str| std::env::var(format!("POOL_TEST_{name}")).ok();
    let Some(folder) = variable("FOLDER") else { return };
    let folder = Path::new(&folder);
    let stop: usize = variable("STOP").map_or(usize::MAX, |stop| stop.parse().unwrap());
    let steps = AtomicUsize::new(0);
    let watch = move |step: &'static str| {
        if steps.fetch_add(1, Ordering::Relaxed) == stop {
            println!("{STOPPED}{step}");
            loop {
                std::thread::park();
            }
        }
    };
    let (model, input) = network();
    let plan = Plan::derive(&model.manifest, &quick()).unwrap();
    let note = |name: &'static str| {
        let path = folder.join(name);
        move |item: u64| {
            let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
            writeln!(file, "{item}").unwrap();
        }
    };
    if variable("SIDE").as_deref() == Some("bob") {
        let listener = UnixListener::bind(folder.join("socket")).unwrap();
        let store = store(folder, Side::Bob).watched(watch);
        let (stream, _) = listener.accept().unwrap();
        serve(channel(stream), &model, Some(&store), &MemoryAudit::default(), note("bob.used")).unwrap();
    } else {
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(folder.join("socket")) {
                Ok(stream) => break stream,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let store = store(folder, Side::Alice).watched(watch);
        let channel = make(channel(stream), &plan, &store, 1).unwrap();
        let done = segment(channel, &plan, &store, &input, note("alice.used")).unwrap();
        assert!(done.item.is_some(), "the run took an item");
    }
}

fn spawn(folder: &Path, side: &str, stop: Option<usize>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::party", "--ignored", "--nocapture"]);
    command.env("POOL_TEST_FOLDER", folder).env("POOL_TEST_SIDE", side).env("RAYON_NUM_THREADS", "1");
    if let Some(stop) = stop {
        command.env("POOL_TEST_STOP", stop.to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs both; kills `victim` at its n-th step. Yields whether each succeeded, and the step.
fn run(folder: &Path, victim: Option<(&str, usize)>) -> ([bool; 2], Option<String>) {
    let _ = std::fs::remove_file(folder.join("socket"));
    let stop = |side| victim.filter(|victim| victim.0 == side).map(|victim| victim.1);
    let mut parties = ["bob", "alice"].map(|side| spawn(folder, side, stop(side)));
    let killed = usize::from(victim.is_some_and(|victim| victim.0 == "alice"));
    let lines = BufReader::new(parties[killed].stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let step = lines.into_iter().find_map(|line| line.split_once(STOPPED).map(|(_, step)| step.to_owned()));
    if step.is_some() {
        parties[killed].kill().unwrap(); // SIGKILL
    }
    (parties.map(|mut party| party.wait().unwrap().success()), step)
}

fn used(folder: &Path, name: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn kill_at_every_step(victim: &str) {
    let mut steps = Vec::new();
    loop {
        let folder = tempfile::tempdir().unwrap();
        let (done, step) = run(folder.path(), Some((victim, steps.len())));
        let Some(step) = step else {
            assert_eq!(done, [true; 2], "without a kill both succeed");
            break;
        };
        assert!(!done[usize::from(victim == "alice")], "it was killed at: {step}");
        for again in 1..=2 {
            assert_eq!(run(folder.path(), None).0, [true; 2], "run {again} after a kill at: {step}");
        }
        let [alice, bob] = ["alice.used", "bob.used"].map(|side| used(folder.path(), side));
        for items in [&alice, &bob] {
            assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), items.len(), "used twice after {step}");
        }
        assert!(alice.ends_with(&bob[bob.len() - 2..]), "the same items on both sides after {step}");
        steps.push(step);
    }
    println!("killed {victim} at: {}", steps.join(", "));
    assert!(steps.len() >= 12, "{steps:?}");
}

#[test]
fn alice_may_be_killed_at_any_step() {
    kill_at_every_step("alice");
}

#[test]
fn bob_may_be_killed_at_any_step() {
    kill_at_every_step("bob");
}
