//! The grammars of values (config-31 to config-48): text in, a checked value or a one-line error
//! out.
//!
//! No error here quotes the text, because only the caller knows whether it may be shown.

use std::time::Duration;

use super::url::{parse_port, split_host_port};

/// An error in a value, to be printed after the name of the setting.
pub type Wrong = String;

/// The booleans of flags and variables (cli-2).
pub fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err("a boolean is `true` or `false`".into()),
    }
}

/// The booleans of a plain YAML scalar, those of YAML 1.1 included.
pub fn yaml_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// A duration in Go's syntax (config-31), as nanoseconds with its sign.
pub fn duration(text: &str) -> Result<i64, Wrong> {
    let wrong = || -> Wrong {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            format!("a duration has a unit, for instance `{text}s`")
        } else {
            "a duration is a number with a unit (ns, us, ms, s, m, h), such as `1.5s` or `2m30s`"
                .into()
        }
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_len = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_len);
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        const UNITS: [(&str, i128); 8] = [
            ("ns", 1),
            ("us", 1_000),
            ("µs", 1_000),
            ("μs", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ];
        let (unit, ns) =
            *UNITS.iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(wrong)?;
        // `split_at` of 18 keeps the product below 2^127; more digits than that are below 1 ns.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_i128.pow(fraction.len() as u32);
        let parsed = |digits: &str| digits.parse::<i128>().ok().filter(|n| *n < 1 << 64);
        let whole = if whole.is_empty() { Some(0) } else { parsed(whole) };
        let fraction = if fraction.is_empty() { Some(0) } else { parsed(fraction) };
        let (Some(whole), Some(fraction)) = (whole, fraction) else {
            return Err("the duration is too long".into());
        };
        total = total.saturating_add(whole * ns + fraction * ns / scale);
        rest = &after[unit.len()..];
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| "the duration is too long".into())
}

/// A duration as a person would write it: `1m30s`, `500ms`.
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    if duration < Duration::from_secs(1) {
        return format!("{duration:?}");
    }
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (amount, unit) in [(seconds / 3600, 'h'), (seconds % 3600 / 60, 'm')] {
        if amount > 0 {
            text.push_str(&format!("{amount}{unit}"));
        }
    }
    let rest = duration - Duration::from_secs(seconds / 60 * 60);
    if !rest.is_zero() {
        text.push_str(&format!("{rest:?}"));
    }
    text
}

/// An integer of a flag or of YAML: Go's base-0 syntax (cli-4).
pub fn integer(text: &str) -> Result<i64, Wrong> {
    let wrong = || -> Wrong { "a whole number is needed".into() };
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // `_` may stand between digits and after a base prefix, nowhere else.
    let misplaced = (radix == 10 && body.starts_with('_'))
        || body.ends_with('_')
        || body.contains("__")
        || body.contains(['+', '-']);
    let body: String = body.chars().filter(|c| *c != '_').collect();
    if misplaced || body.is_empty() {
        return Err(wrong());
    }
    i64::from_str_radix(&body, radix).ok().and_then(|n| n.checked_mul(sign)).ok_or_else(wrong)
}

/// An integer of a variable: plain decimal with an optional sign (cli-4).
pub fn decimal(text: &str) -> Result<i64, Wrong> {
    text.parse().map_err(|_| "a whole number in plain decimal is needed".into())
}

/// True if a name is a token of RFC 9110.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A header name in its canonical spelling, such as `X-Request-Id` (config-48).
pub fn header_name(name: &str) -> Result<String, Wrong> {
    let name = name.trim();
    if !is_token(name) {
        return Err("a header name has letters, digits and `-` only".into());
    }
    let mut upper = true;
    Ok(name
        .chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect())
}

/// Checks a header value (config-36).
pub fn header_value(value: &str) -> Result<(), Wrong> {
    if value.is_empty() {
        return Err("the header value is empty".into());
    }
    if value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err("the header value has a line break or another control character".into());
    }
    Ok(())
}

/// Splits `Key: Value` (config-36) without checking either side.
pub fn header_item(item: &str) -> Result<(&str, &str), Wrong> {
    match item.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim(), value.trim()))
        }
        _ => Err("a header is written `Name: value`".into()),
    }
}

