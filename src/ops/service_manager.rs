//! Notices to the service manager (sd_notify): ready, reloading, stopping, a status line, and that
//! the daemon is alive. Without `NOTIFY_SOCKET`, outside of systemd, nothing is sent.
//!
//! The crates for this open a socket for each notice, and block while systemd does not read. Ours
//! is opened once, before confinement, and never blocks.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Variables that the service manager sets for us. Children do not get them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager, or none.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it expects to hear that we are alive.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Finds the service manager that the environment names.
    ///
    /// # Errors
    /// If its socket cannot be used.
    pub fn of_environment() -> io::Result<Self> {
        let watchdog = watchdog(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
        );
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { socket: None, watchdog: None });
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not block us.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address(&name)?)), watchdog })
    }

    /// The longest time between two calls of [`ServiceManager::alive`]; `None` for no watchdog.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start or a reload is complete.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// A reload begins; [`ServiceManager::ready`] ends it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
    }

    /// The daemon is going to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining\n");
    }

    /// How the daemon is, in one line.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={line}\n"));
    }

    /// The daemon makes progress.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1\n");
        }
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            log::debug!("the service manager did not take a notice: {error}");
        }
    }
}

/// True if `NOTIFY_SOCKET` is in the abstract namespace.
pub fn is_abstract() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| name.as_bytes().starts_with(b"@"))
}

/// A path, or a name in the abstract namespace after `@`.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

fn watchdog(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
    let usec = usec?.parse().ok().filter(|usec| *usec > 0 && ours)?;
    Some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let own = std::process::id().to_string();
        assert_eq!(watchdog(Some("5000000"), None), Some(Duration::from_secs(5)));
        assert_eq!(watchdog(Some("5000000"), Some(&own)), Some(Duration::from_secs(5)));
        for (usec, pid) in [(Some("5000000"), Some("1")), (Some("0"), None), (Some("x"), None)] {
            assert_eq!(watchdog(usec, pid), None);
        }
        assert_eq!(watchdog(None, None), None);
    }
}
