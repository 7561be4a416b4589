//! Matches the configuration file with the table: which settings it has, and which keys are
//! unknown.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::rc::Rc;

use super::problem::{Problem, Source, did_you_mean};
use super::reference::text_of;
use super::table::{Id, Kind, TABLE};
use super::yaml::{self, Entry, Mark, Node, Value};

/// Largest configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// The path as it was given, for messages.
    pub path: Rc<str>,
    nodes: BTreeMap<Id, Node>,
}

impl File {
    /// Reads and parses a file. Errors are added to `problems`; the valid rest is returned.
    pub fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<Self> {
        let shown = path.display();
        let wrong = |e: std::io::Error| {
            Problem::general(format!("cannot read the configuration file {shown}: {}", text_of(&e)))
        };
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(e) = read {
            problems.push(wrong(e));
            return None;
        }
        if bytes.len() as u64 > MAX_BYTES {
            let message =
                format!("the configuration file {shown} is larger than {MAX_BYTES} bytes");
            problems.push(Problem::general(message));
            return None;
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&shown.to_string(), &text, problems),
            Err(_) => {
                problems.push(Problem::general(format!("{shown}: the file is not UTF-8")));
                None
            }
        }
    }

    /// Parses the text of a file; `None` if it is no map of settings at all.
    pub fn parse(path: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut file = Self { path: path.into(), nodes: BTreeMap::new() };
        match yaml::parse(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(Node { value: Value::Map(entries), .. }) => {
                file.group("", entries, problems);
                return Some(file);
            }
            Ok(node) => problems.push(file.problem(
                node.mark,
                format!("the file must be a map of settings, this is {}", node.value.noun()),
            )),
            Err(broken) => problems.push(file.problem(broken.mark, broken.message)),
        }
        None
    }

    /// The value of a setting, unless it is null.
    pub fn get(&self, id: Id) -> Option<&Node> {
        self.nodes.get(&id).filter(|node| !matches!(node.value, Value::Null))
    }

    /// A place in this file as the source of a value.
    pub fn source(&self, mark: Mark) -> Source {
        Source::File { path: Rc::clone(&self.path), mark }
    }

    fn problem(&self, mark: Mark, message: String) -> Problem {
        Problem { id: None, source: Some(self.source(mark)), message }
    }

    /// Takes the settings of one map, whose keys are below `prefix`.
    fn group(&mut self, prefix: &str, entries: Vec<Entry>, problems: &mut Vec<Problem>) {
        for entry in entries {
            let path = format!("{prefix}{}", entry.key);
            let below = format!("{path}.");
            if let Some(setting) = TABLE.iter().find(|s| s.key == path) {
                self.check_items(setting.kind, &entry.node, &path, problems);
                self.nodes.insert(setting.id, entry.node);
            } else if prefix.is_empty() && TABLE.iter().any(|s| s.key.starts_with(&below)) {
                match entry.node.value {
                    Value::Map(entries) => self.group(&below, entries, problems),
                    Value::Null => {}
                    other => problems.push(self.problem(
                        entry.node.mark,
                        format!("`{path}` is a map of settings, this is {}", other.noun()),
                    )),
                }
            } else {
                let known = names_below(prefix);
                let hint = did_you_mean(&entry.key, known.iter().map(String::as_str));
                problems.push(self.problem(entry.mark, unknown(&entry.key, prefix, &hint)));
            }
        }
    }

    /// Unknown keys inside the entries of a list are errors too (config-71).
    fn check_items(&self, kind: Kind, node: &Node, path: &str, problems: &mut Vec<Problem>) {
        let Value::List(items) = &node.value else { return };
        let known = item_keys(kind);
        for item in items {
            let Value::Map(entries) = &item.value else { continue };
            for entry in entries.iter().filter(|e| !known.contains(&e.key.as_str())) {
                let hint = did_you_mean(&entry.key, known.iter().copied());
                let prefix = format!("{path}.");
                problems.push(self.problem(entry.mark, unknown(&entry.key, &prefix, &hint)));
            }
        }
    }
}

fn unknown(key: &str, prefix: &str, hint: &str) -> String {
    let place = match prefix.strip_suffix('.') {
        Some(group) => format!(" in `{group}`"),
        None => String::new(),
    };
    format!("unknown key `{key}`{place}{hint}")
}

/// The keys that an entry of a list setting may have.
fn item_keys(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ServerUrls => {
            &["channel", "url", "unix_socket", "http_proxy", "client_cert", "client_key"]
        }
        Kind::Commands => &["channel", "command"],
        Kind::Targets => &["label", "url", "unix_socket", "description"],
        _ => &[],
    }
}

/// The names that may follow a prefix of keys.
fn names_below(prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = TABLE
        .iter()
        .filter_map(|s| s.key.strip_prefix(prefix))
        .filter_map(|rest| rest.split('.').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        File::parse("f", text, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test] // config-71
    fn every_unknown_key_is_named_with_its_place() {
        let text = "control_plane:\n  base_ulr: x\nmpc: {}\nmcp:\n  commands:\n    - comand: x\n";
        assert_eq!(
            problems(text),
            [
                "f:2:3: unknown key `base_ulr` in `control_plane` (did you mean `base_url`?)",
                "f:3:1: unknown key `mpc` (did you mean `mcp`?)",
                "f:6:7: unknown key `comand` in `mcp.commands` (did you mean `command`?)",
            ]
        );
    }

    #[test] // config.md, section 10
    fn keys_of_every_flavor_are_known() {
        assert!(problems("admin_ui: {open_browser: false}\ncloudflared: {path: x}\n").is_empty());
    }

    #[test] // config-73, config-74
    fn null_is_unset_and_an_empty_file_is_an_empty_configuration() {
        let mut found = Vec::new();
        let file = File::parse("f", "log:\n  level: ~\nmcp:\n", &mut found);
        assert!(file.unwrap().get(Id::LogLevel).is_none() && found.is_empty());
        assert!(problems("# nothing\n").is_empty());
    }

    #[test]
    fn a_map_in_the_wrong_place_is_named() {
        assert_eq!(
            problems("log: debug"),
            ["f:1:6: `log` is a map of settings, this is a single value"]
        );
        assert_eq!(problems("- a"), ["f:1:1: the file must be a map of settings, this is a list"]);
    }
}
