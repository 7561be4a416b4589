//! Looking into JSON text: members stand where they are said to stand, a splice touches nothing
//! else, and compact text is the same JSON.

use std::borrow::Cow;

use mcp_tunnel::wire::json::{self, Members};
use serde_json::value::RawValue;

/// Deeper values are not compared: the comparison recurses, what it checks does not.
const DEPTH: usize = 50;

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    assert_eq!(json::string(&json::quote(text)).as_deref(), Some(text));
    let Ok(value) = serde_json::from_str::<&RawValue>(text) else {
        assert!(Members::of(text).is_err() && json::elements(text).is_err());
        return;
    };
    let compact = json::compact(value.get());
    assert!(!compact.contains(['\n', '\r']));
    assert_eq!(json::compact(&compact), compact);
    assert!(same(value.get(), &compact, 0), "{compact}");
    for limit in [0, 1, 2, 8, 64] {
        let deep = json::deeper_than(value.get(), limit);
        assert_eq!(deep, json::deeper_than(&compact, limit));
        assert!(!deep || limit == 0 || json::deeper_than(value.get(), limit - 1));
    }
    if let Ok(members) = Members::of(text) {
        splices(text, &members);
    }
}

fn splices(text: &str, members: &Members<'_>) {
    let names: Vec<String> = members.iter().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        assert!(members.has(name));
        let spans = members.spans(name);
        let last = spans.last().expect("a member stands somewhere").clone();
        assert_eq!(members.get(name), Some(&text[last]));
        // Out and back: the same bytes.
        let new = "[\"another value\"]";
        let edits = spans.iter().cloned().map(|span| (span, Cow::Borrowed(new))).collect();
        let changed = json::splice(text, edits);
        let there = Members::of(&changed).expect("still an object");
        let places = there.spans(name);
        assert_eq!(places.len(), spans.len());
        let originals = spans.iter().map(|span| Cow::Borrowed(&text[span.clone()]));
        assert_eq!(json::splice(&changed, places.into_iter().zip(originals).collect()), text);
        for (member, value) in there.iter().zip(members.iter()).map(|(new, old)| {
            assert_eq!(new.0, old.0);
            (new, old.1)
        }) {
            assert_eq!(member.1, if member.0 == name { new } else { value });
        }
    }
}

/// Whether two JSON texts differ in nothing but white space between tokens.
fn same(a: &str, b: &str, depth: usize) -> bool {
    if depth > DEPTH {
        return true;
    }
    if let (Ok(a), Ok(b)) = (Members::of(a), Members::of(b)) {
        let (a, b): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
        return a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1, depth + 1));
    }
    if let (Ok(a), Ok(b)) = (json::elements(a), json::elements(b)) {
        return a.len() == b.len()
            && a.iter().zip(&b).all(|(a, b)| same(a.get(), b.get(), depth + 1));
    }
    a.trim() == b.trim()
}
