//! Two ends of a TLS connection over loopback, for parties that are threads of this process.

use channels::Channel;
use cli::Failure;
use net::{Identity, Listener, Options, connect};

/// Alice's end and Bob's.
pub(crate) fn pair(profile: &net::Profile) -> Result<(Channel, Channel), Failure> {
    let options = Options { profile: profile.is_shaped().then_some(*profile), ..Options::default() };
    let [alice, bob] = ["alice", "bob"].map(Identity::generate);
    let (alice, bob) = (alice?, bob?);
    let trusted = alice.certificate().clone().into();
    let mut listener = Listener::bind("127.0.0.1:0", &bob, &trusted, &options, 1)?;
    let address = listener.address().to_string();
    let client = connect(&address, &alice, &bob.certificate().clone().into(), &options)?;
    let server = listener.accept().ok_or_else(|| Failure::output("the listener stopped"))?;
    Ok((client.into_channel(), server.into_channel()))
}
