//! The responses that the stub writes, and the name it gives itself in them.

use crate::wire::era::Era;
use crate::wire::message::RpcId;
use crate::wire::{json, jsonrpc};

/// The name and version that the server gives itself.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: String,
    pub version: String,
}

/// One response, and the HTTP status that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub status: u16,
}

/// The response of a request: the members of `result`, each with its JSON text.
pub fn result(id: &RpcId, era: Era, members: &[(&str, String)]) -> Answer {
    let kind = (era == Era::Modern).then(|| ("resultType", json::quote("complete")));
    let members: Vec<String> = kind
        .iter()
        .chain(members)
        .map(|(name, value)| format!("{}:{value}", json::quote(name)))
        .collect();
    let text = jsonrpc::result(id, &format!("{{{}}}", members.join(",")));
    Answer { text, status: 200 }
}

/// The error response of a request, or of something whose id could not be read.
pub fn error(id: Option<&RpcId>, code: i64, why: &str, data: Option<&str>, status: u16) -> Answer {
    let text = jsonrpc::error_with(id, code, why, data);
    Answer { text, status }
}

/// A JSON array of texts.
pub fn list(texts: &[&str]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}
