//! The commands that are MCP servers, and the launcher that starts them.

use std::io::ErrorKind;
use std::sync::Arc;

use super::{environment, preflight};
use crate::launcher::{Commands, Launcher, Prepared};
use crate::mcp::stdio::StartError;
use crate::settings::config::{Config, Confinement, Target};
use crate::wire::ChannelName;

const NO_LAUNCHER: &str = "the process that starts MCP commands cannot be started";

/// The channels with a command, in the order in which the launcher knows them.
pub(crate) fn all(config: &Config) -> impl Iterator<Item = (&ChannelName, &[String])> {
    config.mcp.bindings.iter().filter_map(|binding| match &binding.target {
        Target::Stdio { argv } => Some((&binding.channel, argv.as_slice())),
        Target::Http(_) => None,
    })
}

/// The launcher, if there is a command to start.
///
/// # Errors
/// If the process or the thread cannot be started.
pub(crate) fn launcher(config: &Config) -> Result<Option<Arc<Launcher>>, String> {
    prepare(config)?.map(listen).transpose()
}

/// The search path for programs if the environment has none.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// A line for each command that the system would not start, found without starting it.
pub(crate) fn unstartable(config: &Config) -> impl Iterator<Item = String> {
    let environment = environment::of(config, std::env::vars_os()).passed;
    let path = environment.into_iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    let path = path.map_or(USUAL_PATH.to_owned(), |path| path.to_string_lossy().into_owned());
    all(config).filter_map(move |(_, argv)| {
        let error = preflight::program(argv.first()?, &path).err()?;
        Some(StartError::of(argv, error).to_string())
    })
}

/// Starts the launcher's process, while this process may still execute programs.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn prepare(config: &Config) -> Result<Option<Prepared>, String> {
    let argv: Vec<&[String]> = all(config).map(|(_, argv)| argv).collect();
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

/// Starts the thread that listens to the launcher.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn listen(prepared: Prepared) -> Result<Arc<Launcher>, String> {
    prepared.listen().map(Arc::new).map_err(|error| format!("{NO_LAUNCHER}: {error}"))
}

/// Logs which of our variables the commands do not get, for an operator whose server fails without
/// one.
pub(crate) fn tell_environment(config: &Config) {
    if all(config).next().is_some()
        && let Some(words) = environment::of(config, std::env::vars_os()).words()
    {
        log::info!("MCP commands get a clean environment; {words} (see mcp.pass_env)");
    }
}
