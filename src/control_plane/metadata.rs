//! What the control plane knows of the tunnel (W-79): shown to the operator, never needed.

use std::fmt;

use serde::Deserialize;
use ureq::http::{HeaderMap, Method};

use super::access::Access;
use super::error_body::StatusError;
use crate::net::{Cancel, NetError};

/// Longest metadata document that is read, in bytes.
const BODY_MAX: usize = 1024 * 1024;

/// A tunnel as its owner named it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// The tunnel id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
}

/// Why there is no metadata.
#[derive(Debug)]
pub enum FetchError {
    /// No answer came.
    Net(NetError),
    /// The control plane refused.
    Status(StatusError),
    /// The answer is no tunnel document.
    Document(&'static str),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Status(error) => error.fmt(f),
            Self::Document(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for FetchError {}

/// Asks once.
///
/// # Errors
/// If the control plane can not be reached, refuses, or answers something else.
pub fn fetch(access: &Access, cancel: Cancel) -> Result<Metadata, FetchError> {
    let client = access.client(cancel, None);
    let reply = access
        .send(&client, Method::GET, &access.url(""), HeaderMap::new(), None, None)
        .map_err(FetchError::Net)?;
    if !reply.status.is_success() {
        return Err(FetchError::Status(StatusError::read(reply)));
    }
    let body =
        reply.bytes(BODY_MAX).map_err(|_| FetchError::Document("the answer is unreadable"))?;
    serde_json::from_slice(&body)
        .map_err(|_| FetchError::Document("the answer is no tunnel document"))
}