/// Checks an API key (config-43).
pub fn api_key(key: &str) -> Result<(), Wrong> {
    if key.is_empty() {
        return Err("the key is empty".into());
    }
    if key.trim().len() != key.len() {
        return Err("the key is malformed: it has white space at its start or end (a line break \
                    from a file or from `echo`?)"
            .into());
    }
    if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
        return Err("the key is malformed: it may have letters, digits, `_` and `-` only".into());
    }
    Ok(())
}

/// A log level with an optional offset (config-44): the least important level that is written.
/// Levels are four apart, as in Go: debug -4, info 0, warn 4, error 8.
pub fn log_level(text: &str) -> Result<log::LevelFilter, Wrong> {
    let wrong = || -> Wrong {
        "a level is `debug`, `info`, `warn` or `error`, with an optional offset such as `+2`".into()
    };
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(at);
    let base = match name.to_ascii_lowercase().as_str() {
        "debug" => -4,
        "info" => 0,
        "warn" => 4,
        "error" => 8,
        _ => return Err(wrong()),
    };
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| wrong())? };
    Ok(match base + i64::from(offset) {
        ..=-8 => log::LevelFilter::Trace,
        -7..=-4 => log::LevelFilter::Debug,
        -3..=0 => log::LevelFilter::Info,
        1..=4 => log::LevelFilter::Warn,
        5..=8 => log::LevelFilter::Error,
        9.. => log::LevelFilter::Off,
    })
}

/// A URL path (config-45), cleaned; blank and `/` are empty.
pub fn url_path(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    if !text.starts_with('/') || text.starts_with("//") {
        return Err("a URL path starts with one `/` and has no scheme or host".into());
    }
    if text.contains(['?', '#']) || text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("a URL path has no query, fragment or white space".into());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(parts.iter().flat_map(|part| ["/", part]).collect())
}

/// A listen address `host:port`; an empty host is every interface.
pub fn listen_addr(text: &str) -> Result<(String, u16), Wrong> {
    let (host, port) = split_host_port(text.trim())?;
    let port = port.ok_or("a listen address is `host:port`, such as `127.0.0.1:8080`")?;
    Ok((host.to_owned(), parse_port(port)?))
}

/// True if a Harpoon label is well formed (config-46).
pub fn is_harpoon_label(label: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=64).contains(&label.len())
        && alnum(label.as_bytes()[0])
        && label.bytes().all(|b| alnum(b) || b == b'_' || b == b'-')
}

