//! A text that must never be shown: API keys, tokens, header values, passwords.
//!
//! Every room may hold one. Only code that sends it calls [`Secret::expose`].

mod locked;

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text. It prints as `[redacted]`, is compared in constant time, is kept out of swap where
/// the kernel allows, and is wiped from memory when its last clone is dropped: clones share one
/// copy. `net` writes it into a buffer that is wiped as well (`net::head`).
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes ownership of a secret text.
    pub fn new(text: String) -> Self {
        locked::lock(&text);
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// True if the kernel keeps every secret so far out of swap. RLIMIT_MEMLOCK may forbid it.
    pub fn all_locked() -> bool {
        locked::all()
    }

    /// True if a text from outside is this secret. The time that this takes depends on the length
    /// of the text alone, so it tells nothing of how much of the text is right.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("sk-very-secret".to_owned());
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
        assert_eq!(secret.expose(), "sk-very-secret");
    }

    #[test]
    fn a_secret_is_compared_whole() {
        let secret = Secret::new("abc".to_owned());
        assert!(secret.is("abc") && secret == Secret::new("abc".to_owned()));
        for other in ["abd", "ab", "abcd", ""] {
            assert!(!secret.is(other), "{other}");
        }
    }

    #[test]
    fn a_secret_lies_in_a_page_that_is_never_swapped() {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        if limit == Some(0) {
            return;
        }
        let secret = Secret::new("s".repeat(100));
        let locked = || locked_kib().expect("VmLck of /proc/self/status");
        assert!(locked() > 0);
        let before = locked();
        let many = Secret::new("s".repeat(32 * 1024));
        assert!(!Secret::all_locked() || locked() > before);
        assert_eq!(secret.clone().expose().as_ptr(), secret.expose().as_ptr());
        assert_eq!(many.expose().len(), 32 * 1024);
    }

    fn locked_kib() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}
