//! Splits the child's standard output into lines, for `reader`. Pure functions of bytes, bounded in
//! memory.

use memchr::memchr;

use super::rewrite;

/// A buffer that one long line made larger than this is freed after the line, in bytes.
const KEEP_CAPACITY: usize = 1024 * 1024;

/// One line of output, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the limit.
    Text(&'a [u8]),
    /// A line over the limit. It was skipped; `number` is the id of the call that it answers, if
    /// it is a JSON object with such an id.
    TooLong {
        /// The top-level `id`.
        number: Option<u64>,
    },
}

/// Splits bytes into lines at `\n` alone (mcp-14): never at other line breaks of Unicode, which may
/// stand inside JSON strings. A `\r` before the `\n` is tolerated.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    buffer: Vec<u8>,
    skimmed: Option<Skim>,
}

impl Lines {
    /// `limit` is the longest line that is kept, in bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: Vec::new(), skimmed: None }
    }

    /// Takes the next bytes and hands out each line that they complete.
    pub fn push(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Line<'_>)) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.buffer.is_empty() && self.skimmed.is_none() && line.len() <= self.limit {
                each(Line::Text(without_cr(line)));
            } else {
                self.keep(line);
                self.finish(each);
            }
        }
        self.keep(bytes);
    }

    /// Ends the output: hands out the rest after the last line end, if there is any.
    pub fn end(mut self, each: &mut dyn FnMut(Line<'_>)) {
        if !self.buffer.is_empty() || self.skimmed.is_some() {
            self.finish(each);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(skim) = &mut self.skimmed {
            skim.push(bytes);
        } else if self.buffer.len() + bytes.len() <= self.limit {
            self.buffer.extend_from_slice(bytes);
        } else {
            let mut skim = Skim::default();
            skim.push(&self.buffer);
            skim.push(bytes);
            self.buffer = Vec::new();
            self.skimmed = Some(skim);
        }
    }

    fn finish(&mut self, each: &mut dyn FnMut(Line<'_>)) {
        match self.skimmed.take() {
            Some(skim) => each(Line::TooLong { number: skim.number() }),
            None => each(Line::Text(without_cr(&self.buffer))),
        }
        self.buffer.clear();
        if self.buffer.capacity() > KEEP_CAPACITY {
            self.buffer = Vec::new();
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The longest member name or id that a [`Skim`] examines, in bytes.
const SKIM_MAX: usize = 24;

/// Finds the top-level `id` of an object that is too long to keep, so that the call that it
/// answers can fail at once.
#[derive(Debug, Default)]
struct Skim {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// In the outermost object: true after `:`, false after `{` or `,`.
    in_value: bool,
    name: Vec<u8>,
    value: Vec<u8>,
    id: Option<u64>,
}

impl Skim {
    fn push(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.step(*b);
        }
    }

    fn step(&mut self, b: u8) {
        if self.in_string {
            self.note(b);
            match b {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match b {
            b'{' | b'[' => {
                self.note(b);
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.member_ends();
                } else {
                    self.note(b);
                }
            }
            b',' if self.depth == 1 => self.member_ends(),
            b':' if self.depth == 1 => self.in_value = true,
            b' ' | b'\t' | b'\r' => {}
            _ => {
                self.in_string = b == b'"';
                self.note(b);
            }
        }
    }

    fn note(&mut self, b: u8) {
        let text = match self.in_value {
            true => &mut self.value,
            false => &mut self.name,
        };
        if self.depth == 1 && text.len() < SKIM_MAX {
            text.push(b);
        }
    }

    fn member_ends(&mut self) {
        if self.name == b"\"id\"" {
            self.id = std::str::from_utf8(&self.value).ok().and_then(rewrite::number);
        }
        self.name.clear();
        self.value.clear();
        self.in_value = false;
    }

    fn number(&self) -> Option<u64> {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of `output`, pushed in pieces of `step` bytes.
    fn lines(output: &[u8], limit: usize, step: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut each = |line: Line<'_>| {
            found.push(match line {
                Line::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Line::TooLong { number } => format!("too long: {number:?}"),
            })
        };
        let mut lines = Lines::new(limit);
        for piece in output.chunks(step) {
            lines.push(piece, &mut each);
        }
        lines.end(&mut each);
        found
    }

    #[test] // mcp-14
    fn lines_end_at_line_feeds_alone_however_the_bytes_arrive() {
        let output = "a\u{2028}b\r\n\nc\rd\u{85}\nrest".as_bytes();
        for step in [1, 2, 3, 5, 100] {
            assert_eq!(
                lines(output, 100, step),
                ["a\u{2028}b", "", "c\rd\u{85}", "rest"],
                "{step}"
            );
        }
        assert_eq!(lines(b"a\n", 100, 1), ["a"]);
        assert!(lines(b"", 100, 1).is_empty());
    }

    #[test] // mcp-12
    fn a_line_over_the_limit_is_skipped_and_its_call_is_known() {
        for step in [1, 7, 1000] {
            for long in [
                r#"{"id":5,"result":{"x":"aaaaaaaaaaaaaaaaaaaaaaaaaa"}}"#,
                r#"{"result":{"id":9,"x":["\"id\":7",{"id":8}]} , "id" : 5 }"#,
                r#"{"result":"\\\",\"id\":9}","id":5,"jsonrpc":"2.0"}"#,
            ] {
                let output = format!("ok\n{long}\nafter\n");
                assert_eq!(
                    lines(output.as_bytes(), 10, step),
                    ["ok", "too long: Some(5)", "after"],
                    "{long}"
                );
            }
            assert_eq!(lines(&[b'x'; 50], 10, step), ["too long: None"]);
            assert_eq!(lines(br#"{"a":"bbbbbbbbb","id":"5"}"#, 10, step), ["too long: None"]);
            assert_eq!(lines(br#"[[{"id":5,"a":"bbbbb"}]]"#, 10, step), ["too long: None"]);
        }
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_kept() {
        assert_eq!(lines(b"0123456789\n01234567890\n", 10, 4), ["0123456789", "too long: None"]);
        assert_eq!(lines(b"0123456789\n01234567890\n", 10, 99), ["0123456789", "too long: None"]);
    }

    #[test]
    fn no_bytes_make_the_splitter_panic() {
        for seed in 0..2_000_u32 {
            let mut x = seed.wrapping_mul(2_654_435_761).max(1);
            let alphabet = b"{}[]\",:\\ \r\n5id\xff";
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 17;
                    x ^= x << 5;
                    alphabet[x as usize % alphabet.len()]
                })
                .collect();
            lines(&bytes, (seed % 20) as usize, 1 + (seed % 9) as usize);
        }
    }
}
