//! The commands that the launcher is given, and their environment.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::sync::Arc;

use super::line;
use crate::launcher::{Commands, Launcher, Prepared};
use crate::ops::{parent, service_manager};
use crate::settings::config::{Config, Confinement, Target};
use crate::wire::ChannelName;

/// Variables that may hold a secret of the daemon's own. Whatever variable holds the runtime key
/// belongs to them too.
const SECRET_VARIABLES: [&str; 7] = [
    "ADMIN_UI_TOKEN",
    "CONTROL_PLANE_API_KEY",
    "CONTROL_PLANE_EXTRA_HEADERS",
    "MCP_EXTRA_HEADERS",
    "MCP_DISCOVERY_EXTRA_HEADERS",
    "OPENAI_ADMIN_KEY",
    "CLOUDFLARED_TUNNEL_TOKEN",
];
const NO_LAUNCHER: &str = "the process that starts MCP commands can not be started";

/// The process that starts the configured commands, if there are any.
pub(in crate::cli) fn launcher(config: &Config) -> Result<Option<Arc<Launcher>>, String> {
    prepare(config)?.map(listen).transpose()
}

/// Starts it, while this process may execute something.
pub(super) fn prepare(config: &Config) -> Result<Option<Prepared>, String> {
    let argv: Vec<&[String]> = commands(config).map(|(_, argv)| argv).collect();
    if argv.is_empty() {
        return Ok(None);
    }
    let confined = config.process.confinement != Confinement::Off;
    Prepared::of_this_program(&Commands { argv, environment: environment(config), confined })
        .map(Some)
        .map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "{NO_LAUNCHER}: the service may start no programs; see stdio.conf in mcp-tunnel(1)"
            ),
            _ => format!("{NO_LAUNCHER}: {error}"),
        })
}

/// Starts the thread that listens to it.
pub(super) fn listen(prepared: Prepared) -> Result<Arc<Launcher>, String> {
    prepared.listen().map(Arc::new).map_err(line(NO_LAUNCHER))
}

/// The channels with a command, in the order in which the launcher knows them.
pub(super) fn commands(config: &Config) -> impl Iterator<Item = (&ChannelName, &[String])> {
    config.mcp.bindings.iter().filter_map(|binding| match &binding.target {
        Target::Stdio { argv } => Some((&binding.channel, argv.as_slice())),
        Target::Http(_) => None,
    })
}

/// The environment of the commands: ours without what is no business of a child, which are our
/// secrets (B-18), how the service manager speaks with us, and whom we are not to outlive.
fn environment(config: &Config) -> Vec<(OsString, OsString)> {
    let key = config.control_plane.api_key.expose();
    let token = config.admin_ui.token.as_ref().map(|token| token.expose());
    let holds = |value: &OsStr| value == key || token.is_some_and(|token| value == token);
    std::env::vars_os()
        .filter(|(name, value)| {
            let withheld = SECRET_VARIABLES.iter().any(|secret| name == secret)
                || service_manager::VARIABLES.iter().any(|variable| name == variable)
                || name == parent::VARIABLE
                || holds(value);
            !withheld
        })
        .collect()
}
