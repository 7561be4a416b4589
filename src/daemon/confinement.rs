//! Determines the rights that the daemon still needs once everything is open, and gives up the
//! rest. [`super::confined`] calls it while there is only one thread.

use std::collections::BTreeSet;

use crate::confine::{Confinement, Needs};
use crate::hops::Hops;
use crate::hops::hop::OAuthHop;
use crate::ops::service_manager;
use crate::settings::config::{self, Config, HealthListener};

/// The port of name servers.
const DNS: u16 = 53;

/// Gives up the rights that the configuration does not need, and logs in one line what the kernel
/// does not support.
///
/// # Errors
/// If confinement is required and a part of it is missing.
pub(super) fn begin(config: &Config, hops: &Hops) -> Result<Confinement, String> {
    if config.process.confinement == config::Confinement::Off {
        return Ok(Confinement::off());
    }
    let confinement = Confinement::begin(&needs(config, hops));
    let complete = confinement.missing().next().is_none();
    match config.process.confinement {
        _ if complete => {}
        config::Confinement::Require => {
            return Err(format!("process.confinement is `require`, and it is {confinement}"));
        }
        _ => log::warn!("the daemon is not wholly confined; confinement is {confinement}"),
    }
    Ok(confinement)
}

/// The TCP ports that the daemon connects to.
pub(super) fn ports(hops: &Hops) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([DNS]);
    for hop in hops.all().filter(|hop| hop.unix_socket.is_none()) {
        ports.insert(hop.proxy.as_ref().map_or(hop.target.port, |(proxy, _)| proxy.port()));
    }
    ports.extend(hops.oauth().into_iter().flat_map(OAuthHop::ports));
    ports
}

fn needs(config: &Config, hops: &Hops) -> Needs {
    let socket = match &config.health.listener {
        HealthListener::Unix(path) => Some(path),
        HealthListener::Tcp { .. } => None,
    };
    let removed = [socket, config.health.url_file.as_ref(), config.process.pid_file.as_ref()];
    let appended = [config.log.file.as_ref(), config.log.audit_file.as_ref()];
    Needs {
        appended: appended.into_iter().flatten().cloned().collect(),
        removed: removed.into_iter().flatten().cloned().collect(),
        ports: ports(hops),
        abstract_socket: service_manager::is_abstract(),
    }
}
