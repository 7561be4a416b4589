//! Looking into JSON text without decoding it, and changing one value without touching the rest.
//!
//! The tunnel reads a few members of a message (`id`, `method`, a progress token) and replaces some
//! of them. All other text must stay exactly as received: numbers such as `1e400`, the order of
//! members, duplicate members, white space. So members are found as slices of the original text,
//! and a change is a splice. Every room may call this module, and it calls none of them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr2;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The maximum number of members of one object. A message has a handful; a text with millions of
/// them would take many times its own size in memory.
pub const MEMBERS_MAX: usize = 65_536;

/// The members of one JSON object, in order, duplicates included, values as slices of the text.
#[derive(Debug)]
pub struct Members<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Members<'a> {
    /// Splits an object into its members. Fails if `text` is not exactly one JSON object or has
    /// more than [`MEMBERS_MAX`] of them.
    pub fn of(text: &'a str) -> Result<Self, serde_json::Error> {
        let List(members) = serde_json::from_str(text)?;
        Ok(Self { text, members })
    }

    /// The last value of a member, as nearly every JSON reader resolves duplicates.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// True if a member of this name is present, `null` included.
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(key, _)| key == name)
    }

    /// Every value of a member, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.members.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The range of each value of a member in the text, in order.
    pub fn spans(&self, name: &str) -> Vec<Range<usize>> {
        self.values(name).map(|value| span(self.text, value)).collect()
    }

    /// The text of the whole object.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// All members, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(key, value)| (key.as_ref(), *value))
    }
}

/// The value of a member of the object in `text`, as [`Members::get`] returns it; `None` if `text`
/// is not an object.
pub fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    Members::of(text).ok()?.get(name)
}

/// The range of `part`, a slice of `text`, in `text`.
///
/// # Panics
/// If `part` is not a slice of `text`.
pub fn span(text: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize)
        .checked_sub(text.as_ptr() as usize)
        .filter(|start| start + part.len() <= text.len())
        .expect("part is a slice of text");
    start..start + part.len()
}

/// Replaces pieces of a text: each edit is a range and its new text, and edits must not overlap.
pub fn splice(text: &str, mut edits: Vec<(Range<usize>, Cow<'_, str>)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let growth: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = String::with_capacity(text.len() + growth);
    let mut at = 0;
    for (range, new) in edits {
        out.push_str(&text[at..range.start]);
        out.push_str(&new);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

/// The elements of a JSON array, each as its original text.
pub fn elements(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    serde_json::from_str(text)
}

/// The content of a JSON string; `None` if the text is another kind of value.
pub fn string(text: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if !text.starts_with('"') {
        return None;
    }
    serde_json::from_str::<Text<'_>>(text).ok().map(|Text(s)| s)
}

/// `text` as a JSON string literal.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// Removes white space between tokens, so that the text is one line. Strings stay as they are
/// (a JSON string holds no raw line break). `text` must be valid JSON.
pub fn compact(text: &str) -> Cow<'_, str> {
    if memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut at, mut kept) = (0, 0);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => at = behind_string(text, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.push_str(&text[kept..at]);
                at += 1;
                kept = at;
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// True if arrays and objects nest deeper than `limit` anywhere in `text`, which must be valid
/// JSON.
pub fn deeper_than(text: &str, limit: usize) -> bool {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at = behind_string(text, at);
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The position after the string that begins at `quote`. Most of a large message is inside strings,
/// so they are not walked byte by byte.
fn behind_string(text: &str, quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(found) = text.as_bytes().get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.as_bytes()[at] == b'"' {
            return at + 1;
        }
        // An escaped character never ends the string.
        at += 2;
    }
    text.len()
}

/// The name that a member's key spells. A key with half a surrogate pair is valid JSON but not
/// valid text: it is kept with its quotes, so it equals no name that a caller asks for.
fn name(key: &str) -> Cow<'_, str> {
    match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
        _ => string(key).unwrap_or(Cow::Borrowed(key)),
    }
}

struct List<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;
        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<List<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom("an object with too many members"));
                    }
                    members.push((name(key.get()), value.get()));
                }
                Ok(List(members))
            }
        }
        deserializer.deserialize_map(ListVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text_with_duplicates_in_order() {
        let text = r#" {"a" : 1.0, "b":{"x":[1e400,  "\ud800"]}, "a":12345678901234567890 } "#;
        let members = Members::of(text).unwrap();
        assert_eq!(members.get("a"), Some("12345678901234567890"));
        assert_eq!(members.get("b"), Some(r#"{"x":[1e400,  "\ud800"]}"#));
        let spans = members.spans("a");
        assert_eq!(spans.len(), 2);
        assert_eq!(&text[spans[0].clone()], "1.0");
        assert!(members.has("a") && !members.has("c"));
        assert!(Members::of("[1]").is_err());
        assert!(Members::of("{} x").is_err());
        assert!(Members::of("").is_err());
    }

    #[test]
    fn an_object_of_endless_members_is_refused() {
        let of = |n: usize| format!("{{{}}}", vec![r#""a":1"#; n].join(","));
        assert!(Members::of(&of(MEMBERS_MAX)).is_ok());
        assert!(Members::of(&of(MEMBERS_MAX + 1)).is_err());
    }

    #[test]
    fn an_escaped_member_name_is_the_same_name() {
        assert_eq!(Members::of(r#"{"\u0069d":7}"#).unwrap().get("id"), Some("7"));
    }

    #[test] // wire-52
    fn a_member_name_that_is_no_text_is_passed_over() {
        let text = r#"{"\ud810":1,"id":7,"a\"\udc00":2}"#;
        let members = Members::of(text).unwrap();
        assert_eq!(members.get("id"), Some("7"));
        assert_eq!(members.iter().map(|(name, _)| name).collect::<Vec<_>>()[0], r#""\ud810""#);
        assert!(Members::of(r#"{"\ud8":1}"#).is_err());
    }

    #[test]
    fn a_splice_touches_nothing_else() {
        let text = r#"{"id":1,"params":{"n":1e400},"id":2}"#;
        let members = Members::of(text).unwrap();
        let edits = members.spans("id").into_iter().map(|r| (r, Cow::Borrowed("99"))).collect();
        assert_eq!(splice(text, edits), r#"{"id":99,"params":{"n":1e400},"id":99}"#);
    }

    #[test] // mcp-13
    fn compacting_keeps_strings_and_numbers() {
        let text = "{\n \"a\" : \"x \\\" \\n y\",\r\n\t\"b\" : [ 1.0 , 1e400 ]\n}";
        assert_eq!(compact(text), r#"{"a":"x \" \n y","b":[1.0,1e400]}"#);
        let text = "[\n\"é\\\\\", \"\\\" , \", {}\r]";
        assert_eq!(compact(text), "[\"é\\\\\",\"\\\" , \",{}]");
        let line = r#"{ "a" : 1 }"#;
        assert!(matches!(compact(line), Cow::Borrowed(same) if same == line));
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(!deeper_than(r#"{"a":"[[[[[["}"#, 1));
        assert!(!deeper_than("[[[]],[[]]]", 3));
        assert!(deeper_than("[[[]]]", 2));
        assert!(deeper_than(r#"["\\\"[", [[]]]"#, 2));
        assert!(!deeper_than(r#"["\\\"[[[", "]\\", [[]]]"#, 3));
    }

    #[test]
    fn only_a_string_is_a_string() {
        assert_eq!(string(r#""a\u0062""#).as_deref(), Some("ab"));
        assert_eq!(string("1"), None);
        assert_eq!(string("null"), None);
        assert_eq!(quote("a\"b\n"), r#""a\"b\n""#);
    }
}
