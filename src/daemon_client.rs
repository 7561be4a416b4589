//! Finds a running daemon and asks its health listener.
//!
//! `health`, `doctor` and the operator's commands use it; the daemon does not.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use ureq::http::{HeaderMap, Method, Uri};

use crate::cli::{Invocation, load};
use crate::net::client::{BodyError, ClientConfig};
use crate::net::{Cancel, Client, Ledger, Outgoing};
use crate::settings::reference::text_of;
use crate::settings::url::bracketed;
use crate::settings::{Id, grammar};

/// How long `/healthz` and `/readyz` may take.
pub const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// Most bytes of a probe's answer that are read.
pub const BODY_MAX: usize = 4096;
/// How a Unix socket is written as a URL: this and the path in base64url.
const UNIX_SCHEME: &str = "http+unix://";

/// How the daemon was found.
#[derive(Debug, Default, Serialize)]
pub struct Locator {
    /// How it was found: `url`, `url_file` or `port`.
    pub kind: &'static str,
    /// The URL that was given or configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The file that holds the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<String>,
    /// The port that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where to ask; `None` if that is not known, and `error` says why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_base_url: Option<String>,
    /// Why it is not known where to ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Finds the daemon: by a flag, or by its configuration.
///
/// # Errors
/// One line about the flag that was given.
pub fn locator(invocation: &Invocation) -> Result<Locator, String> {
    const FLAGS: [&str; 4] = ["url", "url-file", "port", "unix-socket"];
    let given: Vec<(&str, &str)> = FLAGS
        .into_iter()
        .filter_map(|name| invocation.last(name).map(|value| (name, value)))
        .collect();
    let mut locator = match given.as_slice() {
        [] => return configured(invocation),
        [("url", url)] => Locator {
            kind: "url",
            url: Some((*url).to_owned()),
            resolved_base_url: Some(normalised(url)?),
            ..Locator::default()
        },
        [("url-file", path)] => by_url_file(Path::new(path)),
        [("port", port)] => {
            let number = port
                .parse::<u16>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or("--port: a port is a number from 1 to 65535")?;
            Locator {
                kind: "port",
                port: Some(number),
                resolved_base_url: Some(format!("http://127.0.0.1:{number}")),
                ..Locator::default()
            }
        }
        [(_, path)] => Locator { kind: "url", ..by_socket(Path::new(path)) },
        [(first, _), (second, _), ..] => {
            return Err(format!("--{first} and --{second} exclude each other: give one"));
        }
    };
    if locator.url.is_none() && locator.url_file.is_none() {
        locator.url.clone_from(&locator.resolved_base_url);
    }
    Ok(locator)
}

fn by_url_file(path: &Path) -> Locator {
    let read = std::fs::read_to_string(path)
        .map_err(|e| format!("cannot read {}: {}", path.display(), text_of(&e)))
        .and_then(|text| normalised(&text));
    let (resolved_base_url, error) = match read {
        Ok(url) => (Some(url), None),
        Err(e) => (None, Some(e)),
    };
    Locator {
        kind: "url_file",
        url_file: Some(path.display().to_string()),
        resolved_base_url,
        error,
        ..Locator::default()
    }
}

fn by_socket(path: &Path) -> Locator {
    Locator { kind: "url", resolved_base_url: Some(base_of_socket(path)), ..Locator::default() }
}

/// A Unix socket as a base URL.
pub fn base_of_socket(path: &Path) -> String {
    format!("{UNIX_SCHEME}{}", URL_SAFE_NO_PAD.encode(path.as_os_str().as_bytes()))
}

/// True if a probe of a daemon is answered with success.
pub fn is_ok(base: &str, path: &str) -> bool {
    get(base, path, PROBE_LIMIT, BODY_MAX).is_ok_and(|(status, _)| (200..300).contains(&status))
}

/// The readiness conditions that a live daemon reports; `None` if none answers there.
pub fn conditions(base: &str) -> Option<String> {
    if !is_live(base) {
        return None;
    }
    get(base, "/readyz?verbose", PROBE_LIMIT, BODY_MAX).ok().map(|(_, body)| body)
}

/// True if a daemon answers there.
pub fn is_live(base: &str) -> bool {
    get(base, "/healthz", PROBE_LIMIT, BODY_MAX)
        .is_ok_and(|(status, body)| status == 200 && body == "live")
}

/// Where the configured daemon listens. Only the health settings have to be right.
fn configured(invocation: &Invocation) -> Result<Locator, String> {
    let loaded = load(invocation);
    let value = |id| loaded.effective.iter().find(|e| e.id == id).and_then(|e| e.value.as_deref());
    if let Some(path) = value(Id::HealthUrlFile) {
        return Ok(by_url_file(Path::new(path)));
    }
    if let Some(path) = value(Id::HealthUnixSocket) {
        return Ok(by_socket(Path::new(path)));
    }
    let Some(address) = value(Id::HealthListenAddr) else {
        let first = loaded.problems.first().map(ToString::to_string);
        return Err(first.unwrap_or_else(|| "no health listener is configured".to_owned()));
    };
    let (host, port) = grammar::listen_addr(address)?;
    if port == 0 {
        return Err("the configured port is chosen by the kernel: give --url, or configure \
                    `health.url_file`"
            .to_owned());
    }
    let host = match host.as_str() {
        "" | "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        host => bracketed(host),
    };
    let url = format!("http://{host}:{port}");
    Ok(Locator {
        kind: "url",
        url: Some(url.clone()),
        resolved_base_url: Some(url),
        ..Locator::default()
    })
}

/// A base URL without the path of a probe and without slashes at its end.
fn normalised(text: &str) -> Result<String, String> {
    let mut url = text.trim().trim_end_matches('/');
    for path in ["/healthz", "/readyz"] {
        url = url.strip_suffix(path).unwrap_or(url);
    }
    let url = url.trim_end_matches('/');
    if url.starts_with("http://") || url.starts_with("https://") || url.starts_with(UNIX_SCHEME) {
        Ok(url.to_owned())
    } else {
        Err("a health URL starts with `http://` or `http+unix://`".to_owned())
    }
}

/// One GET to the listener, within `limit`: status and body, which is empty if it has more than
/// `max` bytes.
///
/// # Errors
/// One line on why there is no answer.
pub fn get(base: &str, path: &str, limit: Duration, max: usize) -> Result<(u16, String), String> {
    let (unix_socket, uri) = match base.strip_prefix(UNIX_SCHEME) {
        None => (None, format!("{base}{path}")),
        Some(encoded) => {
            let bytes = URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| "the path of the Unix socket is not base64url".to_owned())?;
            let socket = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
            (Some(socket), format!("http://localhost{path}"))
        }
    };
    let uri: Uri = uri.parse().map_err(|_| "this is not a URL".to_owned())?;
    let cancel = Cancel::new().map_err(|e| text_of(&e))?;
    let client = Client::new(plain_client(unix_socket), cancel);
    let request = Outgoing {
        method: Method::GET,
        uri: &uri,
        headers: HeaderMap::new(),
        secrets: Vec::new(),
        body: None,
        limit: Instant::now() + limit,
    };
    let reply = client.send(&request).map_err(|e| e.to_string())?;
    let status = reply.status.as_u16();
    match reply.bytes(max) {
        Ok(bytes) => Ok((status, String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(BodyError::TooLarge) => Ok((status, String::new())),
        Err(BodyError::Net(e)) => Err(e.to_string()),
    }
}

/// A client for one or two exchanges over plain HTTP.
fn plain_client(unix_socket: Option<PathBuf>) -> ClientConfig {
    ClientConfig {
        tls: None,
        unix_socket,
        proxy: None,
        idle: Duration::ZERO,
        linger: None,
        secrets_keep_path: false,
        ledger: Ledger::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli.md, 11.5, operations-10
    fn a_health_url_is_normalised() {
        for text in ["http://h:1", " http://h:1/ ", "http://h:1/healthz", "http://h:1/readyz/\n"] {
            assert_eq!(normalised(text).unwrap(), "http://h:1", "{text:?}");
        }
        assert_eq!(normalised("http+unix://L3J1bi9h").unwrap(), "http+unix://L3J1bi9h");
        assert!(normalised("127.0.0.1:8080").is_err());
    }
}
