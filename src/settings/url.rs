//! URLs of HTTP servers and proxies, split into the parts that a socket and a request line need.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use ureq::http::Uri;

use crate::secret::Secret;

/// An `http` or `https` URL. It prints without user name, password and query.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// True if the scheme is `https`.
    pub https: bool,
    /// Lower-case name or address; IPv6 without brackets.
    pub host: String,
    /// The port, also if the text left it out.
    pub port: u16,
    /// Path and query as written, `/` if there is none.
    pub path_and_query: String,
    /// `user:password` as written, still percent-encoded.
    pub userinfo: Option<Secret>,
}

impl HttpUrl {
    /// Splits a URL (config-33). The text must be an absolute `http` or `https` URL.
    ///
    /// # Errors
    /// The problem, without the text itself, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err("a URL has no white space or control characters");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("a URL starts with `https://` or `http://`");
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("only `https://` and `http://` URLs can be used"),
        };
        let rest = rest.split('#').next().unwrap_or("");
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (userinfo, authority) = match authority.rsplit_once('@') {
            Some((userinfo, authority)) => (Some(Secret::new(userinfo.to_owned())), authority),
            None => (None, authority),
        };
        let (host, port) = split_host_port(authority)?;
        if host.is_empty() {
            return Err("the URL has no host");
        }
        let port = match port {
            None | Some("") => {
                if https {
                    443
                } else {
                    80
                }
            }
            Some(port) => parse_port(port)?,
        };
        let path_and_query = match tail.bytes().next() {
            None => "/".to_owned(),
            Some(b'/') => tail.to_owned(),
            Some(_) => format!("/{tail}"),
        };
        let url = Self { https, host: host.to_ascii_lowercase(), port, path_and_query, userinfo };
        if !text.is_ascii() || url.full().parse::<Uri>().is_err() {
            return Err("the URL has characters that must be percent-encoded");
        }
        Ok(url)
    }

    /// The URL to request, without user name and password.
    pub fn uri(&self) -> Uri {
        self.full().parse().expect("checked when it was parsed")
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The value of a `Host` header: the host, and the port if it is not the scheme's default.
    pub fn authority(&self) -> String {
        let host = bracketed(&self.host);
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Scheme and authority: `https://example.com:8443`.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// The URL to request, without user name and password.
    pub fn full(&self) -> String {
        format!("{}{}", self.origin(), self.path_and_query)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or("/")
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path())?;
        if self.path_and_query.contains('?') { f.write_str("?[redacted]") } else { Ok(()) }
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL of a proxy. It prints without user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(pub HttpUrl);

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits `host:port`, `host`, `[v6]:port` or `[v6]`. The port is still text.
pub(super) fn split_host_port(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or("the `[` of the address is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("brackets hold an IPv6 address");
            }
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':').ok_or("a `:` comes after `]`")?)),
            }
        }
        None => match text.split_once(':') {
            None => (text, None),
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address is written in brackets");
            }
            Some((host, port)) => (host, Some(port)),
        },
    };
    Ok((host, port))
}

pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    if text.bytes().all(|b| b.is_ascii_digit())
        && let Ok(port) = text.parse()
    {
        return Ok(port);
    }
    Err("a port is a number from 0 to 65535")
}

/// An IPv6 address in brackets, anything else as it is.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The configured path with its doubled slashes and dot segments gone (wire-6), percent-encoded
/// where it must be; empty for none.
pub fn clean_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.trim().split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.iter().map(|segment| format!("/{}", encode_segment(segment))).collect()
}

/// The bytes that a path segment must escape: all but `pchar` of RFC 3986, section 3.3.
const SEGMENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Percent-decodes a segment and encodes it again, so that both spellings send the same (wire-6).
pub fn encode_segment(segment: &str) -> String {
    let decoded: Vec<u8> = percent_decode_str(segment).collect();
    percent_encode(&decoded, &SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // config-33
    fn a_url_is_split_and_its_port_filled_in() {
        let url = HttpUrl::parse("HTTPS://u:p@Example.COM/mcp?x=1#f").unwrap();
        assert_eq!((url.https, url.host.as_str(), url.port), (true, "example.com", 443));
        assert_eq!(url.path_and_query, "/mcp?x=1");
        assert_eq!(url.userinfo.as_ref().unwrap().expose(), "u:p");
        assert_eq!(url.full(), "https://example.com/mcp?x=1");
        let url = HttpUrl::parse("http://[::1]:3001?q").unwrap();
        assert_eq!(url.full(), "http://[::1]:3001/?q");
    }

    #[test] // config-84
    fn a_url_does_not_print_what_may_be_secret() {
        let url = HttpUrl::parse("http://u:pass@h:81/p?token=t").unwrap();
        assert_eq!(format!("{url} {url:?}"), "http://h:81/p?[redacted] http://h:81/p?[redacted]");
        assert_eq!(ProxyUrl(url).to_string(), "http://h:81");
    }

    #[test] // config-33
    fn what_is_no_http_url_is_refused() {
        for bad in [
            "example.com",
            "ftp://h",
            "http://",
            "http:///p",
            "http://h:99999",
            "http://h:+1",
            "http://::1/",
            "http://[::1",
            "http://a b/",
            "http://h/\n",
            "http://h/{x}\u{e9}",
            "http://h<>/",
        ] {
            assert!(HttpUrl::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test] // wire-6
    fn a_path_is_cleaned_and_both_spellings_of_a_byte_are_the_same() {
        for (path, cleaned) in [
            ("", ""),
            ("/", ""),
            ("/team/eu", "/team/eu"),
            ("//a/./b/../c d/", "/a/c%20d"),
            ("/a%20b/%2F", "/a%20b/%2F"),
        ] {
            assert_eq!(clean_path(path), cleaned, "{path}");
        }
    }
}
