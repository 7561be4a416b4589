//! The tunnels of an organization: created, listed, changed and deleted with an admin key
//! (wire-82).
//!
//! `admin` and `runtimes create` call it. One attempt for each call.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, HeaderName, Method, Uri, header};

use crate::control_plane::StatusError;
use crate::control_plane::access::bearer;
use crate::net::client::{ClientConfig, header_value};
use crate::net::{Cancel, Client, Ledger, Outgoing, Proxy, SecretHeaders, Tls};
use crate::random;
use crate::secret::Secret;
use crate::settings::url::{clean_path, encode_segment};
use crate::wire::{CLIENT_NAME, CLIENT_VERSION};

/// How long one call may take (wire-82).
const LIMIT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes: there is no pagination.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// A tunnel as the service describes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tunnel {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// The user who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Tenants that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant_ids: Vec<String>,
    /// Workspaces that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workspace_ids: Vec<String>,
    /// Organizations that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organization_ids: Vec<String>,
}

/// The fields of a new tunnel, or the changes to one: `None` leaves a field as it is.
#[derive(Debug, Default, Serialize)]
pub struct Fields {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// New workspaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_ids: Option<Vec<String>>,
    /// New organizations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_ids: Option<Vec<String>>,
}

/// An answer with the request id that the service gave it.
#[derive(Debug)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// `X-Request-Id`.
    pub request_id: Option<String>,
}

/// Why a call has no result.
#[derive(Debug)]
pub struct AdminError {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The cause.
    pub cause: Cause,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Cause {
    /// The service refused.
    Status(Box<StatusError>),
    /// No answer, or not one that was understood.
    Other(String),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} {} failed: ", self.method, self.path)?;
        match &self.cause {
            Cause::Status(error) => f.write_str(&error.with_request_id()),
            Cause::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for AdminError {}

/// A client for the tunnels of a control plane.
pub struct Admin {
    origin: String,
    prefix: String,
    headers: HeaderMap,
    secrets: SecretHeaders,
    client: Client,
}

impl Admin {
    /// Prepares the client. `origin` is scheme, host and port.
    ///
    /// # Errors
    /// If the key cannot be sent as a header, or the system gives no random bytes.
    pub fn new(
        origin: String,
        url_path: &str,
        key: &Secret,
        tls: Option<Tls>,
        proxy: Option<Proxy>,
    ) -> Result<Self, String> {
        let instance_id = random::instance_id()?;
        let bearer = bearer(key).ok_or("the admin key cannot be sent as a header")?;
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("accept", "application/json"),
            ("user-agent", &format!("{CLIENT_NAME}/{CLIENT_VERSION}")),
            ("x-tunnel-client-name", CLIENT_NAME),
            ("x-tunnel-client-version", CLIENT_VERSION),
            ("x-tunnel-client-instance-id", &instance_id),
        ] {
            let value = header_value(value).ok_or("a header cannot be sent")?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let cancel = Cancel::new().map_err(|e| e.to_string())?;
        let config = ClientConfig {
            tls,
            unix_socket: None,
            proxy,
            idle: Duration::ZERO,
            linger: None,
            secrets_keep_path: false,
            ledger: Ledger::default(),
        };
        let client = Client::new(config, cancel);
        let secrets = vec![(header::AUTHORIZATION, bearer)];
        Ok(Self { origin, prefix: clean_path(url_path), headers, secrets, client })
    }

    /// Makes a tunnel.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn create(&self, fields: &Fields) -> Result<Answered<Tunnel>, AdminError> {
        self.call(Method::POST, "/v1/tunnels", Some(fields))
    }

    /// Describes a tunnel.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn get(&self, id: &str) -> Result<Answered<Tunnel>, AdminError> {
        self.call_one(Method::GET, id, None)
    }

    /// The tunnels of one organization, workspace or tenant: `family` is the query's name.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn list(&self, family: &str, value: &str) -> Result<Answered<Vec<Tunnel>>, AdminError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct List {
            tunnels: Vec<Tunnel>,
        }
        // Characters of a segment that mean something in a query are encoded as well.
        let value = encode_segment(value).replace('&', "%26").replace('+', "%2B");
        let path =
            format!("/v1/tunnels?{family}={}", value.replace('=', "%3D").replace(';', "%3B"));
        let Answered { value, request_id } = self.call::<List>(Method::GET, &path, None)?;
        Ok(Answered { value: value.tunnels, request_id })
    }

    /// Changes a tunnel.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn update(&self, id: &str, fields: &Fields) -> Result<Answered<Tunnel>, AdminError> {
        self.call_one(Method::POST, id, Some(fields))
    }

    /// Deletes a tunnel and returns its description.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn delete(&self, id: &str) -> Result<Answered<Tunnel>, AdminError> {
        self.call_one(Method::DELETE, id, None)
    }

    /// A call about one tunnel. An id that would lead to another path is refused (wire-87).
    fn call_one(
        &self,
        method: Method,
        id: &str,
        fields: Option<&Fields>,
    ) -> Result<Answered<Tunnel>, AdminError> {
        let segment = encode_segment(id);
        let path = format!("/v1/tunnels/{segment}");
        if matches!(segment.as_str(), "" | "." | "..") || segment.contains("%2F") {
            let cause = Cause::Other("this is no tunnel id".to_owned());
            return Err(AdminError { method, path, cause });
        }
        self.call(method, &path, fields)
    }

    fn call<T: Default + for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        fields: Option<&Fields>,
    ) -> Result<Answered<T>, AdminError> {
        let path = format!("{}{path}", self.prefix);
        let failed = |cause| AdminError { method: method.clone(), path: path.clone(), cause };
        let other = |text: String| failed(Cause::Other(text));
        let uri: Uri = format!("{}{path}", self.origin)
            .parse()
            .map_err(|_| other("this cannot be used as a URL".to_owned()))?;
        let body = fields.map(|f| serde_json::to_vec(f).expect("strings always serialize"));
        let mut headers = self.headers.clone();
        if body.is_some() {
            let json = header_value("application/json").expect("plain text");
            headers.insert("content-type", json);
        }
        let request = Outgoing {
            method: method.clone(),
            uri: &uri,
            headers,
            secrets: self.secrets.clone(),
            body: body.as_deref(),
            limit: Instant::now() + LIMIT,
        };
        let reply = self.client.send(&request).map_err(|e| other(e.to_string()))?;
        if !reply.status.is_success() {
            return Err(failed(Cause::Status(Box::new(StatusError::read(reply)))));
        }
        let request_id = reply.header("x-request-id").map(str::to_owned);
        let body =
            reply.bytes(BODY_MAX).map_err(|_| other("the answer is unreadable".to_owned()))?;
        let value = match body.trim_ascii() {
            // An empty result (wire-84).
            b"" => T::default(),
            text => serde_json::from_slice(text)
                .map_err(|_| other("the answer is no tunnel document".to_owned()))?,
        };
        Ok(Answered { value, request_id })
    }
}
