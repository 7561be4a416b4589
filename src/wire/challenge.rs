//! The `resource_metadata` of a `WWW-Authenticate` value (RFC 9728, 5.1): the place where a
//! protected server publishes its metadata. The daemon reads it and the relay replaces it.

use std::borrow::Cow;
use std::ops::Range;

use super::json::splice;

const NAME: &str = "resource_metadata";

/// The URL of the first `resource_metadata` of a Bearer challenge (oauth-8); `None` if it is empty.
pub fn resource_metadata(value: &str) -> Option<String> {
    let (_, url) = hits(value).into_iter().next()?;
    (!url.is_empty()).then_some(url)
}

/// The value with each `resource_metadata` of a Bearer challenge replaced by `url` and nothing else
/// changed. `url` must hold no `"` and no `\`.
pub fn with_resource_metadata<'a>(value: &'a str, url: &str) -> Cow<'a, str> {
    let hits = hits(value);
    if hits.is_empty() {
        return Cow::Borrowed(value);
    }
    let quoted = format!("\"{url}\"");
    let edits = hits.into_iter().map(|(range, _)| (range, Cow::Borrowed(quoted.as_str())));
    Cow::Owned(splice(value, edits.collect()))
}

/// For each hit, the range of its value (quotes included) and the value.
fn hits(value: &str) -> Vec<(Range<usize>, String)> {
    let mut found = Vec::new();
    let mut bearer = false;
    for segment in segments(value) {
        let text = &value[segment.clone()];
        let trimmed = text.trim_start_matches(BLANKS);
        let mut start = segment.start + (text.len() - trimmed.len());
        let (word, rest) = trimmed.split_once(BLANKS).unwrap_or((trimmed, ""));
        // A lone word, or one with `=`, belongs to the scheme before it.
        if !word.contains('=') && !rest.trim_matches(BLANKS).is_empty() {
            bearer = word.eq_ignore_ascii_case("bearer");
            start += word.len();
        }
        if bearer {
            found.extend(parameters(value, start..segment.end));
        }
    }
    found
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The pieces between commas, not counting commas inside quotes.
fn segments(value: &str) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                segments.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    segments.push(start..value.len());
    segments
}

/// The `resource_metadata` parameters within a piece of `text`.
fn parameters(text: &str, within: Range<usize>) -> Vec<(Range<usize>, String)> {
    let bytes = &text.as_bytes()[..within.end];
    let mut found = Vec::new();
    let mut at = within.start;
    while at < bytes.len() {
        if matches!(bytes[at], b' ' | b'\t') {
            at += 1;
            continue;
        }
        let name = at;
        at = skip(bytes, at, |b| !matches!(b, b' ' | b'\t' | b'=' | b'"'));
        let is_ours = text[name..at].eq_ignore_ascii_case(NAME);
        at = skip(bytes, at, |b| matches!(b, b' ' | b'\t'));
        if bytes.get(at) == Some(&b'"') {
            // Quotes without a name.
            at = quoted_end(bytes, at);
        }
        if bytes.get(at) != Some(&b'=') {
            continue;
        }
        let start = skip(bytes, at + 1, |b| matches!(b, b' ' | b'\t'));
        at = match bytes.get(start) {
            Some(b'"') => quoted_end(bytes, start),
            _ => skip(bytes, start, |b| !matches!(b, b' ' | b'\t')),
        };
        if is_ours {
            found.push((start..at, unquoted(&text[start..at])));
        }
    }
    found
}

fn skip(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes[at..].iter().position(|b| !wanted(*b)).map_or(bytes.len(), |n| at + n)
}

/// The position after the quoted string that begins at `at`, or the end of the text if the string
/// is not closed.
fn quoted_end(bytes: &[u8], at: usize) -> usize {
    let mut escaped = false;
    for (n, byte) in bytes.iter().enumerate().skip(at + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return n + 1,
            _ => {}
        }
    }
    bytes.len()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // oauth-8
    fn the_url_is_found_in_a_bearer_challenge_alone() {
        let url = Some("https://a.example/p");
        for (value, expected) in [
            (r#"Bearer resource_metadata="https://a.example/p""#, url),
            (r#"Basic realm="x", Bearer realm="y", resource_metadata=https://a.example/p"#, url),
            (r#"Basic realm="x", resource_metadata="https://a.example/p""#, None),
            (r#"Bearer realm="y""#, None),
            (r#"BEARER Resource_Metadata = "https://a.example/p""#, url),
            (r#"bearer realm="a, \", Basic b",	resource_metadata="https://a.example/p""#, url),
            (r#"Bearer realm="x" resource_metadata="https://a.example/p" scope="s""#, url),
            (r#"Bearer realm="resource_metadata=https://b.example/""#, None),
            (r#"Bearer resource_metadata="https:\/\/a.example/p""#, url),
            (r#"Bearer resource_metadata="", resource_metadata="https://a.example/p""#, None),
            (r#"Bearer resource_metadata="https://a.example/p"#, url),
            (r#"Bearer x_resource_metadata="https://b.example/""#, None),
            (r#"Bearer realm="y", Digest a="b", resource_metadata=https://a.example/p"#, None),
            ("Bearer resource_metadata", None),
            ("Bearer resource_metadata=", None),
            ("Bearer", None),
            (" , ,, ", None),
            ("", None),
            (r#"Bearer "é\"#, None),
        ] {
            assert_eq!(resource_metadata(value).as_deref(), expected, "{value}");
        }
    }

    #[test] // relay-43
    fn a_new_url_changes_nothing_else() {
        for (value, expected) in [
            (
                r#"Bearer error="invalid_token", resource_metadata="http://10.0.0.1/p", scope="a b""#,
                r#"Bearer error="invalid_token", resource_metadata="https://r/x", scope="a b""#,
            ),
            (
                r#"Bearer resource_metadata=http://10.0.0.1/p, Bearer resource_metadata="""#,
                r#"Bearer resource_metadata="https://r/x", Bearer resource_metadata="https://r/x""#,
            ),
            (r#"Basic realm="é""#, r#"Basic realm="é""#),
        ] {
            assert_eq!(with_resource_metadata(value, "https://r/x"), expected);
        }
    }
}
