//! Writes the lines of the child's standard error to the log, within limits.

use std::os::fd::OwnedFd;
use std::time::Instant;

use log::info;

use super::pipe;
use super::shared::Shared;
use super::throttle::{Throttle, printable};
use crate::net::Cancel;
use crate::record_kind::RecordKind;

/// How much of a line is logged, in bytes.
const LINE_SHOWN: usize = 1024;

/// The number of lines that are logged in one minute.
const LINES_PER_MINUTE: u32 = 300;

/// The thread on the child's standard error, which is drained whatever happens to the lines
/// (mcp-16).
pub(super) fn run(shared: &Shared, pipe: &OwnedFd, gone: &Cancel) {
    let mut heads = Heads::new(LINE_SHOWN);
    let mut throttle = Throttle::new(LINES_PER_MINUTE);
    let channel = &shared.config.channel;
    let mut each = |line: &[u8]| match throttle.admit(Instant::now()) {
        None => shared.stats.stderr_held_back.inc(),
        Some(held_back) => {
            if held_back > 0 {
                info!(
                    target: RecordKind::ChildEvent.target(),
                    channel:%, lines = held_back;
                    "lines of the child's stderr were left out"
                );
            }
            let shown = printable(line, LINE_SHOWN);
            info!(target: RecordKind::ChildOutput.target(), channel:%; "child: {shown}");
        }
    };
    pipe::read(pipe, gone, |bytes| heads.push(bytes, &mut each));
    heads.end(&mut each);
}

/// Splits bytes into lines and keeps only the beginning of each.
#[derive(Debug)]
struct Heads {
    keep: usize,
    buffer: Vec<u8>,
}

impl Heads {
    /// `keep` is how much of a line is kept, in bytes.
    fn new(keep: usize) -> Self {
        Self { keep, buffer: Vec::new() }
    }

    /// Takes the next bytes and hands out the beginning of each line that they complete. Empty
    /// lines are skipped.
    fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            // One byte more than the limit shows that the line was longer.
            let room = (self.keep + 1).saturating_sub(self.buffer.len()).min(text.len());
            self.buffer.extend_from_slice(&text[..room]);
            if ended {
                self.end(each);
            }
        }
    }

    /// Hands out the rest after the last line end.
    fn end(&mut self, each: &mut dyn FnMut(&[u8])) {
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
