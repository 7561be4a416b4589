//! Checks whether the health listener could be bound or already belongs to our daemon.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Row;
use crate::daemon_client::{self, base_of_socket, is_live};
use crate::settings::config::{Health, HealthListener};
use crate::settings::reference::text_of;
use crate::settings::url::bracketed;

const LISTENER: &str = "health_listener";

/// The readiness conditions that a running daemon of this configuration reports.
pub fn conditions(health: &Health) -> Option<String> {
    daemon_client::conditions(&base_url(health)?)
}

/// Where it can be asked, if that is known before it starts.
fn base_url(health: &Health) -> Option<String> {
    if let Some(path) = &health.url_file
        && let Ok(text) = std::fs::read_to_string(path)
    {
        return Some(text.trim().to_owned());
    }
    match &health.listener {
        HealthListener::Unix(path) => Some(base_of_socket(path)),
        HealthListener::Tcp { port: 0, .. } => None,
        HealthListener::Tcp { host, port } => Some(near(host, *port)),
    }
}

/// An address that this host can connect to.
fn near(host: &str, port: u16) -> String {
    let host = match host {
        "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        host => bracketed(host),
    };
    format!("http://{host}:{port}")
}

/// Binds and releases the address; a Unix socket is only looked at.
pub fn check(listener: &HealthListener) -> Vec<Row> {
    match listener {
        HealthListener::Tcp { host, port } => tcp(host, *port),
        HealthListener::Unix(path) => unix(path),
    }
}

fn tcp(host: &str, port: u16) -> Vec<Row> {
    let shown = format!("{}:{port}", bracketed(host));
    let bind_to = if host.is_empty() { "0.0.0.0" } else { host };
    let bound = (bind_to, port).to_socket_addrs().and_then(|addresses| {
        addresses
            .map(TcpListener::bind)
            .find(Result::is_ok)
            .unwrap_or_else(|| TcpListener::bind((bind_to, port)))
    });
    let url = near(host, port);
    let listener = match bound {
        Ok(_) => Row::pass(LISTENER, format!("{shown} is free")),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_live(&url) => {
            Row::pass(LISTENER, format!("{shown} is served by a running daemon"))
        }
        Err(e) => {
            let row = Row::fail(LISTENER, format!("{shown}: {}", text_of(&e)))
                .why("The daemon does not start without its health listener.");
            let row = match e.kind() {
                io::ErrorKind::AddrInUse => row.next("See who has it: ss -ltnp."),
                _ => row,
            };
            let row = row.next("Choose another `health.listen_addr`, or port 0.");
            return vec![row, Row::skip("ui", "there is no listener")];
        }
    };
    let ui = match port {
        0 => Row::pass("ui", "the port is chosen at start; `health.url_file` keeps the URL"),
        _ => Row::pass("ui", format!("{url}/ui")),
    };
    vec![listener, ui]
}

fn unix(path: &Path) -> Vec<Row> {
    let shown = path.display();
    let listener = match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Row::pass(LISTENER, format!("{shown} is free"))
        }
        Err(e) => Row::fail(LISTENER, format!("{shown}: {}", text_of(&e))),
        Ok(meta) if !meta.file_type().is_socket() => {
            Row::fail(LISTENER, format!("{shown} is there and is no socket"))
                .next("Remove it, or choose another `health.unix_socket`.")
        }
        Ok(_) if is_live(&base_of_socket(path)) => {
            Row::pass(LISTENER, format!("{shown} is served by a running daemon"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Row::fail(LISTENER, format!("{shown} is served by another program"))
                .next("Choose another `health.unix_socket`.")
        }
        Ok(_) => Row::pass(LISTENER, format!("{shown} is left over, and will be replaced")),
    };
    let ui = format!("curl --unix-socket {shown} http://localhost/ui");
    vec![listener, Row::pass("ui", ui)]
}
