//! Errors in a configuration: the place, the problem and the correction of each.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use serde_json::{Value, json};

use super::table::{Id, Setting};
use super::yaml::Mark;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(&'static str),
    /// A place in the configuration file.
    File {
        /// As it was given.
        path: Rc<str>,
        /// Line and column.
        mark: Mark,
    },
    /// Built in.
    Default,
}

impl Source {
    /// Higher layers override lower ones.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 3,
            Self::Variable(_) => 2,
            Self::File { .. } => 1,
            Self::Default => 0,
        }
    }

    /// For reports that programs read.
    pub fn json(&self) -> Value {
        match self {
            Self::Flag(flag) => json!({"kind": "flag", "name": flag}),
            Self::Variable(name) => json!({"kind": "variable", "name": name}),
            Self::File { path, mark } => {
                json!({"kind": "file", "path": &**path, "line": mark.line, "column": mark.column})
            }
            Self::Default => json!({"kind": "default"}),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, mark } => write!(f, "{path}:{}:{}", mark.line, mark.column),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, if it concerns a single one.
    pub id: Option<Id>,
    /// Where the value is, if there is one.
    pub source: Option<Source>,
    /// One line; never holds a secret.
    pub message: String,
}

impl Problem {
    /// A problem of the configuration as a whole.
    pub fn general(message: impl Into<String>) -> Self {
        Self { id: None, source: None, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = one_line(&self.message);
        match (&self.source, self.id) {
            (Some(source @ Source::File { .. }), Some(id)) => {
                write!(f, "{source}: `{}`: {message}", Setting::of(id).key)
            }
            (Some(source), _) => write!(f, "{source}: {message}"),
            (None, _) => f.write_str(&message),
        }
    }
}

/// A key or value as it is shown: line breaks and other control characters are escaped.
fn one_line(message: &str) -> Cow<'_, str> {
    if !message.contains(char::is_control) {
        return Cow::Borrowed(message);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    Cow::Owned(message.chars().map(escaped).collect())
}

/// Most characters of a value that an error shows.
const SHOWN: usize = 80;

/// A value in an error: cut to a bound, and without control characters.
pub fn shown(text: &str) -> String {
    let mut characters = text.trim().chars().map(|c| if c.is_control() { '?' } else { c });
    let mut shown: String = characters.by_ref().take(SHOWN).collect();
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// ` (did you mean `X`?)` for the nearest of some names, or nothing if none is near.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, known) {
        Some(name) => format!(" (did you mean `{name}`?)"),
        None => String::new(),
    }
}

/// The known name that differs from a wrong one by a typing error, or whose first words do.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(wrong, name).min(distance_to_start(wrong, name)), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The distance to the nearest run of whole words at the start of a name.
fn distance_to_start(wrong: &str, name: &str) -> usize {
    name.match_indices(['_', '-', '.'])
        .filter(|(at, _)| *at >= SHORTEST_START)
        .map(|(at, _)| 1 + distance(wrong, &name[..at]))
        .min()
        .unwrap_or(usize::MAX)
}

/// Shortest start of a name, in bytes, for which the whole name is suggested.
const SHORTEST_START: usize = 5;

/// Letters to insert, delete, replace, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_it_shows() {
        let problem = Problem::general("unknown key `a\nb\u{1b}[2J`");
        assert_eq!(problem.to_string(), r"unknown key `a\nb\u{1b}[2J`");
    }

    #[test]
    fn only_near_names_are_offered() {
        let known = ["base_url", "url_path", "max_inflight_requests"];
        assert_eq!(nearest("base_ulr", known), Some("base_url"));
        assert_eq!(nearest("urlpath", known), Some("url_path"));
        assert_eq!(nearest("max_inflight_request", known), Some("max_inflight_requests"));
        assert_eq!(nearest("max_inflght", known), Some("max_inflight_requests"));
        assert_eq!(nearest("frobnicate", known), None);
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
