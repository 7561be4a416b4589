//! Names of hosts: the host of an address, and which `Host` headers the listener answers to.

use std::net::IpAddr;

/// The host of `host:port`, without brackets; `None` if there is no port.
pub(super) fn host_of(address: &str) -> Option<&str> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return (rest.is_empty() || rest.starts_with(':')).then_some(host);
    }
    address.rsplit_once(':').map(|(host, _)| host).filter(|host| !host.contains(':'))
}

/// True if a `Host` header is a loopback name or address, or the configured name.
///
/// A listener on loopback answers to nothing else: a web page whose name was pointed to 127.0.0.1
/// (DNS rebinding) is turned away.
pub(super) fn is_loopback_name(host: &str, configured: &str) -> bool {
    let name = name_in(host);
    is_local(&name, configured)
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// True if a `Host` header is an address, a loopback name, or the configured name.
///
/// A foreign name that was pointed to this host is none of these, and nobody can point an address
/// anywhere.
pub(super) fn is_own_name(host: &str, configured: &str) -> bool {
    let name = name_in(host);
    is_local(&name, configured) || name.parse::<IpAddr>().is_ok()
}

fn is_local(name: &str, configured: &str) -> bool {
    name == "localhost" || name == configured
}

/// The name in a `Host` header, in lower case and without the dot of the root.
fn name_in(host: &str) -> String {
    let mut name = host_of(host).unwrap_or(host).to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // operations-212
    fn only_addresses_and_own_names_are_answered() {
        for host in ["127.0.0.1:80", "[::1]:80", "localhost", "10.0.0.7:8080", "box:80", "BOX."] {
            assert!(is_own_name(host, "box"), "{host}");
        }
        for host in ["evil.example:80", "localhost.evil.example", "box.evil.example", ""] {
            assert!(!is_own_name(host, "box"), "{host}");
        }
    }
}
