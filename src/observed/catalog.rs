//! The name, version and tools of an MCP server, taken from answers that pass anyway. They are for
//! the operator page only; no request is made to learn them.
//!
//! The bindings pass the answers of three methods here, and `daemon` reads the results. All of it
//! is the server's text, so names are cut and their number is bounded.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::unpoisoned::Unpoisoned;
use crate::wire::Message;

/// The longest answer that is parsed, in bytes. Lists of hundreds of tools with their schemas are
/// shorter. A longer one would keep its client waiting only for the sake of the page.
const ANSWER_MAX: usize = 1024 * 1024;
/// The maximum number of tools that are kept for a channel.
const TOOLS_MAX: usize = 128;
/// The longest name or version that is kept, in bytes.
const NAME_MAX: usize = 128;

/// The known facts about one channel's server.
#[derive(Debug, Default)]
pub struct Catalog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    server: Option<About>,
    tools: Option<Tools>,
}

/// A server's own description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its version, if it gave one.
    pub version: Option<String>,
    /// The protocol revision that it chose, in the protocol with sessions.
    pub protocol: Option<String>,
    /// The time of the last answer that said so.
    pub seen_at: SystemTime,
}

/// The tools of a server, from its last answer to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// Their names, in the server's order.
    pub names: Vec<String>,
    /// True if it has more than were seen or are kept.
    pub more: bool,
    /// The time of the last answer to a client.
    pub seen_at: SystemTime,
}

impl Catalog {
    /// Examines the answer to a request of one of the three methods.
    pub fn learn(&self, request: &Message, answer: &str) {
        let Some("initialize" | "server/discover" | "tools/list") = request.method() else {
            return;
        };
        if answer.len() > ANSWER_MAX {
            return;
        }
        // An answer without a result, or of another shape, says nothing.
        let Ok(Reply { result }) = serde_json::from_str(answer) else { return };
        let seen_at = SystemTime::now();
        let mut known = self.lock();
        if let Some(Info { name, version }) = result.server_info.or(result.meta.server_info) {
            let (name, version) = (name.0, version.map(|version| version.0));
            let protocol = result.protocol.map(|protocol| protocol.0);
            known.server = Some(About { name, version, protocol, seen_at });
        }
        let Some(Listed { names, cut }) = result.tools else { return };
        let earlier = known.tools.take().filter(|_| request.param("cursor").is_some());
        let mut tools = Tools {
            names: earlier.map_or_else(Vec::new, |tools| tools.names),
            more: cut || result.next_cursor.is_some(),
            seen_at,
        };
        for name in names {
            if tools.names.contains(&name) {
                continue;
            }
            if tools.names.len() == TOOLS_MAX {
                tools.more = true;
                break;
            }
            tools.names.push(name);
        }
        known.tools = Some(tools);
    }

    /// The server, once it has said something of itself.
    pub fn server(&self) -> Option<About> {
        self.lock().server.clone()
    }

    /// Its tools, once a client has asked for them.
    pub fn tools(&self) -> Option<Tools> {
        self.lock().tools.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unpoisoned()
    }
}

#[derive(Deserialize)]
struct Reply {
    result: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    #[serde(rename = "protocolVersion")]
    protocol: Option<Name>,
    server_info: Option<Info>,
    #[serde(rename = "_meta", default)]
    meta: Meta,
    tools: Option<Listed>,
    next_cursor: Option<IgnoredAny>,
}

/// Where servers of the stateless protocol identify themselves.
#[derive(Deserialize, Default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<Info>,
}

#[derive(Deserialize)]
struct Info {
    name: Name,
    version: Option<Name>,
}

/// A name of the server's choice, cut.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let end = (0..=text.len().min(NAME_MAX)).rev().find(|at| text.is_char_boundary(*at));
        Ok(Self(text[..end.unwrap_or(0)].to_owned()))
    }
}

