//! Builds the users of the hops: the access to the control plane, a binding for each channel, and
//! the discovery of the main server's OAuth documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use ureq::http::{HeaderName, Uri};

use super::commands;
use super::hop::{Hop, Hops};
use crate::control_plane::{Access, AccessConfig};
use crate::launcher::Launcher;
use crate::mcp::stdio::{Limits, StdioConfig};
use crate::mcp::{Binding, FixedHeaders, HttpBinding, StdioChannel};
use crate::net::SecretHeaders;
use crate::net::client::can_be_header;
use crate::oauth::Discovery;
use crate::settings::config::{self, Config, HeaderMap, Target};
use crate::settings::url::clean_path;
use crate::wire::ChannelName;
use crate::wire::server_info::ServerInfo;

/// Builds the part that all requests to the control plane share.
///
/// # Errors
/// If a setting cannot be put into a request.
pub(crate) fn access(
    config: &Config,
    instance_id: String,
    hop: &Hop,
) -> Result<Arc<Access>, String> {
    let control_plane = &config.control_plane;
    // Only channels that are polled for are declared (wire-13).
    let polled = |channel: &ChannelName| {
        control_plane.poll_channels.as_ref().is_none_or(|listed| listed.contains(channel))
    };
    let server_info = ServerInfo::new(
        config
            .mcp
            .bindings
            .iter()
            .filter(|binding| polled(&binding.channel))
            .map(|binding| (&binding.channel, matches!(binding.target, Target::Stdio { .. }))),
    );
    let access = AccessConfig {
        base_url: uri(&control_plane.base_url.origin())?,
        url_path: clean_path(&control_plane.url_path),
        tunnel_id: control_plane.tunnel_id.clone(),
        instance_id,
        organization_id: control_plane.organization_id.clone(),
        server_info,
        poll_timeout: control_plane.poll_timeout,
        guardrail: control_plane.poll_deadline_guardrail,
        tls: hop.tls.clone(),
        proxy: hop.proxy(),
        unix_socket: hop.unix_socket.clone(),
        ledger: hop.ledger.clone(),
    };
    Access::new(access, &control_plane.api_key, &control_plane.extra_headers)
        .map_err(|e| e.to_string())
}

/// Builds a binding for each channel and starts the children.
///
/// # Errors
/// As [`binding`].
pub(crate) fn bindings(
    config: &Config,
    hops: &Hops,
    launcher: Option<&Arc<Launcher>>,
) -> Result<Vec<(ChannelName, Binding)>, String> {
    let made = |configured: &config::Binding| {
        Ok((configured.channel.clone(), binding(config, configured, hops, launcher)?))
    };
    config.mcp.bindings.iter().map(made).collect()
}

/// Builds the binding of one channel and starts its child, if it has one.
///
/// # Errors
/// If a header cannot be sent, or the child cannot be started.
pub(crate) fn binding(
    config: &Config,
    configured: &config::Binding,
    hops: &Hops,
    launcher: Option<&Arc<Launcher>>,
) -> Result<Binding, String> {
    let channel = configured.channel.clone();
    let command = commands::all(config).position(|(channel, _)| *channel == configured.channel);
    Ok(match (&configured.target, launcher.zip(command)) {
        (Target::Http(http), _) => Binding::Http(HttpBinding::new(
            channel,
            http.url.uri(),
            hops.channel(&configured.channel).map(Hop::client).unwrap_or_default(),
            mcp_headers(config)?,
        )),
        (Target::Stdio { argv }, Some((launcher, command))) => Binding::Stdio(
            StdioChannel::start(StdioConfig {
                channel,
                launcher: Arc::clone(launcher),
                command,
                argv: argv.clone(),
                limits: Limits::default(),
            })
            .map_err(|e| e.to_string())?,
        ),
        (Target::Stdio { .. }, None) => return Err("there is no launcher for a command".to_owned()),
    })
}

/// The discovery of the OAuth documents of `main`'s server, if that is an HTTP server (oauth-2).
/// `open` lists the ports that the process may connect to; `None` means all.
pub(crate) fn discovery(
    bindings: &[(ChannelName, Binding)],
    hops: &Hops,
    open: Option<BTreeSet<u16>>,
) -> Option<Arc<Discovery>> {
    let oauth = hops.oauth()?.clone();
    let http = bindings.iter().find_map(|(channel, binding)| match binding {
        Binding::Http(http) if channel.is_main() => Some(Arc::clone(http)),
        _ => None,
    })?;
    Some(Arc::new(Discovery::new(http, Arc::new(move |uri| oauth.toward(uri, open.as_ref())))))
}

/// The operator's headers for MCP servers.
///
/// # Errors
/// The name of a header that cannot be sent.
pub(crate) fn mcp_headers(config: &Config) -> Result<FixedHeaders, String> {
    Ok(FixedHeaders {
        always: fixed_headers(&config.mcp.extra_headers)?,
        discovery: fixed_headers(&config.mcp.discovery_extra_headers)?,
    })
}

fn fixed_headers(headers: &HeaderMap) -> Result<SecretHeaders, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let key = HeaderName::from_bytes(name.as_bytes()).ok();
            let value = can_be_header(value.expose()).then(|| value.clone());
            key.zip(value).ok_or_else(|| format!("the MCP header `{name}` cannot be sent"))
        })
        .collect()
}

fn uri(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|_| format!("{text} cannot be used as a URL"))
}
