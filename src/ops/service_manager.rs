//! What the service manager is told (sd_notify): ready, reloading, stopping, a status line, and
//! that the daemon is alive. Outside of systemd, without `NOTIFY_SOCKET`, nothing is sent.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Variables by which the service manager speaks to us; no business of a child.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How much later than its limit a poll's step may be noticed.
const POLL_SLACK: Duration = Duration::from_secs(90);
/// What the last answers of a command may take beyond its limit: ten minutes for a control plane
/// that can not be reached, three attempts with the longest waits that it can ask for, and
/// notifications before them.
const POST_SLACK: Duration = Duration::from_secs(1_200);

/// Where notices go.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that we are alive.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    ///
    /// # Errors
    /// If it names one that can not be spoken to.
    pub fn of_environment() -> io::Result<Self> {
        let watchdog = watchdog(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
        );
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { socket: None, watchdog: None });
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read may not hold us up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address(&name)?)), watchdog })
    }

    /// How often [`ServiceManager::alive`] is due at the latest.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start is complete, or a reload is.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// A reload begins; [`ServiceManager::ready`] ends it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let usec = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
    }

    /// The way down begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining\n");
    }

    /// One line on how the daemon is.
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

/// Whether the environment names a socket in the abstract namespace.
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

/// What tells progress from a standstill.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Since the poll loop that stands still longest last began or ended a poll; `None` if none
    /// has begun.
    pub since_poll_step: Option<Duration>,
    /// How long one poll may take.
    pub poll_limit: Duration,
    /// Polls are due: the daemon does not stop, and there is room for commands.
    pub polls_due: bool,
    /// How long the oldest command has been in a worker's hands.
    pub oldest_in_hand: Duration,
    /// How long a call may take (`mcp.connection_max_ttl`).
    pub call_limit: Duration,
}

impl Progress {
    /// What stands still, if anything does: then only a restart helps.
    pub fn standstill(&self) -> Option<String> {
        let poll = self
            .since_poll_step
            .filter(|since| self.polls_due && *since > self.poll_limit.saturating_add(POLL_SLACK));
        if let Some(since) = poll {
            return Some(format!("a poll loop has taken no step for {} s", since.as_secs()));
        }
        let limit = self.call_limit.saturating_add(POST_SLACK);
        (self.oldest_in_hand > limit)
            .then(|| format!("a command has been in hand for {} s", self.oldest_in_hand.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Progress = Progress {
        since_poll_step: Some(Duration::from_secs(30)),
        poll_limit: Duration::from_secs(35),
        polls_due: true,
        oldest_in_hand: Duration::from_secs(5),
        call_limit: Duration::from_secs(60),
    };

    #[test]
    fn only_what_stands_still_keeps_the_watchdog_hungry() {
        let hours = Duration::from_secs(7_200);
        assert_eq!(FINE.standstill(), None);
        assert_eq!(Progress { since_poll_step: None, ..FINE }.standstill(), None);
        let poll = Progress { since_poll_step: Some(hours), ..FINE };
        assert!(poll.standstill().unwrap().contains("7200 s"));
        assert_eq!(Progress { polls_due: false, ..poll }.standstill(), None);
        assert!(Progress { oldest_in_hand: hours, ..FINE }.standstill().is_some());
        let patient = Progress { oldest_in_hand: hours, call_limit: hours, ..FINE };
        assert_eq!(patient.standstill(), None);
        let endless = Progress { poll_limit: Duration::MAX, call_limit: Duration::MAX, ..poll };
        assert_eq!(endless.standstill(), None);
    }

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
