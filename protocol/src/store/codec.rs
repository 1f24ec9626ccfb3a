//! Little-endian words in files of our own.

use std::io::{self, ErrorKind, Read, Write};

/// Bytes read at a time: memory grows with what is there, not with what a length says.
const CHUNK: usize = 1 << 20;

pub(crate) fn write_word(out: &mut dyn Write, word: u64) -> io::Result<()> {
    out.write_all(&word.to_le_bytes())
}

pub(crate) fn read_word(input: &mut dyn Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A number of at most `most`.
pub(crate) fn read_count(input: &mut dyn Read, most: u64) -> io::Result<usize> {
    let count = read_word(input)?;
    let count = usize::try_from(count).ok().filter(|_| count <= most);
    count.ok_or_else(|| ErrorKind::InvalidData.into())
}

/// A vector with its length in front.
pub(crate) fn write_words(out: &mut dyn Write, words: &[u64]) -> io::Result<()> {
    write_word(out, words.len() as u64)?;
    out.write_all(bytemuck::cast_slice(words)) // only little-endian machines are supported
}

/// What [`write_words`] wrote, of at most `most` words; allocated once, so that no copies stay behind.
pub(crate) fn read_words(input: &mut dyn Read, most: u64) -> io::Result<Vec<u64>> {
    let mut words = vec![0; read_count(input, most)?];
    for chunk in words.chunks_mut(CHUNK / 8) {
        input.read_exact(bytemuck::cast_slice_mut(chunk))?;
    }
    Ok(words)
}
