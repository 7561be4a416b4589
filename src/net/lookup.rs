//! Looks up the addresses of a host name in a thread that the caller may abandon.
//!
//! The system's resolver takes no limit and cannot be interrupted. A lookup therefore runs in a
//! thread of its own, and the caller waits for it no longer than its own limit. [`super::dial`]
//! calls this module.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, never, select};

use super::cancel::Cancel;
use super::error::{Fault, NetErrorKind};

/// The maximum number of lookups under way in the process. A hanging resolver keeps a thread for
/// each until its own timeout; further lookups would only hang as well.
const LOOKUPS_MAX: usize = 16;

/// Stack of a lookup thread, in bytes: glibc's resolver keeps answers of up to 64 KiB on it.
const LOOKUP_STACK: usize = 256 * 1024;

/// The maximum number of addresses of one host that are tried.
const ADDRESSES_MAX: usize = 16;

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// The addresses of a host, in the resolver's order. IP literals need no lookup.
pub(super) fn lookup(
    host: &str,
    port: u16,
    limit: Option<Instant>,
    cancel: &Cancel,
) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let answer = start(bare.to_owned(), port)?;
    let timeout = limit.map_or_else(never, crossbeam_channel::at);
    let found = select! {
        recv(answer) -> found => {
            found.unwrap_or_else(|_| Err(io::Error::other("the lookup thread died")))
        }
        recv(timeout) -> _ => return Err(io::ErrorKind::TimedOut.into()),
        recv(cancel.channel()) -> _ => return Err(Fault::cancelled().into()),
    };
    match found {
        Ok(addresses) if addresses.is_empty() => Err(dns(format!("{bare} has no address"))),
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(dns(format!("{bare}: {error}"))),
    }
}

fn dns(detail: String) -> io::Error {
    Fault::new(NetErrorKind::Dns, detail).into()
}

fn start(host: String, port: u16) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    if UNDER_WAY.fetch_add(1, Ordering::SeqCst) >= LOOKUPS_MAX {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
        return Err(dns(format!("{host}: the resolver does not answer")));
    }
    let (sender, receiver) = bounded(1);
    let spawned = thread::Builder::new().name("lookup".to_owned()).stack_size(LOOKUP_STACK).spawn(
        move || {
            let found = (host.as_str(), port)
                .to_socket_addrs()
                .map(|addresses| addresses.take(ADDRESSES_MAX).collect());
            UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            // This fails if the limit has passed and nobody waits any more.
            let _ = sender.send(found);
        },
    );
    if let Err(error) = spawned {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
        return Err(error);
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_lookup() {
        let cancel = Cancel::new().unwrap();
        let find = |host| lookup(host, 80, None, &cancel).unwrap()[0].to_string();
        assert_eq!(find("127.0.0.1"), "127.0.0.1:80");
        assert_eq!(find("[::1]"), "[::1]:80");
    }

    #[test]
    fn a_name_is_looked_up() {
        let cancel = Cancel::new().unwrap();
        let found = lookup("localhost", 81, None, &cancel).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 81));
    }

    #[test]
    fn a_name_that_does_not_exist_is_a_dns_fault() {
        let cancel = Cancel::new().unwrap();
        let error = lookup("no-such-host.invalid", 80, None, &cancel).unwrap_err();
        assert_eq!(Fault::of(error).kind, NetErrorKind::Dns);
    }
}
