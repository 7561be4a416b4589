//! The tunnel's document at the control plane (wire-79). It is shown to the operator and nothing
//! depends on it. `daemon` fetches it once; `doctor` fetches it to check the control plane.

use std::fmt;

use ureq::http::{HeaderMap, Method};

use crate::control_plane::StatusError;
use crate::control_plane::access::{Access, daemons};
use crate::net::{Cancel, NetError};
use crate::wire::json::{self, Members};

/// Longest metadata document that is read, in bytes.
const BODY_MAX: usize = 1024 * 1024;

/// A tunnel as its owner named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The tunnel id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// The number of daemons that poll it, if the control plane reports it.
    pub daemons: Option<usize>,
}

/// The reason why there is no metadata.
#[derive(Debug)]
pub enum FetchError {
    /// No answer came.
    Net(NetError),
    /// The control plane refused.
    Status(Box<StatusError>),
    /// The answer is not a tunnel document.
    Document(&'static str),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Status(error) => f.write_str(&error.with_request_id()),
            Self::Document(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for FetchError {}

/// Fetches the document once.
///
/// # Errors
/// If the control plane cannot be reached, refuses, or answers something else.
pub fn fetch(access: &Access, cancel: Cancel) -> Result<Metadata, FetchError> {
    let client = access.client(cancel, None);
    let reply = access
        .send(&client, Method::GET, &access.url(""), HeaderMap::new(), None, None)
        .map_err(FetchError::Net)?;
    if !reply.status.is_success() {
        return Err(FetchError::Status(Box::new(StatusError::read(reply))));
    }
    let daemons = daemons(&reply);
    let body =
        reply.bytes(BODY_MAX).map_err(|_| FetchError::Document("the answer is unreadable"))?;
    String::from_utf8(body)
        .ok()
        .and_then(|text| parse(&text))
        .map(|tunnel| Metadata { daemons, ..tunnel })
        .ok_or(FetchError::Document("the answer is no tunnel document"))
}

/// Missing members are empty; unknown members are ignored.
fn parse(text: &str) -> Option<Metadata> {
    let members = Members::of(text).ok()?;
    let text_of = |name| match members.get(name) {
        None | Some("null") => Some(String::new()),
        Some(value) => json::string(value).map(|text| text.into_owned()),
    };
    Some(Metadata {
        id: text_of("id")?,
        name: text_of("name")?,
        description: text_of("description")?,
        daemons: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-79
    fn a_tunnel_document_is_an_object_whose_names_are_texts() {
        let named = |text| parse(text).map(|tunnel| tunnel.name);
        assert_eq!(named(r#"{"id":"t","name":"n","x":[1]}"#).as_deref(), Some("n"));
        assert_eq!(named(r#"{"name":null}"#).as_deref(), Some(""));
        assert_eq!(named("{}").as_deref(), Some(""));
        for bad in ["", "null", r#"["t","n","d"]"#, r#"{"name":5}"#, "{} {}"] {
            assert_eq!(named(bad), None, "{bad}");
        }
    }
}
