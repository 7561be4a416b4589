//! `/api/oauth`: the result of the discovery at startup, for the operator page
//! (oauth.md, 1.7).
//!
//! It shows complete URLs, the beginnings of bodies, and the values of headers that describe a
//! document. The support archive gets a summary, with origins for URLs and without bodies and
//! headers.

use serde_json::{Map, Value, json};
use ureq::http::Uri;

use super::candidates::absolute;
use super::search::{Attempt, Document, IssuerAttempt, IssuerSearch, Search};
use super::startup::{Found, Startup, State, not_applicable};
use crate::net::Origin;
use crate::wire::Headers;
use crate::wire::time::rfc3339;

/// Headers whose values are shown. Of all others only the name is shown.
const SHOWN_HEADERS: [&str; 10] = [
    "age",
    "cache-control",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "server",
    "vary",
    "via",
];
const REDACTED: &str = "[redacted]";
const MODE: &str = "authorization_servers[0] only (source of truth)";

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// For the operator on this host.
    Full,
    /// For an archive that leaves this host.
    Summary,
}

/// The JSON object.
pub fn json(startup: &Startup, detail: Detail) -> String {
    let mut report = Map::new();
    let mut put = |name: &str, value: Value| report.insert(name.to_owned(), value);
    put("state", startup.word().into());
    put("auth_server_metadata_mode", MODE.into());
    let urls: Vec<String> = match startup.state() {
        State::Done(found) => {
            found.search.attempts.iter().map(|a| detail.url(&a.candidate.url)).collect()
        }
        _ => startup.well_known().iter().map(|url| detail.text(url)).collect(),
    };
    put("discovery_urls", urls.into());
    put("authorization_server_count", 0.into());
    match startup.state() {
        State::Pending => drop(put("pending", true.into())),
        State::Absent => {}
        State::NotApplicable => {
            put("metadata_source", "not_advertised".into());
            put("reason", not_applicable().into());
        }
        State::Done(found) => detail.found(&found, &mut put),
    }
    Value::Object(report).to_string()
}

impl Detail {
    fn url(self, url: &Uri) -> String {
        match self {
            Self::Full => url.to_string(),
            Self::Summary => Origin::of(url).to_string(),
        }
    }

    /// A URL that somebody else wrote.
    fn text(self, url: &str) -> String {
        match absolute(url) {
            Some(uri) if self == Self::Summary => self.url(&uri),
            Some(_) if !url.contains('@') => url.to_owned(),
            Some(uri) => uri.to_string(),
            None if self == Self::Summary => REDACTED.to_owned(),
            None => url.to_owned(),
        }
    }

    fn found(self, found: &Found, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
        let search = &found.search;
        let mut challenge = json!({"attempted": true});
        if let Some(url) = &search.challenge.url {
            challenge["url"] = self.url(url).into();
        }
        if let Some(error) = &search.challenge.error {
            challenge["error"] = error.as_str().into();
        }
        put("www_authenticate_probe", challenge);
        let selected = search.attempts.iter().find(|attempt| attempt.selected);
        match &search.result {
            Ok(document) => {
                let servers = &document.resource.authorization_servers;
                put("authorization_server_count", servers.len().into());
                if let Some(first) = servers.first() {
                    put("selected_authorization_server", self.text(first).into());
                }
                let named = selected.is_some_and(|a| a.candidate.source.is_named());
                let source = if named { "www_authenticate" } else { "well_known" };
                put("metadata_source", source.into());
                put("metadata", self.metadata(search, selected, Some(document), &found.issuer));
            }
            Err(failure) => {
                if failure.optional {
                    put("metadata_source", "not_advertised".into());
                } else {
                    put("error", failure.text.as_str().into());
                }
                put("metadata", self.metadata(search, None, None, &None));
            }
        }
    }

    fn metadata(
        self,
        search: &Search,
        selected: Option<&Attempt>,
        document: Option<&Document>,
        issuer: &Option<IssuerSearch>,
    ) -> Value {
        let mut metadata = json!({
            "attempts": search.attempts.iter().map(|a| self.attempt(a)).collect::<Vec<_>>(),
        });
        if let Some(attempt) = selected {
            metadata["url"] = self.url(&attempt.candidate.url).into();
        }
        if let Some(document) = document {
            metadata["fetched_at"] = rfc3339(document.at).into();
            metadata["status_code"] = document.status.into();
            let body = super::search::cut(document.resource.text.as_bytes());
            self.content(&mut metadata, &document.headers, &body);
        }
        if let Some(issuer) = issuer {
            metadata["auth_server_metadata"] = self.issuer(issuer);
        }
        metadata
    }

    fn attempt(self, attempt: &Attempt) -> Value {
        let mut shown = json!({
            "url": self.url(&attempt.candidate.url),
            "source": attempt.candidate.source.as_str(),
        });
        outcome(&mut shown, attempt.tried, attempt.status, attempt.error.as_deref());
        if attempt.selected {
            shown["selected"] = true.into();
        }
        shown
    }

    fn issuer(self, search: &IssuerSearch) -> Value {
        let attempt = |(at, attempt): (usize, &IssuerAttempt)| {
            let candidate = &attempt.candidate;
            let mut shown = json!({
                "url": self.url(&candidate.url),
                "document": candidate.kind.as_str(),
                "path_style": candidate.style,
            });
            outcome(&mut shown, attempt.tried, attempt.status, attempt.error.as_deref());
            if search.selected == Some(at) {
                shown["selected"] = true.into();
                if let Some(named) = search.mismatch() {
                    shown["issuer_mismatch"] = true.into();
                    shown["expected_issuer_url"] = self.text(&search.issuer).into();
                    shown["metadata_issuer"] = self.text(named).into();
                    shown["warning"] = "the document names another issuer".into();
                }
            }
            if let Some(answer) = &attempt.answer {
                self.content(&mut shown, &answer.headers, &answer.body);
            }
            shown
        };
        let mut shown = json!({
            "issuer_url": self.text(&search.issuer),
            "attempts": search.attempts.iter().enumerate().map(attempt).collect::<Vec<_>>(),
        });
        if let Some(at) = search.selected {
            shown["selected_url"] = self.url(&search.attempts[at].candidate.url).into();
        }
        shown
    }

    /// Headers and body of an answer.
    fn content(self, shown: &mut Value, headers: &Headers, body: &str) {
        if self == Self::Summary {
            return;
        }
        let mut fields = Map::new();
        for (name, values) in headers.iter() {
            let open = SHOWN_HEADERS.contains(&name.to_ascii_lowercase().as_str());
            let values = values.iter().map(|value| if open { value.as_str() } else { REDACTED });
            fields.insert(name.to_owned(), values.collect());
        }
        shown["headers"] = fields.into();
        match serde_json::from_str::<Value>(body) {
            Ok(value) => shown["body"] = value,
            Err(_) if body.is_empty() => {}
            Err(_) => shown["body_text"] = body.into(),
        }
    }
}

fn outcome(shown: &mut Value, tried: bool, status: Option<u16>, error: Option<&str>) {
    shown["tried"] = tried.into();
    if let Some(status) = status {
        shown["status_code"] = status.into();
    }
    if let Some(error) = error {
        shown["error"] = error.into();
    }
}
