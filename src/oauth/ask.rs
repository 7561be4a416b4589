//! One request over HTTP: a GET within its limits, and the request that provokes the server's own
//! challenge.

use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Uri, header};

use super::Discovery;
use super::candidates::absolute;
use crate::mcp::headers::{RequestHeaders, for_question};
use crate::net::client::{BodyError, ClientConfig};
use crate::net::{Cancel, Client, NetError, NetErrorKind, Origin, Outgoing};
use crate::wire::challenge::resource_metadata;

/// How long the server has to name its metadata, for both requests together (oauth-6).
const CHALLENGE_LIMIT: Duration = Duration::from_secs(1);
/// Largest document, in bytes (oauth-15).
const DOCUMENT_MAX: usize = 1_048_576;

/// A document as it was received.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no document. The texts hold no URL beyond its origin (oauth-72).
pub(super) enum Refusal {
    /// No answer came in time.
    TimedOut,
    /// No answer came, or a redirect that is not followed.
    Unanswered(String),
    /// The body of the answer could not be read completely.
    Unread(u16, String),
}

/// The server's answer to a request without credentials (oauth-6 to oauth-9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The URL of its metadata, if it named one.
    pub url: Option<Uri>,
    /// Why it named none.
    pub error: Option<String>,
}

/// The clients that one search asks with.
pub(super) struct Asker<'a> {
    discovery: &'a Discovery,
    own: Client,
    origin: Origin,
    cancel: &'a Cancel,
}

impl<'a> Asker<'a> {
    pub(super) fn new(discovery: &'a Discovery, cancel: &'a Cancel) -> Self {
        // The operator's headers go along to every path of the server's origin (forwarding-47).
        let config =
            ClientConfig { secrets_keep_path: false, ..discovery.binding.client().clone() };
        let own = Client::new(config, cancel.clone());
        let origin = Origin::of(discovery.binding.url());
        Self { discovery, own, origin, cancel }
    }

    /// Asks the server itself, by POST, then by GET.
    pub(super) fn challenge(&self, limit: Instant) -> Challenge {
        let limit = limit.min(Instant::now() + CHALLENGE_LIMIT);
        let mut errors = Vec::new();
        for (method, body) in [(Method::POST, Some(&b""[..])), (Method::GET, None)] {
            let RequestHeaders { open: headers, secret: secrets } =
                self.discovery.binding.question_headers();
            let uri = self.discovery.binding.url();
            let request = Outgoing { method: method.clone(), uri, headers, secrets, body, limit };
            let why = match self.own.send(&request) {
                Ok(reply) if reply.status.as_u16() == 401 => {
                    let field = reply.headers.get(header::WWW_AUTHENTICATE);
                    let value = field.map(|value| String::from_utf8_lossy(value.as_bytes()));
                    let named = value.as_deref().and_then(resource_metadata);
                    match named.as_deref().map(absolute) {
                        Some(Some(url)) => return Challenge { url: Some(url), error: None },
                        Some(None) => "HTTP 401 with a resource_metadata that is no URL".to_owned(),
                        None => "HTTP 401 without a resource_metadata".to_owned(),
                    }
                }
                Ok(reply) => format!("HTTP {}", reply.status.as_u16()),
                Err(error) => error.to_string(),
            };
            errors.push(format!("{method}: {why}"));
        }
        Challenge { url: None, error: Some(errors.join("; ")) }
    }

    /// Fetches a protected resource's metadata, with the operator's headers if it is on the
    /// server's own origin (oauth-13).
    pub(super) fn resource(&self, url: &Uri, limit: Instant) -> Result<Answer, Refusal> {
        let is_own = Origin::of(url) == self.origin;
        let headers = match is_own {
            true => self.discovery.binding.question_headers(),
            false => for_question(&[]),
        };
        self.get(url, headers, limit)
    }

    /// Fetches an authorization server's document. The operator's headers are not for it
    /// (forwarding-47).
    pub(super) fn issuer(&self, url: &Uri, limit: Instant) -> Result<Answer, Refusal> {
        self.get(url, for_question(&[]), limit)
    }

    fn get(&self, url: &Uri, headers: RequestHeaders, limit: Instant) -> Result<Answer, Refusal> {
        if limit <= Instant::now() {
            return Err(Refusal::TimedOut);
        }
        let elsewhere;
        let client = if Origin::of(url) == self.origin {
            &self.own
        } else {
            elsewhere = self.elsewhere(url)?;
            &elsewhere
        };
        let RequestHeaders { open: headers, secret: secrets } = headers;
        let request =
            Outgoing { method: Method::GET, uri: url, headers, secrets, body: None, limit };
        let reply = client.send(&request).map_err(unanswered)?;
        let status = reply.status.as_u16();
        if matches!(status, 301..=303 | 307 | 308) {
            let why = format!("HTTP {status}: redirects to other origins are not followed");
            return Err(Refusal::Unanswered(why));
        }
        let headers = reply.headers.clone();
        match reply.bytes(DOCUMENT_MAX) {
            Ok(body) => Ok(Answer { status, headers, body }),
            Err(BodyError::TooLarge) => {
                let why = format!("HTTP {status} with a body of more than {DOCUMENT_MAX} bytes");
                Err(Refusal::Unread(status, why))
            }
            Err(BodyError::Net(error)) => Err(Refusal::Unread(status, error.to_string())),
        }
    }

    /// A client for an origin other than the server's. It never shows the client certificate
    /// (oauth-5).
    fn elsewhere(&self, url: &Uri) -> Result<Client, Refusal> {
        let way = (self.discovery.elsewhere)(url).map_err(Refusal::Unanswered)?;
        // It is dropped after one request.
        let config = ClientConfig { idle: Duration::ZERO, secrets_keep_path: true, ..way };
        Ok(Client::new(config, self.cancel.clone()))
    }
}

fn unanswered(error: NetError) -> Refusal {
    match error.kind {
        NetErrorKind::TimedOut => Refusal::TimedOut,
        _ => Refusal::Unanswered(error.to_string()),
    }
}
