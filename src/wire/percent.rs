//! Percent-escapes in URLs (RFC 3986, section 2.1). The crate `percent-encoding` decodes them, but
//! it accepts an incomplete escape as plain text; this module is stricter.

/// True if two hexadecimal digits follow each `%`.
pub fn has_whole_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_has_two_digits() {
        for whole in ["", "a/b", "%2F%c3%BC", "a%00"] {
            assert!(has_whole_escapes(whole), "{whole}");
        }
        for broken in ["%", "%f", "a%zz", "%%20", "%+1", "%é"] {
            assert!(!has_whole_escapes(broken), "{broken}");
        }
    }
}
