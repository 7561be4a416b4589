//! The commands that the launcher is given.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{environment, line};
use crate::launcher::{Commands, Launcher, Prepared};
use crate::settings::config::{Config, Confinement, Target};
use crate::wire::ChannelName;

const NO_LAUNCHER: &str = "the process that starts MCP commands can not be started";

/// The process that starts the configured commands, if there are any.
pub(crate) fn launcher(config: &Config) -> Result<Option<Arc<Launcher>>, String> {
    prepare(config)?.map(listen).transpose()
}

/// Starts it, while this process may execute something.
pub(super) fn prepare(config: &Config) -> Result<Option<Prepared>, String> {
    let argv: Vec<&[String]> = commands(config).map(|(_, argv)| argv).collect();
    if argv.is_empty() {
        return Ok(None);
    }
    let confined = config.process.confinement != Confinement::Off;
    let environment = environment::of(config, std::env::vars_os()).passed;
    Prepared::of_this_program(&Commands { argv, environment, confined }).map(Some).map_err(
        |error| match error.kind() {
            ErrorKind::PermissionDenied => format!(
                "{NO_LAUNCHER}: the service may start no programs; see stdio.conf in mcp-tunnel(1)"
            ),
            _ => format!("{NO_LAUNCHER}: {error}"),
        },
    )
}

/// Says what the commands do not get of our environment: who moves here from a tunnel that hands
/// over all of it must find out why his server fails.
pub(super) fn tell_environment(config: &Config) {
    if commands(config).next().is_some()
        && let Some(words) = environment::of(config, std::env::vars_os()).words()
    {
        log::info!("MCP commands get a clean environment; {words} (see mcp.pass_env)");
    }
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
