//! Finds one value for each setting (config.md, section 3): the layer that counts (flag,
//! environment or file), its grammar, its bounds. `build` puts the values together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::{HeaderMap, ProxySetting};
use super::file::File;
use super::flags::Flags;
use super::grammar::{self, Wrong};
use super::problem::{Problem, Source, did_you_mean, shown};
use super::reference::{References, is_reference};
use super::source::Env;
use super::table::{Id, Kind, Setting};
use super::yaml::{Node, Value};
use crate::secret::Secret;

/// A setting with the value that counts, for `config show`.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub id: Id,
    /// Its text without secrets; `None` if it is unset.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
}

/// Variables that must not be empty; any other empty variable means the default (config-11).
const EMPTY_IS_WRONG: [Id; 6] = [
    Id::TunnelId,
    Id::ApiKey,
    Id::MaxInflight,
    Id::PollChannels,
    Id::LogBufferEvents,
    Id::ProxyCheckInterval,
];

/// A value of the layer that counts, still unparsed.
pub(super) enum Raw<'a> {
    Text(&'a str),
    Texts(&'a [String]),
    Node(&'a Node),
}

/// One item of a list setting.
pub(super) struct Item<'a> {
    pub source: Source,
    pub raw: Raw<'a>,
}

/// A value and its source.
pub(super) type Sourced<T> = (T, Source);

/// Collects values and their errors.
pub(super) struct Resolver<'a> {
    pub flags: &'a Flags,
    pub env: &'a Env,
    pub file: Option<&'a File>,
    pub refs: References<'a>,
    /// True if references and the files of certificates are looked up.
    pub resolve: bool,
    /// Settings with a reference that was not looked up.
    pub unresolved: Vec<Id>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub effective: Vec<Effective>,
}

impl<'a> Resolver<'a> {
    pub fn wrong(&mut self, id: Id, source: &Source, message: impl Into<String>) {
        let source = Some(source.clone());
        self.problems.push(Problem { id: Some(id), source, message: message.into() });
    }

    pub fn warn(&mut self, id: Id, source: &Source, message: impl Into<String>) {
        let source = Some(source.clone());
        self.warnings.push(Problem { id: Some(id), source, message: message.into() });
    }

    pub fn record(&mut self, id: Id, value: Option<String>, source: &Source) {
        self.effective.push(Effective { id, value, source: source.clone() });
    }

    /// Where the value of a recorded setting came from.
    pub fn source_of(&self, id: Id) -> Source {
        let found = self.effective.iter().find(|e| e.id == id);
        found.map_or(Source::Default, |e| e.source.clone())
    }

    /// Records an error, or returns the value.
    pub fn checked<T>(&mut self, id: Id, source: &Source, result: Result<T, Wrong>) -> Option<T> {
        result.map_err(|message| self.wrong(id, source, message)).ok()
    }

    /// Like [`Self::checked`], but the error quotes the value and suggests a similar word. Not for
    /// values that may hold a secret.
    fn checked_text<T>(
        &mut self,
        id: Id,
        source: &Source,
        text: &str,
        result: Result<T, Wrong>,
    ) -> Option<T> {
        let kind = Setting::of(id).kind;
        let words: &[&str] = match kind {
            Kind::LogLevel => &["debug", "info", "warn", "error"],
            Kind::LogFormat => &["struct-text", "json"],
            Kind::Choice(words) => words,
            Kind::Bool => &["true", "false"],
            _ => &[],
        };
        let result = result.map_err(|wrong| match kind {
            Kind::Url => wrong,
            _ if text.trim().is_empty() => wrong,
            _ => {
                let near = did_you_mean(&text.to_lowercase(), words.iter().copied());
                format!("found `{}`; {wrong}{near}", shown(text))
            }
        });
        self.checked(id, source, result)
    }

    /// A value that may be a reference. When nothing is to be looked up, a reference is only
    /// noted.
    pub fn referenced<T>(
        &mut self,
        id: Id,
        source: &Source,
        text: &str,
        look_up: impl FnOnce(&mut References<'a>, &str) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.resolve && is_reference(text) {
            self.unresolved.push(id);
            return None;
        }
        let value = look_up(&mut self.refs, text);
        self.checked(id, source, value)
    }

