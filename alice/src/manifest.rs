//! Public manifests: read from a file, fetched from the provider.

use crate::{FetchManifest, Server};
use cli::Failure;
use models::{Manifest, bundle};
use net::{Connection, Identity};
use protocol::session;

/// Fetches a manifest into a file.
pub fn fetch(flags: &FetchManifest) -> Result<(), Failure> {
    if flags.output.exists() && !flags.overwrite {
        return Err(Failure::output(bundle::BundleError::Exists(flags.output.clone())));
    }
    let (mut connection, _) = connect(&flags.server)?;
    let manifest = ask(&mut connection, flags.server.model.as_deref())?;
    bundle::save_manifest(&manifest, &flags.output, flags.overwrite).map_err(Failure::output)?;
    println!("{}: manifest {} of {}", flags.output.display(), cli::short(&manifest.hash()), manifest.name);
    Ok(())
}

/// Connects to the provider.
pub(crate) fn connect(server: &Server) -> Result<(Connection, Identity), Failure> {
    let (identity, trusted) = server.endpoint.load()?;
    let connection = net::connect(&server.server, &identity, &trusted, &server.endpoint.options())?;
    Ok((connection, identity))
}

/// Asks for a manifest, and believes none that contradicts itself.
pub(crate) fn ask(connection: &mut Connection, model: Option<&str>) -> Result<Manifest, Failure> {
    let manifest = session::fetch_manifest(connection.channel(), model)?;
    check(&manifest)?;
    Ok(manifest)
}

/// Whether a peer's manifest makes sense and can be shown on a terminal.
fn check(manifest: &Manifest) -> Result<(), Failure> {
    let refuse = |reason: String| Failure::new(cli::Kind::Peer, format!("the peer's manifest: {reason}"));
    manifest.validate().map_err(|error| refuse(error.to_string()))?;
    let layers = manifest.graph.nodes().iter().map(|node| &node.name);
    let labels = manifest.labels.iter().map(|label| &label.name);
    match layers.chain(labels).chain([&manifest.name]).find(|name| name.chars().any(char::is_control)) {
        Some(name) => Err(refuse(format!("the name {name:?} holds control characters"))),
        None => Ok(()),
    }
}
