//! Header fields as the protocol carries them: a name with a list of values.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt;

/// Multi-valued header fields. Names are kept canonical (`mcp-session-id` is `Mcp-Session-Id`)
/// and compare without case; values keep their order; a name without values does not exist
/// (wire-53).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<String>)>);

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The headers of a JSON body that the daemon itself writes.
    pub fn json() -> Self {
        let mut headers = Self::new();
        headers.set("Content-Type", "application/json");
        headers
    }

    /// Adds a value after the existing values of the name.
    pub fn append(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, values)) => values.push(value),
            None => self.0.push((canonical(name), vec![value])),
        }
    }

    /// Replaces all values of a name by one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes a name with all its values.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// The first value of a name that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values(name).iter().map(String::as_str).find(|value| !value.is_empty())
    }

    /// All values of a name, in order.
    pub fn values(&self, name: &str) -> &[String] {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(&[], |(_, values)| values)
    }

    /// True if the name has a value.
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// True if it has no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names with their values, in the order in which the names first came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Keeps the names that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.0.retain(|(name, _)| keep(name));
    }

    /// The names that a `Connection` field restricts to this hop (RFC 9110, 7.6.1).
    pub fn nominated_by_connection(&self) -> Vec<String> {
        self.values("Connection")
            .iter()
            .flat_map(|value| value.split(','))
            .map(|name| name.trim_matches([' ', '\t']).to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// The session id: the first `Mcp-Session-Id` that is not empty (wire-53).
    pub fn session_id(&self) -> Option<&str> {
        self.get("Mcp-Session-Id")
    }
}

/// `mcp-session-id` as `Mcp-Session-Id`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect()
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;
        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of string arrays")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Headers::new();
                while let Some((name, values)) = map.next_entry::<String, Option<Vec<String>>>()? {
                    for value in values.into_iter().flatten() {
                        headers.append(&name, value);
                    }
                }
                Ok(headers)
            }
        }
        deserializer.deserialize_map(HeadersVisitor)
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, values) in &self.0 {
            map.serialize_entry(name, values)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-53
    fn names_are_merged_without_case_and_an_empty_array_is_no_header() {
        let headers: Headers = serde_json::from_str(
            r#"{"mcp-session-id":["a"],"MCP-Session-ID":["b"],"X":[],"Y":null}"#,
        )
        .unwrap();
        assert_eq!(headers.values("Mcp-Session-Id"), ["a", "b"]);
        assert!(!headers.has("x") && !headers.has("y"));
        assert_eq!(headers.iter().next().unwrap().0, "Mcp-Session-Id");
    }

    #[test] // wire-49
    fn a_bare_string_is_not_a_list_of_values() {
        assert!(serde_json::from_str::<Headers>(r#"{"a":"b"}"#).is_err());
        assert!(serde_json::from_str::<Headers>(r#"{"a":[1]}"#).is_err());
        assert!(serde_json::from_str::<Headers>("[]").is_err());
    }

    #[test] // wire-53
    fn the_session_id_is_the_first_that_is_not_empty() {
        let mut headers = Headers::new();
        headers.append("mcp-session-id", "");
        headers.append("mcp-session-id", "s1");
        headers.append("mcp-session-id", "s2");
        assert_eq!(headers.session_id(), Some("s1"));
    }

    #[test]
    fn connection_nominates_names_in_any_spelling() {
        let mut headers = Headers::new();
        headers.append("connection", "close, \tX-Hop ,");
        headers.append("Connection", "keep-alive");
        assert_eq!(headers.nominated_by_connection(), ["close", "x-hop", "keep-alive"]);
    }
}
