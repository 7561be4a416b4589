//! Percent-escapes in URLs (RFC 3986, section 2.1), as far as we are stricter than the crate that
//! decodes them: `percent-encoding` leaves an escape that is not whole as it is.

/// Whether two hexadecimal digits follow each `%`.
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
