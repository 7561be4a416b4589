//! What the control plane knows of the tunnel (W-79): shown to the operator, never needed.

use serde::Deserialize;
use ureq::http::{HeaderMap, Method};

use super::access::Access;
use super::error_body::StatusError;
use crate::net::Cancel;

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

/// Asks once. The text of a failure is for the log.
pub fn fetch(access: &Access, cancel: Cancel) -> Result<Metadata, String> {
    let client = access.client(cancel, None);
    let reply = access
        .send(&client, Method::GET, &access.url(""), HeaderMap::new(), None, None)
        .map_err(|error| error.to_string())?;
    if !reply.status.is_success() {
        return Err(StatusError::read(reply).to_string());
    }
    let body = reply.bytes(BODY_MAX).map_err(|_| "the answer is unreadable".to_owned())?;
    serde_json::from_slice(&body).map_err(|_| "the answer is no tunnel document".to_owned())
}
