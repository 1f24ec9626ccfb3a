//! Public manifests: read from a file, fetched from the provider.

use crate::{FetchManifest, Server};
use cli::Failure;
use models::{Manifest, bundle};
use net::Connection;
use protocol::session;

/// Fetches a manifest into a file.
pub fn fetch(flags: &FetchManifest) -> Result<(), Failure> {
    if flags.output.exists() && !flags.overwrite {
        return Err(Failure::output(bundle::BundleError::Exists(flags.output.clone())));
    }
    let mut connection = connect(&flags.server)?;
    let manifest = ask(&mut connection, flags.server.model.as_deref())?;
    bundle::save_manifest(&manifest, &flags.output, flags.overwrite).map_err(Failure::output)?;
    println!("{}: manifest {} of {}", flags.output.display(), cli::short(&manifest.hash()), manifest.name);
    Ok(())
}

/// Connects to the provider.
pub(crate) fn connect(server: &Server) -> Result<Connection, Failure> {
    let (identity, trusted) = server.endpoint.load()?;
    Ok(net::connect(&server.server, &identity, &trusted, &server.endpoint.options())?)
}

/// Asks for a manifest, and believes none that contradicts itself.
pub(crate) fn ask(connection: &mut Connection, model: Option<&str>) -> Result<Manifest, Failure> {
    let manifest = session::fetch_manifest(connection.channel(), model)?;
    let refuse = |error| Failure::new(cli::Kind::Peer, format!("the peer's manifest: {error}"));
    manifest.validate().map_err(refuse)?;
    Ok(manifest)
}
