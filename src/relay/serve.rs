//! The process: it reads the arguments, serves until a signal comes, and returns an exit code.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{bounded, select};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::confine::{Confinement, Needs};
use crate::httpd::{Bind, Running};
use crate::ops::log::{self as ops_log, LogSettings};
use crate::ops::parent;
use crate::ops::service_manager::ServiceManager;

use super::Relay;
use super::args::{self, Command, Config, HELP, TunnelConfig};
use super::ids::Ids;

/// The meaning of the exit codes, for the manual.
pub const EXIT_CODES: [(u8, &str); 3] = [
    (0, "Success, help, or a stop by a signal."),
    (1, "A failed start: an address that cannot be bound, a file that cannot be written."),
    (USAGE, "An error on the command line."),
];
/// Exit code of an error on the command line.
const USAGE: u8 = 2;

/// How long threads have to write their last answers after the drain.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Stack of the threads made here, in bytes; they only wait and count.
const STACK: usize = 128 * 1024;

/// Runs the relay's command line.
pub fn main() -> ExitCode {
    let config = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => {
            say(HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            say(concat!("mcp-tunnel-relay ", env!("CARGO_PKG_VERSION"), "\n"));
            return ExitCode::SUCCESS;
        }
        Ok(Command::Serve(config)) => *config,
        Err(message) => {
            eprintln!("mcp-tunnel-relay: {message}");
            return ExitCode::from(USAGE);
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("mcp-tunnel-relay: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to stdout. It does not matter if the reader has gone.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn serve(mut config: Config) -> Result<(), String> {
    parent::end_with_it()?;
    let logger = ops_log::init(LogSettings {
        format: None,
        file: None,
        level: config.log_level,
        always: Vec::new(),
        ring: 0,
    })
    .map_err(|e| format!("the log cannot be started: {e}"))?;
    let manager =
        ServiceManager::of_environment().map_err(|e| format!("the service manager: {e}"))?;
    // Before the listener, so that no signal is missed once clients can connect.
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| format!("signals: {e}"))?;
    let dev_key = if config.dev { Some(make_dev_tunnel(&mut config)?) } else { None };
    let (relay, server) =
        Relay::bind(&config).map_err(|e| format!("--listen {}: {e}", config.listen))?;
    let url = match server.local() {
        Bind::Tcp(address) => format!("http://{address}"),
        Bind::Unix(path) => format!("unix:{}", path.display()),
    };
    if let Some(path) = &config.url_file {
        write_url(path, &url).map_err(|e| format!("--url-file {}: {e}", path.display()))?;
    }
    // The threads that are started from here on are confined too.
    confine(&config);
    let running = relay.serve(server).map_err(|e| format!("--listen {}: {e}", config.listen))?;
    say(&format!("mcp-tunnel-relay: listening on {url}\n"));
    manager.ready(&format!("listening on {url}"));
    if let Some((tunnel, key)) = &dev_key {
        say(&format!(
            "\n# for the daemon:\n\
             export CONTROL_PLANE_BASE_URL={url}\n\
             export CONTROL_PLANE_TUNNEL_ID={tunnel}\n\
             export CONTROL_PLANE_API_KEY={key}\n\
             mcp-tunnel run --mcp.command 'mcp-tunnel mcp-stub'\n\
             \n# for the MCP client:\n{url}/v1/mcp/{tunnel}\n"
        ));
    }

    let result = run_until_signal(signals, relay, running, &manager);
    if let Some(path) = &config.url_file {
        // If somebody else has removed it, there is nothing to do.
        let _ = std::fs::remove_file(path);
    }
    logger.finish();
    result
}

/// Serves until a signal, then drains the relay. A second signal ends it at once.
fn run_until_signal(
    mut signals: Signals,
    relay: Arc<Relay>,
    running: Running,
    manager: &ServiceManager,
) -> Result<(), String> {
    let (signal, signalled) = bounded(2);
    std::thread::Builder::new()
        .name("signals".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            for _ in signals.forever() {
                if signal.send(()).is_err() {
                    return;
                }
            }
        })
        .map_err(|e| format!("a thread for signals: {e}"))?;
    // The sender lives as long as its thread, which ends only after this receiver.
    let _ = signalled.recv();
    manager.stopping();
    log::info!("stopping: calls in flight may finish");
    let (done, drained) = bounded(1);
    std::thread::Builder::new()
        .name("drain".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            relay.drain();
            running.stop(LAST_ANSWERS);
            let _ = done.send(());
        })
        .map_err(|e| format!("a thread to drain: {e}"))?;
    select! {
        recv(drained) -> _ => Ok(()),
        recv(signalled) -> _ => Err("stopped at once by a second signal".to_owned()),
    }
}

/// Gives up rights that the relay does not need: it writes no file and opens no connection.
fn confine(config: &Config) {
    if !config.confinement {
        return;
    }
    let socket = match &config.listen {
        Bind::Unix(path) => Some(path),
        Bind::Tcp(_) => None,
    };
    let removed = socket.into_iter().chain(&config.url_file).cloned().collect();
    let confinement = Confinement::begin(&Needs { removed, ..Needs::default() });
    if confinement.missing().next().is_some() {
        log::warn!("the relay is not wholly confined; confinement is {confinement}");
    }
}

/// Creates a tunnel for `--dev`. Its runtime key is shown only this once.
fn make_dev_tunnel(config: &mut Config) -> Result<(String, String), String> {
    let ids = Ids::new().map_err(|_| "the kernel gives no random bytes")?;
    let (id, (_, key)) = (ids.tunnel_id(), ids.key("run"));
    let shown = (id.to_string(), key.expose().to_owned());
    config.tunnels.push(TunnelConfig {
        id,
        name: "development".to_owned(),
        runtime_keys: vec![key],
        connector_keys: Vec::new(),
    });
    Ok(shown)
}

/// Writes the URL so that a reader sees all of it or nothing.
fn write_url(path: &Path, url: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    std::fs::write(&temporary, format!("{url}\n"))?;
    std::fs::rename(&temporary, path)
}