/// True if a text is a valid profile name (config.md, section 2).
pub fn is_profile_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Splits a command line into arguments without a shell (config-55). Empty quoted words are kept
/// (stdio-234).
pub fn argv(command: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err("the command has a `'` that is not closed".into()),
                        Some('\'') => break,
                        Some(c) => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        None => return Err("the command has a `\"` that is not closed".into()),
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            None => return Err("the command ends inside a quoted word".into()),
                            Some(c) => word.push(c),
                        },
                        Some(c) => word.push(c),
                    }
                }
            }
            '\\' => match chars.next() {
                None => return Err("the command ends with a single `\\`".into()),
                Some(c) => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match words.first() {
        None => Err("the command is empty".into()),
        Some(program) if program.is_empty() => Err("the command's program name is empty".into()),
        Some(_) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    #[test] // config-31
    fn durations_have_units_and_a_bare_number_is_an_error() {
        for (text, ns) in [
            ("0", 0),
            ("30s", 30_000 * MS),
            ("1.5s", 1_500 * MS),
            ("2m30s", 150_000 * MS),
            ("-.5h", -1_800_000 * MS),
            ("+1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("3ns", 3),
            ("1.s", 1_000 * MS),
            ("0.000000000000000000000001h", 0),
        ] {
            assert_eq!(duration(text), Ok(ns), "{text}");
        }
        for bad in ["", "+", "30", "s", ".s", "1", "1d", "1 s", "99999999999999999999h", "1e3s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("30").unwrap_err().contains("`30s`"));
    }

    #[test]
    fn a_duration_prints_as_it_is_written() {
        for text in ["0s", "500ms", "1.5s", "2m30s", "10m", "1h", "1h2m3s"] {
            let ns = duration(text).unwrap();
            assert_eq!(show_duration(Duration::from_nanos(ns.unsigned_abs())), text);
        }
    }

    #[test] // cli-2, config-32
    fn booleans_are_exactly_the_listed_words() {
        for yes in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(yes), Ok(true));
        }
        for no in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(no), Ok(false));
        }
        for bad in ["", "yes", "on", "tRUE", " true", "2"] {
            assert!(boolean(bad).is_err(), "{bad}");
        }
    }

    #[test] // cli-4
    fn integers_of_flags_are_base_0_and_those_of_variables_decimal() {
        for (text, value) in [
            ("20", 20),
            ("0x1F", 31),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("1_000", 1000),
            ("-5", -5),
            ("+5", 5),
            ("0", 0),
        ] {
            assert_eq!(integer(text), Ok(value), "{text}");
        }
        for bad in ["", "x", "1__0", "_1", "1_", "0x", "08", "1.0", "--1", "1e3"] {
            assert!(integer(bad).is_err(), "{bad}");
        }
        assert_eq!(decimal("-12"), Ok(-12));
        assert!(decimal("0x10").is_err());
        assert!(decimal("1_0").is_err());
    }

    #[test] // config-36, config-48
    fn headers_are_tokens_with_printable_values() {
        assert_eq!(header_item(" a : b:c "), Ok(("a", "b:c")));
        for bad in ["", "a", ":b", "a:", " : "] {
            assert!(header_item(bad).is_err(), "{bad}");
        }
        assert_eq!(header_name("x-REQUEST-id"), Ok("X-Request-Id".to_owned()));
        assert!(header_name("a b").is_err());
        assert!(header_value("a\tü").is_ok());
        for bad in ["", "a\r\nb", "a\u{7f}", "\0"] {
            assert!(header_value(bad).is_err(), "{bad:?}");
        }
    }

    #[test] // config-43
    fn a_malformed_key_is_explained_without_being_shown() {
        assert_eq!(api_key("sk-proj_123"), Ok(()));
        for bad in ["", "sk-1\n", " sk-1", "sk 1", "sk:1", "schlüssel"] {
            let wrong = api_key(bad).unwrap_err();
            assert!(bad.is_empty() || !wrong.contains(bad.trim()), "{wrong}");
        }
        assert!(api_key("sk-1\n").unwrap_err().contains("white space"));
    }

    #[test] // config-44
    fn levels_take_offsets_and_are_not_trimmed() {
        use log::LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
        for (text, level) in [
            ("info", Info),
            ("DEBUG", Debug),
            ("Warn", Warn),
            ("error", Error),
            ("info+1", Warn),
            ("warn-4", Info),
            ("debug-4", Trace),
            ("error+1", Off),
        ] {
            assert_eq!(log_level(text), Ok(level), "{text}");
        }
        for bad in ["", " info", "trace", "info+", "info+x", "verbose"] {
            assert!(log_level(bad).is_err(), "{bad}");
        }
    }

    #[test] // config-45
    fn a_url_path_is_cleaned() {
        for (text, path) in
            [("", ""), (" / ", ""), ("/a/", "/a"), ("/a//b/./c", "/a/b/c"), ("/a/../b", "/b")]
        {
            assert_eq!(url_path(text).as_deref(), Ok(path));
        }
        for bad in ["a", "//host/a", "https://h/a", "/a?b", "/a#b", "/a b"] {
            assert!(url_path(bad).is_err(), "{bad}");
        }
    }

    #[test] // config-55, config-47
    fn a_command_is_split_without_a_shell() {
        for (text, words) in [
            ("a  b\tc\nd\re", vec!["a", "b", "c", "d", "e"]),
            (r#"a 'b c' "d \" \x e""#, vec!["a", "b c", "d \" x e"]),
            (r"a\ b $HOME * | c", vec!["a b", "$HOME", "*", "|", "c"]),
            (r#"a "" '' x''y"#, vec!["a", "", "", "xy"]),
            (r"'a\b'", vec![r"a\b"]),
        ] {
            assert_eq!(argv(text).unwrap(), words, "{text}");
        }
        for bad in ["", "  ", "a 'b", "a \"b", "a \\", "a \"b\\", "'' a"] {
            assert!(argv(bad).is_err(), "{bad}");
        }
    }
}
