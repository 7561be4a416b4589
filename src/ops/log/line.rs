//! One log line: its parts, and the formats it is written in.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use log::kv::{self, Key, Value, VisitSource, VisitValue};
use log::{Level, Record};

use crate::component::Component;
use crate::record_kind::RecordKind;
use crate::wire::json;
use crate::wire::time::{rfc3339_millis, rfc3339_nanos};

/// Longest message, in bytes. Such a line usually fits into one write to a pipe, and a child that
/// prints megabytes cannot fill the disk with one line.
const MESSAGE_MAX: usize = 2_000;

/// Longest value of one field, in bytes.
const VALUE_MAX: usize = 500;

/// Longest whole HTTP message in one record, in bytes.
const DUMP_MAX: usize = 16 * 1024;

/// The field that holds a whole HTTP message, if the operator has asked for them.
const DUMP: &str = "dump";

/// The parts of a line.
pub struct Line {
    time: SystemTime,
    pub level: Level,
    /// The subject of the record; `None` for an ordinary one.
    pub kind: Option<RecordKind>,
    pub component: &'static str,
    message: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    text: String,
    /// A number or a boolean, which JSON writes without quotes.
    bare: bool,
}

impl Line {
    /// The line of one record.
    pub fn of(record: &Record<'_>, time: SystemTime) -> Self {
        let mut fields = Fields(Vec::new());
        // The fields before an error are kept: the line is worth more than the error.
        let _ = record.key_values().visit(&mut fields);
        Self {
            time,
            level: record.level(),
            kind: RecordKind::of(record.target()),
            component: Component::of(record.target()).word(),
            message: cut(record.args().to_string(), MESSAGE_MAX),
            fields: fields.0,
        }
    }

    /// A warning about the log itself.
    pub fn notice(message: String) -> Self {
        let (time, level) = (SystemTime::now(), Level::Warn);
        Self { time, level, kind: None, component: "log", message, fields: Vec::new() }
    }

    /// True if it holds a payload. Only dumps of HTTP messages do.
    pub fn holds_payload(&self) -> bool {
        self.fields.iter().any(|field| field.name == DUMP)
    }

    /// Adds the number of similar lines that were left out.
    pub fn counted(mut self, left_out: u64) -> Self {
        let (name, text) = ("left_out".to_owned(), left_out.to_string());
        self.fields.push(Field { name, text, bare: true });
        self
    }

    /// The format for the journal, which adds the time: a priority, then the plain line.
    pub fn journal(&self) -> String {
        let priority = match self.level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        format!("<{priority}>[{}] {}\n", self.component, self.message_and_fields())
    }

    /// The object of `/api/logs` (operations-131).
    pub fn event(&self, seq: u64) -> String {
        let mut out = format!(
            "{{\"seq\":{seq},\"time\":\"{}\",\"level\":\"{}\",\"message\":{},\
             \"attrs\":{{\"component\":\"{}\"",
            rfc3339_nanos(self.time),
            self.level,
            json::quote(&self.message),
            self.component
        );
        for field in &self.fields {
            let value = if field.bare { field.text.clone() } else { json::quote(&field.text) };
            let _ = write!(out, ",{}:{value}", json::quote(&field.name));
        }
        out.push_str("}}");
        out
    }

    /// The line that `simple_logger` writes, with its line end.
    pub fn plain(&self) -> String {
        let (date, level, component) = (rfc3339_millis(self.time), self.level, self.component);
        format!("{date} {level:<5} [{component}] {}\n", self.message_and_fields())
    }

    /// The message and ` name=value` for each field, without control characters.
    pub fn message_and_fields(&self) -> String {
        let mut out = printable(&self.message).into_owned();
        for field in &self.fields {
            let _ = write!(out, " {}={}", field.name, quoted(&field.text));
        }
        out
    }

