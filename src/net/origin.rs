//! The origin of a URL. Only a redirect to the same origin is followed and gets credentials.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// Scheme, host and effective port, in a form that can be compared (oauth-14). It prints as
/// `scheme://host[:port]`; a log line may show nothing else of a URL (oauth-71).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    /// Lower case without a dot at the end; an address in its canonical spelling.
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an absolute URL.
    pub fn of(uri: &Uri) -> Self {
        let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
        let host = uri.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match bare.parse() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(address)) => address.to_string(),
            Err(_) => host.to_owned(),
        };
        let port = uri.port_u16().unwrap_or_else(|| own_port(&scheme));
        Self { scheme, host, port }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.port != own_port(&self.scheme) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

fn own_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Origin {
        Origin::of(&text.parse().unwrap())
    }

    #[test] // oauth-14, wire-21
    fn one_origin_in_two_spellings_is_one() {
        for (one, other) in [
            ("HTTP://H:80/a?b", "http://h/x"),
            ("https://h.example.", "https://h.EXAMPLE:443"),
            ("http://[0:0:0:0:0:0:0:1]/", "http://[::1]:80/"),
        ] {
            assert_eq!(of(one), of(other));
        }
        for (one, other) in [
            ("http://h/", "https://h/"),
            ("http://h/", "http://h:8080/"),
            ("http://h/", "http://x.h/"),
            ("http://127.0.0.1/", "http://localhost/"),
        ] {
            assert_ne!(of(one), of(other));
        }
    }

    #[test] // oauth-71
    fn an_origin_prints_without_what_may_be_secret() {
        assert_eq!(of("https://u:p@H:443/path?q").to_string(), "https://h");
        assert_eq!(of("http://[::1]:8080/x").to_string(), "http://[::1]:8080");
    }
}
