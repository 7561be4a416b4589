//! Turns a host and a port, or a path, into a connected socket. [`super::transport`] and
//! [`super::proxy`] call it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::cancel::Cancel;
use super::error::Fault;
use super::lookup::lookup;
use super::stream::{Stream, earlier, timespec_until, wait_for};

/// How long one connection may take to be established (wire.md, section 1).
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an address is tried alone before the next is tried in parallel, so that a dead IPv6
/// route does not cost a full timeout. RFC 8305, section 5, recommends 250 ms.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The TCP keep-alive interval (wire.md, section 1). It reveals a vanished peer even while a long
/// poll is quiet.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to a host by TCP, within `limit` and [`DIAL_TIMEOUT`].
pub(super) fn tcp(
    host: &str,
    port: u16,
    limit: Option<Instant>,
    cancel: &Cancel,
) -> io::Result<Stream> {
    let limit = earlier(limit, DIAL_TIMEOUT);
    let addresses = lookup(host, port, limit, cancel)?;
    let socket = race(&addresses, limit, cancel)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE)?;
    Ok(Stream::new(socket, cancel.clone()))
}

/// Connects to a unix socket.
pub(super) fn unix(path: &Path, limit: Option<Instant>, cancel: &Cancel) -> io::Result<Stream> {
    let limit = earlier(limit, DIAL_TIMEOUT);
    let address = rustix::net::SocketAddrUnix::new(path)?;
    loop {
        let socket = socket(AddressFamily::UNIX)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(Stream::new(socket, cancel.clone())),
            // The listener's backlog is full; unlike with TCP, the kernel does not retry by itself.
            Err(rustix::io::Errno::AGAIN) => {
                let pause = Instant::now() + BACKLOG_PAUSE;
                let until = limit.map_or(pause, |limit| limit.min(pause));
                match wait_for(cancel.fd(), PollFlags::empty(), Some(until), cancel) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                    other => return other.and(Err(io::ErrorKind::TimedOut.into())),
                }
                timespec_until(limit)?;
            }
            Err(error) => return Err(Fault::of_dial(error.into()).into()),
        }
    }
}

/// The pause before another attempt at a unix listener whose backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Tries the addresses in order, starts the next while earlier ones are slow, and takes the first
/// that connects.
fn race(addresses: &[SocketAddr], limit: Option<Instant>, cancel: &Cancel) -> io::Result<OwnedFd> {
    let mut waiting = addresses.iter();
    let mut under_way: Vec<OwnedFd> = Vec::new();
    let mut last_error = io::Error::from(io::ErrorKind::ConnectionRefused);
    let mut next_at = Instant::now();
    loop {
        if cancel.is_cancelled() {
            return Err(Fault::cancelled().into());
        }
        if under_way.is_empty() || next_at <= Instant::now() {
            if let Some(address) = waiting.next() {
                match begin(address) {
                    Ok((socket, true)) => return Ok(socket),
                    Ok((socket, false)) => {
                        under_way.push(socket);
                        next_at = Instant::now() + NEXT_ADDRESS_AFTER;
                    }
                    Err(error) => last_error = error,
                }
                continue;
            } else if under_way.is_empty() {
                return Err(Fault::of_dial(last_error).into());
            }
        }
        let until = match waiting.len() {
            0 => limit,
            _ => Some(limit.map_or(next_at, |limit| limit.min(next_at))),
        };
        let ready = wait_any(&under_way, until, cancel)?;
        for index in ready.into_iter().rev() {
            let socket = under_way.swap_remove(index);
            match sockopt::socket_error(&socket)? {
                Ok(()) => return Ok(socket),
                Err(error) => last_error = error.into(),
            }
        }
        if limit.is_some_and(|limit| limit <= Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Starts one connection; true if it is established at once.
fn begin(address: &SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket(family)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => Ok((socket, true)),
        Err(rustix::io::Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error.into()),
    }
}

/// The indexes of the sockets that are ready, in ascending order; none if `until` passes first.
fn wait_any(
    sockets: &[OwnedFd],
    until: Option<Instant>,
    cancel: &Cancel,
) -> io::Result<Vec<usize>> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let timeout = left.and_then(|left| Timespec::try_from(left).ok());
    let cancel_fd = cancel.fd();
    let mut set: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT))
        .chain([PollFd::from_borrowed_fd(cancel_fd, PollFlags::IN)])
        .collect();
    match poll(&mut set, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((0..sockets.len()).filter(|index| !set[*index].revents().is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::NetErrorKind;
    use std::net::TcpListener;

    #[test]
    fn a_refused_address_gives_way_to_the_next() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let cancel = Cancel::new().unwrap();
        let limit = Some(Instant::now() + Duration::from_secs(10));
        race(&[closed, open.local_addr().unwrap()], limit, &cancel).unwrap();
        let error = race(&[closed], limit, &cancel).unwrap_err();
        assert_eq!(Fault::of(error).kind, NetErrorKind::Refused);
    }

    #[test]
    fn a_dial_is_cancelled() {
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        let error = tcp("127.0.0.1", 9, None, &cancel).unwrap_err();
        assert_eq!(Fault::of(error).kind, NetErrorKind::Cancelled);
    }
}
