//! Checkpoints: each server's shares after an epoch, in a file of its own.
//!
//! Layout: `three-party-ckpt`, digest of what must stay the same (32, `Training::progress_digest`), server, epoch, step, number of vectors, their length (u64 each, little-endian), for each
//! vector the own and the next component, BLAKE3 of all that. One file tells nothing; two servers' files tell everything.
//! After a resume all keys are fresh: keys live in a session only and never in a file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::share::Shares;

const MAGIC: &[u8; 16] = b"three-party-ckpt";
const HEADER: usize = 16 + 32 + 5 * 8;

/// A server's state after an epoch.
pub struct Checkpoint {
    /// Epochs done.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Weights and optimiser state.
    pub state: Vec<Shares<u64>>,
}

/// A checkpoint that cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system's error.
    #[error("checkpoint {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A damaged file, or one of another job or server.
    #[error("checkpoint {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
}

/// The file of a server's checkpoint.
pub fn path(folder: &Path, server: usize, epoch: u64) -> PathBuf {
    folder.join(format!("party-{server}-epoch-{epoch}.ckpt"))
}

/// The newest epoch of which a server has a checkpoint; 0 where there is none.
pub fn newest(folder: &Path, server: usize) -> u64 {
    let prefix = format!("party-{server}-epoch-");
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let epoch =
        |name: std::ffi::OsString| name.to_str()?.strip_prefix(&prefix)?.strip_suffix(".ckpt")?.parse().ok();
    names.filter_map(epoch).max().unwrap_or(0)
}

impl Checkpoint {
    /// Writes the file, all of it or nothing, readable by its owner only.
    pub fn save(&self, folder: &Path, server: usize, job: &[u8; 32]) -> Result<(), CheckpointError> {
        let path = path(folder, server, self.epoch);
        let len = self.state.first().map_or(0, Shares::len);
        let mut bytes = [MAGIC.as_slice(), job].concat();
        for number in [server as u64, self.epoch, self.step, self.state.len() as u64, len as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for part in &self.state {
            bytes.extend_from_slice(bytemuck::cast_slice(&part.own));
            bytes.extend_from_slice(bytemuck::cast_slice(&part.next));
        }
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let draft = path.with_extension("tmp");
        write_private(&draft, &bytes)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(|source| CheckpointError::File { path, source })
    }

    /// Reads a server's checkpoint of this training.
    pub fn load(folder: &Path, server: usize, epoch: u64, job: &[u8; 32]) -> Result<Self, CheckpointError> {
        let path = path(folder, server, epoch);
        let bytes = fs::read(&path).map_err(|source| CheckpointError::File { path: path.clone(), source })?;
        parse(&bytes, server as u64, epoch, job).map_err(|reason| CheckpointError::Unusable { path, reason })
    }
}

fn parse(bytes: &[u8], server: u64, epoch: u64, job: &[u8; 32]) -> Result<Checkpoint, &'static str> {
    let (content, digest) = bytes
        .split_last_chunk::<32>()
        .ok_or("it is cut off; without it training goes on from the epoch before")?;
    if blake3::hash(content).as_bytes() != digest || content.len() < HEADER {
        return Err("it is damaged; without it training goes on from the epoch before");
    }
    if content[..16] != *MAGIC || content[16..48] != *job {
        return Err("it belongs to a training with another network, recipe or owners");
    }
    let mut numbers = content[48..HEADER].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let [of_server, of_epoch, step, parts, len] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    if (of_server, of_epoch) != (server, epoch) {
        return Err("it belongs to another server or epoch");
    }
    let expected = parts.checked_mul(len).and_then(|values| values.checked_mul(16));
    if expected != Some((content.len() - HEADER) as u64) || len == 0 {
        return Err("its vectors have other lengths than it says");
    }
    let words: Vec<u64> =
        content[HEADER..].as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let pairs = words.chunks_exact(2 * len as usize).map(|pair| pair.split_at(len as usize));
    let state = pairs.map(|(own, next)| Shares { own: own.to_vec(), next: next.to_vec() }).collect();
    Ok(Checkpoint { epoch, step, state })
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::deal;
    use prg::Seed;

    #[test]
    fn a_checkpoint_survives_and_a_foreign_or_damaged_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let [state, ..] = deal(&[1u64, 2, 3], &Seed::from_os());
        let own = state.own.clone();
        let job = [7; 32];
        Checkpoint { epoch: 3, step: 90, state: vec![state.clone(), state] }
            .save(folder.path(), 1, &job)
            .unwrap();
        assert_eq!((newest(folder.path(), 1), newest(folder.path(), 0)), (3, 0));
        let loaded = Checkpoint::load(folder.path(), 1, 3, &job).unwrap();
        assert_eq!((loaded.epoch, loaded.step, &loaded.state[1].own), (3, 90, &own));
        let refused = |job: &[u8; 32]| {
            matches!(Checkpoint::load(folder.path(), 1, 3, job), Err(CheckpointError::Unusable { .. }))
        };
        assert!(refused(&[8; 32]));
        let file = path(folder.path(), 1, 3);
        let good = fs::read(&file).unwrap();
        for at in [20, HEADER - 1, HEADER + 5, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            assert!(refused(&job), "byte {at}");
        }
        fs::write(&file, &good[..HEADER]).unwrap();
        assert!(refused(&job));
    }
}
