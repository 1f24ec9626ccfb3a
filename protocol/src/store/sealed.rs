//! Files that nobody else can read or change: XChaCha20-Poly1305 in chunks, so that memory does not grow with the file.
//!
//! The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015): chunk i is sealed under the nonce
//! `prefix ‖ i ‖ last`, 15 random bytes of the file, the chunk's number, and whether it is the last one. Chunks can
//! therefore not be left out, repeated, moved, or cut off, and no byte is handed out before its chunk was checked. What
//! the file is for goes in as associated data: in another place it does not open.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::io::{self, BufRead, ErrorKind, Read, Write};
use zeroize::{Zeroize, Zeroizing};

/// Plaintext bytes of a chunk.
const CHUNK: usize = 1 << 18;

/// Bytes of an authentication tag.
const TAG: usize = 16;

/// Random bytes of a nonce.
const PREFIX: usize = 15;

/// What both directions have.
struct Stream {
    cipher: XChaCha20Poly1305,
    prefix: [u8; PREFIX],
    chunk: u64,
    associated: Vec<u8>,
}

impl Stream {
    fn new(key: &[u8; 32], prefix: [u8; PREFIX], associated: &[u8]) -> Self {
        let cipher = XChaCha20Poly1305::new(&Key::from(*key));
        Self { cipher, prefix, chunk: 0, associated: associated.to_vec() }
    }

    fn nonce(&mut self, last: bool) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..23].copy_from_slice(&self.chunk.to_le_bytes());
        nonce[23] = u8::from(last);
        self.chunk += 1;
        nonce.into()
    }
}

/// Encrypts what is written to it.
pub(super) struct Sealer<W: Write> {
    out: W,
    stream: Stream,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Begins a file, under a fresh random prefix.
    pub(super) fn new(mut out: W, key: &[u8; 32], associated: &[u8]) -> io::Result<Self> {
        let mut prefix = [0; PREFIX];
        getrandom::fill(&mut prefix).map_err(io::Error::other)?;
        out.write_all(&prefix)?;
        let buffer = Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
        Ok(Self { out, stream: Stream::new(key, prefix, associated), buffer })
    }

    /// Writes the last chunk; without it the file does not open.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.stream.nonce(last);
        let sealed = self.stream.cipher.encrypt_in_place(&nonce, &self.stream.associated, &mut *self.buffer);
        sealed.map_err(|_| io::Error::other("a chunk does not encrypt"))?;
        self.out.write_all(&self.buffer)?;
        self.buffer.zeroize();
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == CHUNK {
            self.seal(false)?;
        }
        let len = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a chunk cannot be ended early
    }
}

/// Decrypts what [`Sealer`] wrote.
pub(super) struct Opener<R: BufRead> {
    input: R,
    stream: Stream,
    buffer: Zeroizing<Vec<u8>>,
    used: usize,
    last: bool,
}

impl<R: BufRead> Opener<R> {
    /// Begins to read a file.
    pub(super) fn new(mut input: R, key: &[u8; 32], associated: &[u8]) -> io::Result<Self> {
        let mut prefix = [0; PREFIX];
        input.read_exact(&mut prefix)?;
        let buffer = Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
        Ok(Self { input, stream: Stream::new(key, prefix, associated), buffer, used: 0, last: false })
    }

    /// Makes sure that the file ended where what was read from it did.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.read(&mut [0])? == 0 { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    fn open(&mut self) -> io::Result<()> {
        self.buffer.zeroize();
        self.used = 0;
        let limit = (CHUNK + TAG) as u64;
        (&mut self.input).take(limit).read_to_end(&mut self.buffer)?;
        self.last = self.input.fill_buf()?.is_empty();
        let nonce = self.stream.nonce(self.last);
        let opened = self.stream.cipher.decrypt_in_place(&nonce, &self.stream.associated, &mut *self.buffer);
        opened.map_err(|_| ErrorKind::InvalidData.into())
    }
}

impl<R: BufRead> Read for Opener<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.used == self.buffer.len() {
            if self.last {
                return Ok(0);
            }
            self.open()?;
        }
        let len = bytes.len().min(self.buffer.len() - self.used);
        bytes[..len].copy_from_slice(&self.buffer[self.used..self.used + len]);
        self.used += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(plain: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), &[7; 32], b"item 1").unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn open(sealed: &[u8], key: u8, associated: &[u8]) -> io::Result<Vec<u8>> {
        let mut opener = Opener::new(sealed, &[key; 32], associated)?;
        let mut plain = Vec::new();
        opener.read_to_end(&mut plain)?;
        opener.finish().map(|()| plain)
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut sealed = seal(&plain);
            assert!(sealed.len() <= PREFIX + len + TAG * len.div_ceil(CHUNK).max(1));
            assert_ne!(sealed, seal(&plain), "nonces are fresh");
            assert_eq!(open(&sealed, 7, b"item 1").unwrap(), plain);
            assert!(open(&sealed, 8, b"item 1").is_err() && open(&sealed, 7, b"item 2").is_err());
            for cut in [1, TAG, CHUNK + TAG].into_iter().filter(|cut| *cut < sealed.len()) {
                assert!(open(&sealed[..sealed.len() - cut], 7, b"item 1").is_err(), "{len} cut by {cut}");
            }
            assert!(open(&[&sealed[..], &[0]].concat(), 7, b"item 1").is_err());
            for at in [0, PREFIX, sealed.len() / 2, sealed.len() - 1] {
                sealed[at] ^= 1;
                assert!(open(&sealed, 7, b"item 1").is_err(), "{len} changed at {at}");
                sealed[at] ^= 1;
            }
        }
        let mut swapped = seal(&vec![1; 2 * CHUNK + 5]);
        let (first, second) = swapped[PREFIX..PREFIX + 2 * (CHUNK + TAG)].split_at_mut(CHUNK + TAG);
        first.swap_with_slice(second);
        assert!(open(&swapped, 7, b"item 1").is_err());
    }
}
