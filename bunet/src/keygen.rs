//! `bunet keygen`: one command makes the keys of all sides.

use crate::args::Keygen;
use cli::Failure;

/// Makes keys, and says what to do with them.
pub(crate) fn keygen(flags: &Keygen) -> Result<(), Failure> {
    let names: Vec<&str> = flags.names.iter().map(String::as_str).collect();
    let identities = net::keygen(&flags.dir, &names)?;
    for identity in &identities {
        let path = flags.dir.join(identity.name());
        println!("{}.key  secret, stays with {}", path.display(), identity.name());
        println!("{}.crt  for the peers of {} to trust; SHA-256", path.display(), identity.name());
        println!("  {}", identity.certificate().fingerprint());
    }
    Ok(())
}
