//! The checks of certificates: ours on each hop, and those that servers show.

use super::Row;
use crate::hops::certificates::{expiry_warning, shared_identity};
use crate::hops::{Hop, Hops};
use crate::net::Tls;
use crate::net::trust::Peer;
use crate::settings::Config;

/// Why a server is not asked.
pub(super) const NO_WAY: &str = "certificates, keys or proxies cannot be used";

/// Our client certificate on each hop, and whether one serves two hops.
pub(super) fn client_certificates(config: &Config, hops: Option<&Hops>) -> Vec<Row> {
    let mut rows = Vec::new();
    for hop in hops.into_iter().flat_map(Hops::all) {
        let Some(own) = hop.tls.as_ref().and_then(Tls::own) else { continue };
        let id = format!("client_certificate:{}", hop.name);
        rows.push(match expiry_warning("client", &own) {
            None => Row::pass(id, own.to_string()),
            Some(line) => Row::warn(id, line)
                .why("A server refuses a certificate that has expired.")
                .next("Put a new certificate and key in the place of the old; SIGHUP reads them."),
        });
    }
    if let Some((file, channel)) = shared_identity(config) {
        let both = format!("both hops use {} (channel {channel})", file.display());
        rows.push(
            Row::warn("client_certificates", both)
                .why("Whoever verifies one hop could pass for this host on the other.")
                .next("Give the MCP side a certificate of its own."),
        );
    }
    rows
}

/// The remedy for an expired certificate.
pub(super) const EXPIRED: &str =
    "Have it renewed by whoever runs the server; if it is, check the clock here.";

/// The chain that the server of a hop showed, its own certificate first; nothing without TLS.
pub(super) fn server_certificate(hop: &Hop) -> Option<Row> {
    let Peer { chain, refused } = hop.tls.as_ref()?.peer();
    let id = format!("server_certificate:{}", hop.name);
    let first = chain.first()?.to_string();
    let soonest = chain.iter().find_map(|facts| expiry_warning("server", facts));
    let mut row = match (refused, soonest) {
        (Some(refusal), _) if refusal.is_expired => Row::fail(id, refusal.line)
            .why("No connection is made to a server that is not believed.")
            .next(EXPIRED),
        (Some(refusal), _) => Row::fail(id, refusal.line)
            .why("No connection is made to a server that is not believed.")
            .next("Compare the chain with what the server's owner says, then mend `ca_bundle`."),
        (None, None) => Row::pass(id, first),
        (None, Some(line)) => Row::warn(id, line)
            .why("Connections fail once a certificate of the chain has expired.")
            .next("Tell whoever runs the server."),
    };
    row.evidence = chain.iter().map(ToString::to_string).collect();
    Some(row)
}