    /// The `struct-text` format, with its line end.
    pub fn struct_text(&self, always: &[(&'static str, String)]) -> String {
        let mut out = format!(
            "time={} level={} msg={}",
            rfc3339_millis(self.time),
            self.level,
            quoted(&self.message)
        );
        for (name, value) in always {
            let _ = write!(out, " {name}={}", quoted(value));
        }
        let _ = write!(out, " component={}", self.component);
        for field in &self.fields {
            let _ = write!(out, " {}={}", field.name, quoted(&field.text));
        }
        out.push('\n');
        out
    }

    /// The JSON format, with its line end.
    pub fn json(&self, always: &[(&'static str, String)]) -> String {
        let mut out = format!(
            "{{\"time\":\"{}\",\"level\":\"{}\",\"msg\":{}",
            rfc3339_nanos(self.time),
            self.level,
            json::quote(&self.message)
        );
        for (name, value) in always {
            let _ = write!(out, ",\"{name}\":{}", json::quote(value));
        }
        let _ = write!(out, ",\"component\":\"{}\"", self.component);
        for field in &self.fields {
            let value = if field.bare { field.text.clone() } else { json::quote(&field.text) };
            let _ = write!(out, ",{}:{value}", json::quote(&field.name));
        }
        out.push_str("}\n");
        out
    }
}

struct Fields(Vec<Field>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let mut shape = Bare(false);
        value.visit(&mut shape)?;
        let max = if key.as_str() == DUMP { DUMP_MAX } else { VALUE_MAX };
        let text = cut(value.to_string(), max);
        self.0.push(Field { name: key.as_str().to_owned(), text, bare: shape.0 });
        Ok(())
    }
}

/// Notes whether a value is a number or a boolean that JSON can write.
struct Bare(bool);

impl<'v> VisitValue<'v> for Bare {
    fn visit_any(&mut self, _: Value<'_>) -> Result<(), kv::Error> {
        Ok(())
    }

    fn visit_u64(&mut self, _: u64) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }

    fn visit_i64(&mut self, _: i64) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }

    fn visit_f64(&mut self, value: f64) -> Result<(), kv::Error> {
        self.0 = value.is_finite();
        Ok(())
    }

    fn visit_bool(&mut self, _: bool) -> Result<(), kv::Error> {
        self.0 = true;
        Ok(())
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// True if a character could change how a terminal or a log viewer shows the rest of the log:
/// control characters, the Unicode line ends, and marks that change the writing direction.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with unsafe characters written as escapes: a message that quotes remote text cannot
/// forge a second line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// A value as one word, quoted if it holds a character that would end the word.
fn quoted(text: &str) -> Cow<'_, str> {
    let plain = |c: char| !(c == ' ' || c == '"' || c == '=' || c == '\\' || is_unsafe(c));
    if !text.is_empty() && text.chars().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_unsafe(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn line(text: &str, fields: &[(&str, Value<'_>)]) -> Line {
        let args = format_args!("{text}");
        let mut record = Record::builder();
        record.level(Level::Info).target("mcp_tunnel::dispatch::worker").key_values(&fields);
        Line::of(&record.args(args).build(), UNIX_EPOCH + Duration::from_nanos(1_500_000_123))
    }

    #[test] // operations-84
    fn each_form_has_its_time_level_message_and_fields() {
        let line = line("posted", &[("request_id", "cmd 1".into()), ("ms", 7_u64.into())]);
        let always = [("client_instance_id", "0a".to_owned())];
        assert_eq!(line.journal(), "<6>[dispatcher] posted request_id=\"cmd 1\" ms=7\n");
        assert_eq!(
            line.event(9),
            "{\"seq\":9,\"time\":\"1970-01-01T00:00:01.500000123Z\",\"level\":\"INFO\",\
             \"message\":\"posted\",\"attrs\":{\"component\":\"dispatcher\",\
             \"request_id\":\"cmd 1\",\"ms\":7}}"
        );
        assert_eq!(
            line.plain(),
            "1970-01-01T00:00:01.500Z INFO  [dispatcher] posted request_id=\"cmd 1\" ms=7\n"
        );
        assert_eq!(
            line.struct_text(&always),
            "time=1970-01-01T00:00:01.500Z level=INFO msg=posted client_instance_id=0a \
             component=dispatcher request_id=\"cmd 1\" ms=7\n"
        );
        assert_eq!(
            line.json(&always),
            "{\"time\":\"1970-01-01T00:00:01.500000123Z\",\"level\":\"INFO\",\"msg\":\"posted\",\
             \"client_instance_id\":\"0a\",\"component\":\"dispatcher\",\
             \"request_id\":\"cmd 1\",\"ms\":7}\n"
        );
    }

    #[test]
    fn remote_text_can_not_forge_a_line_or_turn_the_terminal() {
        let evil = "x\n2026-01-01 INFO all is well\u{1b}[2J\u{9b}K\u{202e}\u{2028}";
        let line = line(evil, &[("name", evil.into())]);
        for text in [line.message_and_fields(), line.struct_text(&[]), line.json(&[])] {
            let body = text.trim_end_matches('\n');
            assert!(!body.chars().any(|c| c.is_ascii_control()), "{body:?}");
        }
        assert!(line.message_and_fields().starts_with("x\\n2026"));
        assert!(!line.struct_text(&[]).trim_end().chars().any(is_unsafe));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let text = "é".repeat(MESSAGE_MAX);
        let line = line(&text, &[("v", text.as_str().into())]);
        assert!(line.message.len() <= MESSAGE_MAX + 3 && line.message.ends_with("..."));
        assert!(line.fields[0].text.len() <= VALUE_MAX + 3);
    }
}
