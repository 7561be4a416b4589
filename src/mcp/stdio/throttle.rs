//! Limits how much output of a child is logged, for `reader` and `stderr`.

use std::time::{Duration, Instant};

/// The period over which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets a fixed number of lines per minute through and counts the others.
#[derive(Debug)]
pub(super) struct Throttle {
    per_minute: u32,
    window: Option<Instant>,
    used: u32,
    held_back: u64,
}

impl Throttle {
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, window: None, used: 0, held_back: 0 }
    }

    /// `None` if a line may not be logged now. Otherwise the number of lines that were left out
    /// since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.window.is_none_or(|start| now.duration_since(start) >= WINDOW) {
            self.window = Some(now);
            self.used = 0;
        }
        if self.used == self.per_minute {
            self.held_back += 1;
            return None;
        }
        self.used += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

/// Untrusted bytes as one harmless piece of a log line: at most `max` bytes, with control
/// characters escaped.
pub(super) fn printable(bytes: &[u8], max: usize) -> String {
    let cut = &bytes[..bytes.len().min(max)];
    let mut out = String::with_capacity(cut.len() + 3);
    for c in String::from_utf8_lossy(cut).chars() {
        // Line breaks of Unicode count too: a log line must stay one line.
        match c {
            '\t' => out.push(' '),
            '\u{2028}' | '\u{2029}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if cut.len() < bytes.len() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttle_counts_what_it_holds_back() {
        let mut throttle = Throttle::new(2);
        let start = Instant::now();
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start), Some(0));
        assert_eq!(throttle.admit(start), None);
        assert_eq!(throttle.admit(start), None);
        assert_eq!(throttle.admit(start + WINDOW), Some(2));
        assert_eq!(throttle.admit(start + WINDOW), Some(0));
    }

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(printable(b"a\x1b[31m\tb\r\n\xff", 99), "a\\u{1b}[31m b\\r\\n\u{fffd}");
        assert_eq!(printable("x\u{2028}".as_bytes(), 99), "x\\u{2028}");
        assert_eq!(printable(b"abcdef", 3), "abc...");
    }
}
