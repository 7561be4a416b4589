//! Warnings about the certificates of the hops: one that expires soon, or one of ours that serves
//! two hops.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::hop::Hop;
use crate::net::certificate::Facts;
use crate::settings::config::{Config, Target};
use crate::wire::ChannelName;
use crate::wire::time::day;

/// How long before its expiry a certificate is warned about.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// The certificates of a hop: ours, and the first of the server's chain that expires.
pub fn of(hop: &Hop) -> Vec<(&'static str, Facts)> {
    let Some(tls) = &hop.tls else { return Vec::new() };
    let own = tls.own().map(|facts| ("client", facts));
    let peer = tls.peer().chain.into_iter().min_by_key(|facts| facts.not_after);
    own.into_iter().chain(peer.map(|facts| ("server", facts))).collect()
}

/// A warning if a certificate expires soon or has expired.
pub fn expiry_warning(whose: &str, facts: &Facts) -> Option<String> {
    let left = facts.seconds_left(SystemTime::now());
    let subject = &facts.subject;
    let day = day(facts.not_after);
    match left {
        ..0 => Some(format!("the {whose} certificate `{subject}` expired on {day}")),
        _ if left.unsigned_abs() < WARN_BEFORE.as_secs() => {
            Some(format!("the {whose} certificate `{subject}` expires on {day}"))
        }
        _ => None,
    }
}

/// The client certificate or key that a channel shares with the control plane, and that channel. A
/// holder of one hop's key could then pass for this host on the other hop. A copy of the file
/// counts as the same.
pub fn shared_identity(config: &Config) -> Option<(&Path, &ChannelName)> {
    let ours = config.control_plane.identity.as_ref()?;
    let same = |one: &Path, other: &Path| {
        one == other || fs::read(one).is_ok_and(|bytes| fs::read(other).is_ok_and(|b| b == bytes))
    };
    config.mcp.bindings.iter().find_map(|binding| {
        let Target::Http(http) = &binding.target else { return None };
        let theirs = http.identity.as_ref()?;
        [(&theirs.key, &ours.key), (&theirs.cert, &ours.cert)]
            .into_iter()
            .find(|(theirs, ours)| same(theirs, ours))
            .map(|(theirs, _)| (theirs.as_path(), &binding.channel))
    })
}
