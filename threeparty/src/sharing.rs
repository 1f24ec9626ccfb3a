//! Between a client and the three servers: shares in, results out.
//!
//! Functionality: a client's vector x becomes replicated shares; a shared vector is revealed to one client alone.
//!
//! ```text
//! in    client → P₀ : s₀, s₁      client → P₁ : s₁, x₂      client → P₂ : s₀, x₂      x₀ = F(s₀), x₁ = F(s₁), x₂ = x − x₀ − x₁
//! out   Pᵢ → client : xᵢ, H(xᵢ₊₁)                                              the client compares H(xᵢ₊₁) with what Pᵢ₊₁ sent
//! ```
//!
//! Security: each server sees two of three components, which are uniform; a client that sends different copies of a
//! component to its two holders is found out by [`Party::check`](crate::Party::check). Results are revealed to nobody else.
//! Cost per value of ℓ bits: 2ℓ/8 bytes in, 3ℓ/8 bytes out, one way each. Constant time: yes.

use crate::error::Error;
use crate::party::{digest, draw};
use crate::ring::Ring;
use crate::share::{Bits, Shares, words};
use channels::{Channel, ChannelError};
use prg::{Prg, Seed};
use zeroize::Zeroize;

/// Shares `values` among the servers, given the channels to servers 0, 1 and 2.
pub fn share_with<R: Ring>(servers: &mut [&mut Channel; 3], values: &[R]) -> Result<(), Error> {
    let seeds = [Seed::from_os(), Seed::from_os()];
    let mut third = values.to_vec();
    for seed in &seeds {
        let mask: Vec<R> = draw(&mut Prg::new(seed), values.len());
        third.iter_mut().zip(mask).for_each(|(x, mask)| *x = x.sub(mask));
    }
    let third = bytemuck::cast_slice(&third);
    let [first, second] = seeds.each_ref().map(|seed| seed.as_bytes().as_slice());
    for (peer, parts) in [[first, second], [second, third], [first, third]].into_iter().enumerate() {
        let at = |source| Error::Channel { peer, source };
        parts.iter().try_for_each(|part| servers[peer].send(part)).map_err(at)?;
        servers[peer].flush().map_err(at)?;
    }
    Ok(())
}

/// A server's end of [`share_with`]: its shares of the client's `len` values.
pub fn receive_shares<R: Ring>(
    id: usize,
    client: &mut Channel,
    len: usize,
) -> Result<Shares<R>, ChannelError> {
    let seeded = |client: &mut Channel| -> Result<Vec<R>, ChannelError> {
        let mut seed = [0; 16];
        client.recv_into(&mut seed)?;
        let mut stream = Prg::new(&Seed::from_bytes(seed));
        seed.zeroize();
        Ok(draw(&mut stream, len))
    };
    let first = seeded(client)?;
    if id == 0 {
        return Ok(Shares { own: first, next: seeded(client)? });
    }
    let mut third = vec![R::default(); len];
    client.recv_into(bytemuck::cast_slice_mut(&mut third))?;
    Ok(if id == 1 { Shares { own: first, next: third } } else { Shares { own: third, next: first } })
}

/// A server's end of [`reveal_from`].
pub fn reveal_to<R: Ring>(client: &mut Channel, x: &Shares<R>) -> Result<(), ChannelError> {
    client.send(bytemuck::cast_slice(&x.own))?;
    client.send(&digest(&x.next))?;
    client.flush()
}

/// The values that the servers reveal to this client alone; both copies of every component are compared.
pub fn reveal_from<R: Ring>(servers: &mut [&mut Channel; 3], len: usize) -> Result<Vec<R>, Error> {
    let components = components_from(servers, len)?;
    let [a, b, c] = &components;
    Ok((0..len).map(|i| R::add(a[i], R::add(b[i], c[i]))).collect())
}

/// A server's end of [`reveal_bits_from`].
pub fn reveal_bits_to(client: &mut Channel, x: &Bits) -> Result<(), ChannelError> {
    reveal_to(client, &Shares { own: x.own.clone(), next: x.next.clone() })
}

/// Boolean values that the servers reveal to this client alone, one integer each.
pub fn reveal_bits_from(
    servers: &mut [&mut Channel; 3],
    planes: usize,
    len: usize,
) -> Result<Vec<u64>, Error> {
    let [a, b, c] = components_from::<u64>(servers, planes * words(len))?;
    let sums: Vec<u64> = a.iter().zip(&b).zip(&c).map(|((a, b), c)| a ^ b ^ c).collect();
    Ok(crate::bits::unslice(&sums, planes, len))
}

fn components_from<R: Ring>(servers: &mut [&mut Channel; 3], len: usize) -> Result<[Vec<R>; 3], Error> {
    let mut components = [const { Vec::new() }; 3];
    let mut digests = [[0; 32]; 3];
    for (peer, server) in servers.iter_mut().enumerate() {
        components[peer] = vec![R::default(); len];
        let received = server.recv_into(bytemuck::cast_slice_mut(&mut components[peer]));
        let received = received.and_then(|()| server.recv_into(&mut digests[peer]));
        received.map_err(|source| Error::Channel { peer, source })?;
    }
    for (peer, theirs) in digests.iter().enumerate() {
        if *theirs != digest(&components[(peer + 1) % 3]) {
            return Err(Error::Inconsistent { peer, what: "result" });
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::run;
    use channels::memory;
    use std::sync::Mutex;

    /// A client's three ends, and for each server the other one.
    fn client() -> ([Channel; 3], [Mutex<Channel>; 3]) {
        let pairs = std::array::from_fn::<_, 3, _>(|_| memory::pair());
        let mut servers = Vec::new();
        let ends = pairs.map(|(near, far)| {
            servers.push(Mutex::new(far));
            near
        });
        (ends, servers.try_into().unwrap_or_else(|_| unreachable!()))
    }

    #[test]
    fn a_client_shares_and_gets_back_what_it_shared() {
        let values: Vec<u32> = (0..100).map(|i| i * 0x0123_4567).collect();
        let (mut ends, servers) = client();
        let mut ends = ends.each_mut();
        share_with(&mut ends, &values).unwrap();
        run(|party| {
            let mut channel = servers[party.id()].lock().unwrap();
            let shares: Shares<u32> = receive_shares(party.id(), &mut channel, values.len()).unwrap();
            party.check(&shares, "input")?;
            let negative = party.negative(&shares, 32)?;
            reveal_to(&mut channel, &shares).unwrap();
            reveal_bits_to(&mut channel, &negative).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(reveal_from::<u32>(&mut ends, values.len()).unwrap(), values);
        let signs: Vec<u64> = values.iter().map(|v| u64::from(v >> 31)).collect();
        assert_eq!(reveal_bits_from(&mut ends, 1, values.len()).unwrap(), signs);
        assert_eq!(ends[1].traffic().sent, 16 + 400);
    }

    #[test]
    fn a_server_with_another_copy_is_named() {
        let (mut ends, servers) = client();
        run(|party| {
            let mut shares = party.public(&[5u64; 3]);
            if party.id() == 1 {
                shares.next[2] ^= 1;
            }
            reveal_to(&mut servers[party.id()].lock().unwrap(), &shares).unwrap();
            Ok(())
        })
        .unwrap();
        let error = reveal_from::<u64>(&mut ends.each_mut(), 3);
        assert!(matches!(error, Err(Error::Inconsistent { peer: 1, .. })));
    }
}
