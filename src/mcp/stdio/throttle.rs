//! How much of a chatty child reaches the log.

use std::time::{Duration, Instant};

/// The span in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Lets a number of lines per minute through and counts the others.
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

    /// Whether a line may be logged now; if so, how many were not since the last one.
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

/// Foreign bytes as one harmless piece of a log line: at most `max` bytes of them, control
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

/// Splits bytes into lines and keeps only the beginning of each.
#[derive(Debug)]
pub(super) struct Heads {
    keep: usize,
    buffer: Vec<u8>,
}

impl Heads {
    /// `keep` is how much of a line is kept, in bytes.
    pub fn new(keep: usize) -> Self {
        Self { keep, buffer: Vec::new() }
    }

    /// Takes the next bytes and hands out the beginning of each line that they complete. Empty
    /// lines are passed over.
    pub fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            // One byte more than is kept tells that the line was longer.
            let room = (self.keep + 1).saturating_sub(self.buffer.len()).min(text.len());
            self.buffer.extend_from_slice(&text[..room]);
            if ended {
                self.end(each);
            }
        }
    }

    /// Hands out what stands after the last line end.
    pub fn end(&mut self, each: &mut dyn FnMut(&[u8])) {
        let line = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        if !line.is_empty() {
            each(line);
        }
        self.buffer.clear();
    }
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

    #[test]
    fn only_the_head_of_a_long_line_is_kept() {
        for step in [1, 4, 100] {
            let mut heads = Heads::new(3);
            let mut found = Vec::new();
            let mut each = |line: &[u8]| found.push(printable(line, 3));
            for piece in b"ab\r\n\nabcdefgh\nabc\nrest".chunks(step) {
                heads.push(piece, &mut each);
            }
            heads.end(&mut each);
            assert_eq!(found, ["ab", "abc...", "abc", "res..."]);
        }
    }
}