/// The first names of a list, and true if there were more.
struct Listed {
    names: Vec<String>,
    cut: bool,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Tool {
            name: Name,
        }
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of tools")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listed, A::Error> {
                let mut names = Vec::new();
                while names.len() < TOOLS_MAX {
                    match list.next_element::<Tool>()? {
                        Some(tool) => names.push(tool.name.0),
                        None => return Ok(Listed { names, cut: false }),
                    }
                }
                let mut cut = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    cut = true;
                }
                Ok(Listed { names, cut })
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(catalog: &Catalog, method: &str, params: &str, result: &str) {
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let answer = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        catalog.learn(&Message::parse(request).unwrap(), &answer);
    }

    fn tools(names: impl IntoIterator<Item = String>) -> String {
        let tools: Vec<_> = names
            .into_iter()
            .map(|name| format!(r#"{{"inputSchema":{{"name":[1]}},"name":"{name}"}}"#))
            .collect();
        format!("[{}]", tools.join(","))
    }

    #[test]
    fn a_server_is_known_by_its_answers_in_both_eras() {
        let catalog = Catalog::default();
        let info = r#"{"name":"files","version":"1.2","icons":[{"name":7}]}"#;
        let result = format!(r#"{{"protocolVersion":"2025-06-18","serverInfo":{info}}}"#);
        learn(&catalog, "tools/call", "{}", &result);
        assert_eq!(catalog.server(), None, "no other method is looked at");
        learn(&catalog, "initialize", "{}", &result);
        let server = catalog.server().unwrap();
        assert_eq!((server.name.as_str(), server.version.as_deref()), ("files", Some("1.2")));
        assert_eq!(server.protocol.as_deref(), Some("2025-06-18"));
        let meta = r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new"}},"tools":[]}"#;
        learn(&catalog, "tools/list", "{}", meta);
        assert_eq!(catalog.server().unwrap().name, "new");
        assert_eq!(catalog.tools().unwrap().names, Vec::<String>::new());
    }

    #[test]
    fn pages_of_tools_are_put_together_and_a_first_page_begins_anew() {
        let catalog = Catalog::default();
        let page = |names: &[&str], next: &str| {
            let list = tools(names.iter().map(|name| (*name).to_owned()));
            format!(r#"{{"tools":{list}{next}}}"#)
        };
        learn(&catalog, "tools/list", "{}", &page(&["a", "b"], r#","nextCursor":"2""#));
        assert!(catalog.tools().unwrap().more);
        for _ in 0..2 {
            learn(&catalog, "tools/list", r#"{"cursor":"2"}"#, &page(&["b", "c"], ""));
            let known = catalog.tools().unwrap();
            assert_eq!((known.names.join(" ").as_str(), known.more), ("a b c", false));
        }
        learn(&catalog, "tools/list", "{}", &page(&["d"], ""));
        assert_eq!(catalog.tools().unwrap().names, ["d"]);
    }

    #[test]
    fn what_is_kept_is_bounded_whatever_a_server_says() {
        let catalog = Catalog::default();
        let many =
            |from: usize| tools((from..from + 500).map(|n| format!("{n}{}", "é".repeat(500))));
        learn(&catalog, "tools/list", "{}", &format!(r#"{{"tools":{}}}"#, many(0)));
        learn(&catalog, "tools/list", r#"{"cursor":""}"#, &format!(r#"{{"tools":{}}}"#, many(500)));
        let known = catalog.tools().unwrap();
        assert_eq!((known.names.len(), known.more), (TOOLS_MAX, true));
        assert!(known.names.iter().all(|name| name.len() <= NAME_MAX));
        let long = format!(r#"{{"tools":[],"x":"{}"}}"#, "x".repeat(ANSWER_MAX));
        learn(&catalog, "tools/list", "{}", &long);
        assert_eq!(catalog.tools().unwrap().names.len(), TOOLS_MAX, "too long to be looked into");
        for odd in [
            r#"{"tools":7}"#,
            r#"{"tools":[{"name":7}]}"#,
            r#"{"tools":[],"tools":[]}"#,
            r#"{"serverInfo":[],"tools":[]}"#,
            "null",
            "[]",
        ] {
            learn(&catalog, "tools/list", "{}", odd);
            assert_eq!(catalog.tools().unwrap().names.len(), TOOLS_MAX, "{odd}");
        }
    }
}
