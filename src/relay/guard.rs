//! The hosts and web pages that may talk to the relay (relay.md, 4.4): the defence against DNS
//! rebinding.

use std::net::SocketAddr;

use crate::httpd::{Bind, Head};

/// The hosts and origins that are let in.
#[derive(Debug, Default)]
pub struct Guard {
    /// `host[:port]` in lower case; `None` lets every host in (a Unix socket has no name).
    hosts: Option<Vec<String>>,
    /// `scheme://host[:port]` in lower case.
    origins: Vec<String>,
}

impl Guard {
    /// The guard of a listener. `public_url` is the URL for clients on other hosts.
    pub fn new(
        bound: &Bind,
        public_url: Option<&str>,
        allowed_hosts: &[String],
        allowed_origins: &[String],
    ) -> Self {
        let public = public_url.map(|url| origin_of(&url.to_ascii_lowercase()).to_owned());
        let mut origins: Vec<String> =
            allowed_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        origins.extend(public.clone());
        let hosts = match bound {
            Bind::Unix(_) => None,
            Bind::Tcp(address) => {
                let mut hosts: Vec<String> =
                    allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
                hosts.extend(public.iter().filter_map(|origin| host_of(origin)));
                if address.ip().is_loopback() {
                    let port = address.port();
                    let own = SocketAddr::new(address.ip(), port).to_string();
                    let names = ["localhost", "127.0.0.1", "[::1]"];
                    hosts.extend(names.map(|name| format!("{name}:{port}")));
                    if port == 80 {
                        hosts.extend(names.map(str::to_owned));
                    }
                    hosts.push(own);
                    origins.extend(hosts.iter().map(|host| format!("http://{host}")));
                }
                Some(hosts)
            }
        };
        Self { hosts, origins }
    }

    /// True if the request's `Host` is allowed.
    pub fn allows_host(&self, head: &Head) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let named = head.host.as_deref().unwrap_or_default().to_ascii_lowercase();
        hosts.contains(&named)
    }

    /// True if the request comes from an allowed web page, or from none. The origin `null` is not
    /// allowed.
    pub fn allows_origin(&self, head: &Head) -> bool {
        head.headers
            .values("Origin")
            .iter()
            .all(|origin| self.origins.contains(&origin.to_ascii_lowercase()))
    }
}

/// `scheme://host[:port]` of a URL.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    &url[..end]
}

/// The authority of an origin as a client writes it into `Host`.
fn host_of(origin: &str) -> Option<String> {
    let (scheme, host) = origin.split_once("://")?;
    let default = if scheme == "https" { ":443" } else { ":80" };
    Some(host.strip_suffix(default).unwrap_or(host).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(host: &str, origin: Option<&str>) -> Head {
        let origin = origin.map(|o| format!("Origin: {o}\r\n")).unwrap_or_default();
        let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n");
        crate::httpd::head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test] // relay-46
    fn a_loopback_listener_knows_only_loopback_names() {
        let bound = Bind::Tcp("127.0.0.1:8765".parse().unwrap());
        let guard = Guard::new(&bound, None, &[], &["https://app.example".to_owned()]);
        for (host, allowed) in [
            ("localhost:8765", true),
            ("LocalHost:8765", true),
            ("127.0.0.1:8765", true),
            ("[::1]:8765", true),
            ("127.0.0.1", false),
            ("127.0.0.1:1", false),
            ("evil.example:8765", false),
            ("localhost.evil.example:8765", false),
        ] {
            assert_eq!(guard.allows_host(&head(host, None)), allowed, "{host}");
        }
        for (origin, allowed) in [
            ("https://app.example", true),
            ("http://localhost:8765", true),
            ("http://app.example", false),
            ("https://app.example:8443", false),
            ("https://app.example.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(guard.allows_origin(&head("x", Some(origin))), allowed, "{origin}");
        }
        assert!(guard.allows_origin(&head("x", None)));
    }

    #[test] // relay-46
    fn a_public_listener_knows_its_public_name() {
        let bound = Bind::Tcp("0.0.0.0:8765".parse().unwrap());
        let url = Some("https://Relay.example:443/base");
        let guard = Guard::new(&bound, url, &["10.0.0.1:8765".to_owned()], &[]);
        assert!(guard.allows_host(&head("relay.example", None)));
        assert!(guard.allows_host(&head("10.0.0.1:8765", None)));
        assert!(!guard.allows_host(&head("localhost:8765", None)));
    }
}