    pub fn in_flags(&self, id: Id) -> Option<Sourced<Raw<'a>>> {
        let setting = Setting::of(id);
        let (values, flag) = self.flags.all(id)?;
        let source = Source::Flag(flag.to_owned());
        if setting.is_list() {
            return Some((Raw::Texts(values), source));
        }
        let value = values.last()?;
        // config-12; an empty CA bundle flag counts, it turns the bundle off.
        let absent = value.is_empty() && setting.empty_flag_is_absent() && id != Id::CaBundle;
        (!absent).then_some((Raw::Text(value), source))
    }

    pub fn in_env(&self, name: &'static str) -> Option<Sourced<Raw<'a>>> {
        self.env.get(name).map(|value| (Raw::Text(value), Source::Variable(name)))
    }

    pub fn in_file(&self, id: Id) -> Option<Sourced<Raw<'a>>> {
        let file = self.file?;
        file.get(id).map(|node| (Raw::Node(node), file.source(node.mark)))
    }

    /// The layer that counts: flag, then environment, then file. An empty variable still overrides
    /// the file (config-11).
    pub fn find(&mut self, id: Id) -> Option<Sourced<Raw<'a>>> {
        if let Some(found) = self.in_flags(id) {
            return Some(found);
        }
        let name = Setting::of(id).env.first();
        match name.and_then(|name| self.in_env(name)) {
            Some((Raw::Text(""), source)) if !EMPTY_IS_WRONG.contains(&id) => {
                if let Some((_, hidden)) = self.in_file(id) {
                    let message = format!(
                        "the variable is empty: it hides the value at {hidden}, and the default \
                         applies; unset it to use the file"
                    );
                    self.warn(id, &source, message);
                }
                None
            }
            Some(found) => Some(found),
            None => self.in_file(id),
        }
    }

    /// The text of a scalar; anything else is an error.
    pub fn text_of(&mut self, id: Id, raw: &Raw<'a>, source: &Source) -> Option<&'a str> {
        match raw {
            Raw::Text(text) => Some(text),
            Raw::Texts(_) => unreachable!("lists are taken apart by `items`"),
            Raw::Node(Node { value: Value::Scalar { text, .. }, .. }) => Some(text),
            Raw::Node(node) => {
                let noun = node.value.noun();
                self.wrong(id, source, format!("a single value is needed, this is {noun}"));
                None
            }
        }
    }

    /// A scalar setting as text with references of class A resolved. Blank is unset, but an
    /// error in a class A field of the file.
    pub fn text(&mut self, id: Id) -> Option<Sourced<String>> {
        let (raw, source) = self.find(id)?;
        let text = self.text_of(id, &raw, &source)?;
        let kind = Setting::of(id).kind;
        let class_a = matches!(kind, Kind::Url | Kind::UrlPath | Kind::ListenAddr)
            || id == Id::HealthUnixSocket;
        if class_a && matches!(source, Source::File { .. }) {
            let value = self.referenced(id, &source, text, |refs, text| refs.value(text));
            return value.map(|text| (text, source));
        }
        (!text.trim().is_empty()).then(|| (text.to_owned(), source))
    }

    /// A text setting through its grammar, recorded; the default's text if it is unset.
    pub fn parsed<T>(
        &mut self,
        id: Id,
        parse: impl Fn(&str) -> Result<T, Wrong>,
        show: impl Fn(&T) -> String,
    ) -> Option<Sourced<T>> {
        let default = Setting::of(id).default;
        let (text, source) = match self.text(id) {
            Some(found) => found,
            None if default.is_empty() => {
                self.record(id, None, &Source::Default);
                return None;
            }
            None => (default.to_owned(), Source::Default),
        };
        let value = self.checked_text(id, &source, &text, parse(&text))?;
        self.record(id, Some(show(&value)), &source);
        Some((value, source))
    }

    /// A literal path.
    pub fn path(&mut self, id: Id) -> Option<PathBuf> {
        let show = |path: &PathBuf| path.display().to_string();
        self.parsed(id, |text| Ok(PathBuf::from(text)), show).map(|(path, _)| path)
    }

    /// A path reference (class B).
    pub fn path_ref(&mut self, id: Id) -> Option<Sourced<PathBuf>> {
        let Some((text, source)) = self.text(id) else {
            self.record(id, None, &Source::Default);
            return None;
        };
        let path = self.referenced(id, &source, &text, |refs, text| refs.path(text))?;
        self.record(id, Some(path.display().to_string()), &source);
        Some((path, source))
    }

    /// A proxy (class D). An empty flag is an error (config-12), a blank variable or key is unset.
    pub fn proxy(&mut self, id: Id) -> Option<ProxySetting> {
        let found = match self.in_flags(id) {
            Some((Raw::Text(text), source)) => Some((text.to_owned(), source)),
            _ => self.text(id),
        };
        let Some((text, source)) = found else {
            self.record(id, None, &Source::Default);
            return None;
        };
        let proxy = self.proxy_of(id, &source, &text)?;
        self.record(id, Some(proxy.url.to_string()), &source);
        Some(proxy)
    }

    /// The proxy that a text of this setting names.
    pub fn proxy_of(&mut self, id: Id, source: &Source, text: &str) -> Option<ProxySetting> {
        let url = self.referenced(id, source, text, |refs, text| refs.proxy(text))?;
        let setting = Setting::of(id);
        let label = match source {
            _ if is_reference(text) => text.trim(),
            Source::Variable(name) => name,
            Source::File { .. } => setting.key,
            Source::Flag(_) | Source::Default => setting.flag,
        };
        Some(ProxySetting { url, id, source: label.to_owned() })
    }

    /// A whole number within its bounds (cli-4, config-73).
    pub fn int(&mut self, id: Id) -> Option<Sourced<i64>> {
        let setting = Setting::of(id);
        let Kind::Int(min, max) = setting.kind else { unreachable!("{id:?} is a number") };
        let (text, value, source) = match self.find(id) {
            None => (setting.default, grammar::decimal(setting.default), Source::Default),
            Some((raw, source)) => {
                let text = self.text_of(id, &raw, &source)?;
                let value = match (&raw, &source) {
                    (Raw::Node(Node { value: Value::Scalar { plain: false, .. }, .. }), _) => {
                        Err("a whole number is needed, without quotes".into())
                    }
                    (_, Source::Variable(_)) => grammar::decimal(text),
                    _ => grammar::integer(text),
                };
                (text, value, source)
            }
        };
        let bounded = value.and_then(|n| match n {
            n if (min..=max).contains(&n) => Ok(n),
            _ if max == i64::MAX => Err(format!("at least {min} is allowed")),
            _ => Err(format!("{min} to {max} is allowed")),
        });
        let value = self.checked_text(id, &source, text, bounded)?;
        self.record(id, Some(value.to_string()), &source);
        Some((value, source))
    }

    /// A duration within its bounds (config-31).
    pub fn duration(&mut self, id: Id) -> Option<Sourced<Duration>> {
        let setting = Setting::of(id);
        let Kind::Duration(min) = setting.kind else { unreachable!("{id:?} is a duration") };
        let (text, source) = match self.find(id) {
            None => (setting.default, Source::Default),
            Some((raw, source)) => (self.text_of(id, &raw, &source)?, source),
        };
        let bounded = grammar::duration(text).and_then(|ns| match ns {
            ns if ns >= min => Ok(Duration::from_nanos(ns.unsigned_abs())),
            _ if min > 0 => Err("the duration must be longer than zero".into()),
            _ => Err("the duration must not be negative".into()),
        });
        let value = self.checked_text(id, &source, text, bounded)?;
        self.record(id, Some(grammar::show_duration(value)), &source);
        Some((value, source))
    }

    /// A boolean (cli-2, config-73).
    pub fn boolean(&mut self, id: Id) -> Option<Sourced<bool>> {
        let setting = Setting::of(id);
        let (text, value, source) = match self.find(id) {
            None => (setting.default, grammar::boolean(setting.default), Source::Default),
            Some((raw, source)) => {
                let text = self.text_of(id, &raw, &source)?;
                let value = match raw {
                    Raw::Node(Node { value: Value::Scalar { plain, .. }, .. }) => {
                        grammar::yaml_boolean(text)
                            .filter(|_| *plain)
                            .ok_or_else(|| "`true` or `false` is needed, without quotes".into())
                    }
                    _ => grammar::boolean(text),
                };
                (text, value, source)
            }
        };
        let value = self.checked_text(id, &source, text, value)?;
        self.record(id, Some(value.to_string()), &source);
        Some((value, source))
    }

    /// The items of a list setting in the layer that counts; `None` if no layer has it.
    pub fn items(&mut self, id: Id) -> Option<Vec<Item<'a>>> {
        let (raw, source) = self.find(id)?;
        self.split(id, raw, source)
    }

    fn split(&mut self, id: Id, raw: Raw<'a>, source: Source) -> Option<Vec<Item<'a>>> {
        let kind = Setting::of(id).kind;
        let texts = |parts: Vec<&'a str>| {
            let item = |text| Item { source: source.clone(), raw: Raw::Text(text) };
            Some(parts.into_iter().map(item).collect())
        };
        match raw {
            Raw::Texts(values) => texts(values.iter().map(String::as_str).collect()),
            Raw::Text(text) => {
                let separators: &[char] = match kind {
                    Kind::Channels => &[','],
                    Kind::Variables => &[',', ' ', '\n'],
                    Kind::Headers => &[',', ';'],
                    Kind::ServerUrls | Kind::Commands => &['\n', '\r'],
                    _ => &[';', '\n'],
                };
                let parts = text.split(separators);
                // The channels of config-40 are not trimmed and may not be blank.
                if kind == Kind::Channels {
                    return texts(parts.collect());
                }
                texts(parts.map(str::trim).filter(|part| !part.is_empty()).collect())
            }
            Raw::Node(Node { value: Value::List(nodes), .. }) => {
                let file = self.file?;
                let item =
                    |node: &'a Node| Item { source: file.source(node.mark), raw: Raw::Node(node) };
                Some(nodes.iter().map(item).collect())
            }
            Raw::Node(node) => {
                let noun = node.value.noun();
                self.wrong(id, &source, format!("a list is needed, this is {noun}"));
                None
            }
        }
    }

    /// A list of texts, trimmed, without blanks.
    pub fn texts(&mut self, id: Id) -> Vec<Sourced<String>> {
        let Some(items) = self.items(id) else {
            self.record(id, None, &Source::Default);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            if let Some(text) = self.text_of(id, &item.raw, &item.source)
                && !text.trim().is_empty()
            {
                texts.push((text.trim().to_owned(), item.source));
            }
        }
        let source = texts.first().map_or(Source::Default, |(_, source)| source.clone());
        let shown: Vec<&str> = texts.iter().map(|(text, _)| text.as_str()).collect();
        let shown = (!shown.is_empty()).then(|| shown.join(", "));
        self.record(id, shown, &source);
        texts
    }

    /// A header map (config-36, config-37, config-48, class E).
    pub fn headers(&mut self, id: Id, reserved: &[&str]) -> HeaderMap {
        let mut found: Vec<(String, Secret, Source)> = Vec::new();
        let (pairs, source) = self.header_pairs(id);
        for (name, value, source) in pairs {
            let Some(name) = self.checked(id, &source, grammar::header_name(&name)) else {
                continue;
            };
            if reserved.iter().any(|r| r.eq_ignore_ascii_case(&name)) {
                self.wrong(id, &source, format!("`{name}` is set by the tunnel itself"));
                continue;
            }
            let value = self.referenced(id, &source, &value, |refs, value| {
                refs.header(value).map_err(|e| format!("`{name}`: {e}"))
            });
            let Some(value) = value else { continue };
            match found.iter().find(|(earlier, ..)| *earlier == name) {
                None => found.push((name, value, source)),
                Some((_, earlier, _)) if *earlier == value => {}
                Some(_) => {
                    let message = format!("`{name}` is here twice with different values");
                    self.wrong(id, &source, message);
                }
            }
        }
        let shown: Vec<String> =
            found.iter().map(|(name, ..)| format!("{name}: [redacted]")).collect();
        self.record(id, (!shown.is_empty()).then(|| shown.join(", ")), &source);
        found.into_iter().map(|(name, value, _)| (name, value)).collect()
    }

    /// Names and values of a header map as written; an exact repeat keeps the last one (config-48).
    fn header_pairs(&mut self, id: Id) -> (Vec<(String, String, Source)>, Source) {
        let mut pairs: Vec<(String, String, Source)> = Vec::new();
        let Some((raw, source)) = self.find(id) else { return (pairs, Source::Default) };
        if let Raw::Node(node) = raw {
            let Value::Map(entries) = &node.value else {
                let noun = node.value.noun();
                self.wrong(id, &source, format!("a map of headers is needed, this is {noun}"));
                return (pairs, source);
            };
            let Some(file) = self.file else { return (pairs, source) };
            for entry in entries {
                let at = file.source(entry.node.mark);
                if let Some(value) = self.text_of(id, &Raw::Node(&entry.node), &at) {
                    self.note_literal_secret(value);
                    pairs.push((entry.key.clone(), value.trim().to_owned(), at));
                }
            }
            return (pairs, source);
        }
        for item in self.split(id, raw, source.clone()).unwrap_or_default() {
            let Some(text) = self.text_of(id, &item.raw, &item.source) else { continue };
            let split = grammar::header_item(text).map(|(n, v)| (n.to_owned(), v.to_owned()));
            if let Some((name, value)) = self.checked(id, &item.source, split) {
                pairs.retain(|(earlier, ..)| *earlier != name);
                pairs.push((name, value, item.source));
            }
        }
        (pairs, source)
    }

    /// A literal secret makes the configuration file itself one (config-83).
    pub fn note_literal_secret(&mut self, value: &str) {
        if !super::reference::is_reference(value)
            && let Some(file) = self.file
        {
            self.refs.note_exposure(Path::new(&*file.path));
        }
    }
}
