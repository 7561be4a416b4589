//! The chunked coding of request bodies, decoded by a state machine that does no I/O.
//! [`super::exchange`] calls it.

use super::head::Refusal;

/// Longest chunk-size line and longest trailer section, in bytes. Extensions and trailers are
/// ignored; no honest client sends long ones.
const MAX_LINE: usize = 4 * 1024;

/// Decodes one chunked body, piece by piece.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// The bytes of the current size line or trailer section.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a size line, after this many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// After the size, up to the end of the line.
    Extension {
        size: u64,
    },
    /// After the CR of a size line, before its LF.
    SizeEnd {
        size: u64,
    },
    /// In a chunk, with this many bytes to come.
    Data {
        left: u64,
    },
    /// After a chunk: CR, then LF.
    DataCr,
    DataLf,
    /// In the trailer section, at the start of a line or inside one.
    Trailer {
        at_start: bool,
    },
    /// In the trailer section, after a CR.
    TrailerEnd {
        was_empty: bool,
    },
    /// The body is complete.
    Done,
}

const MALFORMED: Refusal = Refusal { status: 400, reason: "the chunked body is malformed" };
const TOO_LARGE: Refusal = Refusal { status: 413, reason: "the body is too large" };

/// A decoder at the start of a body.
impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, line: 0 }
    }
}

impl Decoder {
    /// True if the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes `input` and appends to `out`, which may grow to `limit` bytes. Returns how many bytes
    /// belonged to this body: all of them, unless the body is complete.
    pub fn push(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                out.extend_from_slice(&input[at..at + here]);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                continue;
            }
            self.line += 1;
            if self.line > MAX_LINE {
                return Err(MALFORMED);
            }
            self.state = self.next(input[at])?;
            at += 1;
            if let State::Data { left } = self.state
                && left > (limit - out.len().min(limit)) as u64
            {
                return Err(TOO_LARGE);
            }
        }
        Ok(at)
    }

    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
                // 15 digits are more than any memory and cannot overflow.
                if digits == 15 {
                    return Err(MALFORMED);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(MALFORMED),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => {
                State::SizeEnd { size }
            }
            (State::Size { size, .. }, b';' | b' ' | b'\t') => State::Extension { size },
            (State::Extension { size }, byte) if byte != b'\n' => State::Extension { size },
            (State::SizeEnd { size }, b'\n') => {
                self.line = 0;
                match size {
                    0 => State::Trailer { at_start: true },
                    left => State::Data { left },
                }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size { size: 0, digits: 0 }
            }
            (State::Trailer { at_start }, b'\r') => State::TrailerEnd { was_empty: at_start },
            (State::Trailer { .. }, byte) if byte != b'\n' => State::Trailer { at_start: false },
            (State::TrailerEnd { was_empty: true }, b'\n') => State::Done,
            (State::TrailerEnd { was_empty: false }, b'\n') => State::Trailer { at_start: true },
            _ => return Err(MALFORMED),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes in pieces of `step` bytes: the body and the number of bytes used.
    fn decode(input: &[u8], step: usize, limit: usize) -> Result<(Vec<u8>, usize, bool), u16> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        let mut used = 0;
        for piece in input.chunks(step) {
            used += decoder.push(piece, &mut out, limit).map_err(|r| r.status)?;
            if decoder.is_done() {
                break;
            }
        }
        Ok((out, used, decoder.is_done()))
    }

    #[test]
    fn a_body_is_the_same_however_it_is_cut() {
        let input = b"4\r\nWiki\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nT: v\r\n\r\nGET /";
        for step in 1..=input.len() {
            let (out, used, done) = decode(input, step, 100).unwrap();
            assert_eq!((&out[..], done), (&b"Wiki0123456789"[..], true), "{step}");
            assert_eq!(used, input.len() - 5);
        }
    }

    #[test] // relay-50
    fn a_body_that_is_no_chunks_is_refused() {
        for input in [
            &b"\r\n"[..],
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1\nA",
            b"1\r\nAB",
            b"1\r\nA\n",
            b"1\r\nA\r0",
            b"1\rA",
            b"1;a\nb",
            b"0\r\nX\n",
            b"0\r\n\rX",
            b"1111111111111111\r\n",
        ] {
            let text = String::from_utf8_lossy(input).into_owned();
            assert_eq!(decode(input, 1, 100), Err(400), "{text:?}");
        }
    }

    #[test]
    fn a_body_has_bounds() {
        assert!(decode(b"5\r\n12345\r\n0\r\n\r\n", 3, 5).unwrap().2);
        assert_eq!(decode(b"5\r\n12345\r\n1\r\n", 3, 5), Err(413));
        assert_eq!(decode(b"fffffffffffffff\r\n", 3, 5), Err(413));
        let long = [b"1;".as_slice(), &[b'a'; MAX_LINE]].concat();
        assert_eq!(decode(&long, 7, 5), Err(400));
        let endless = [b"0\r\n".as_slice(), &b"a: b\r\n".repeat(MAX_LINE)].concat();
        assert_eq!(decode(&endless, 7, 5), Err(400));
    }
}
