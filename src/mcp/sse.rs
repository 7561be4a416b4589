//! Server-sent events, as far as MCP uses them (forwarding-38, mcp-35, mcp-36). Pure: bytes in,
//! events out. `http` reads its streams with it.

use std::collections::VecDeque;

use memchr::memchr2;

/// The stream holds an event over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub struct Parser {
    /// The largest event that is taken, in bytes.
    max: usize,
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    name: String,
    data: Option<String>,
    /// Complete events that nobody has taken yet.
    events: VecDeque<String>,
    too_large: bool,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Parser {
    /// A parser that refuses events of more than `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            line: Vec::new(),
            after_cr: false,
            started: false,
            name: String::new(),
            data: None,
            events: VecDeque::new(),
            too_large: false,
            last_id: None,
            retry_ms: None,
        }
    }

    /// A parser for the rest of a stream that broke off: cursor and wait stay in force.
    pub fn resumed(self) -> Self {
        Self { last_id: self.last_id, retry_ms: self.retry_ms, ..Self::new(self.max) }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !self.too_large
            && let Some(end) = memchr2(b'\n', b'\r', bytes)
        {
            if end > 0 || !self.after_cr || bytes[0] == b'\r' {
                self.line.extend_from_slice(&bytes[..end]);
                self.end_line();
            }
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
        }
        self.after_cr &= bytes.is_empty();
        self.line.extend_from_slice(bytes);
        self.check_size();
    }

    /// The data of the next complete event, if the bytes so far hold one: its `data` lines, joined
    /// by line feeds. Of an event that is named neither nothing nor `message`, for which MCP has
    /// no use, it is empty.
    ///
    /// # Errors
    /// If an event is over the limit; the stream is of no use then.
    pub fn next_event(&mut self) -> Result<Option<String>, TooLarge> {
        match self.events.pop_front() {
            None if self.too_large => Err(TooLarge),
            event => Ok(event),
        }
    }

    /// The event that the end of the stream left without its blank line (forwarding-38).
    ///
    /// # Errors
    /// If it is over the limit.
    pub fn finish(&mut self) -> Result<Option<String>, TooLarge> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_line();
        self.next_event()
    }

    /// The cursor to resume at: the last `id` seen.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The wait before a resumption that the server asked for, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn check_size(&mut self) {
        let held = self.data.as_ref().map_or(0, String::len) + self.line.len();
        self.too_large |= held > self.max;
    }

    /// Takes in the line that is complete now; a blank one ends an event.
    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.strip_prefix('\u{feff}').filter(|_| !self.started).unwrap_or(&line);
        self.started = true;
        if line.is_empty() {
            let is_message = matches!(std::mem::take(&mut self.name).as_str(), "" | "message");
            let data = self.data.take().filter(|_| !self.too_large);
            let event = data.map(|data| if is_message { data } else { String::new() });
            self.events.extend(event);
        } else {
            self.field(line);
            self.check_size();
        }
    }

    fn field(&mut self, line: &str) {
        // A comment has an empty field name; a line without a colon is a field without a value.
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        match field.trim() {
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => self.last_id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::new(1000);
        let mut found = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(event) = parser.next_event().unwrap() {
                found.push(event);
            }
        }
        found.extend(parser.finish().unwrap());
        found
    }

    #[test] // mcp-35
    fn all_three_line_ends_and_a_byte_order_mark() {
        let expected = ["1", "2\n3", "4"];
        assert_eq!(events(&[b"\xef\xbb\xbfdata: 1\n\ndata: 2\ndata: 3\n\ndata:4\n\n"]), expected);
        assert_eq!(events(&[b"data: 1\r\n\r\ndata: 2\r\ndata: 3\r\n\r\ndata:4\r\n\r\n"]), expected);
        assert_eq!(events(&[b"data: 1\r\rdata: 2\rdata: 3\r\rdata:4\r\r"]), expected);
    }

    #[test] // mcp-35
    fn a_stream_cut_anywhere_gives_the_same_events() {
        let stream = "id: 7\r\ndata: é\r\n\r\n: comment\ndata: x\n\n".as_bytes();
        for cut in 0..stream.len() {
            assert_eq!(events(&[&stream[..cut], &stream[cut..]]), ["é", "x"], "{cut}");
        }
    }

    #[test] // forwarding-38, mcp-36
    fn empty_data_is_an_event_and_an_open_event_is_delivered_at_the_end() {
        let mut parser = Parser::new(1000);
        parser.push(b"id: 1\nretry: 50\ndata:\n\nevent: ping\ndata: p\n\nnonsense\ndata: last");
        assert_eq!(parser.next_event().unwrap().unwrap(), "");
        assert_eq!((parser.last_id(), parser.retry_ms()), (Some("1"), Some(50)));
        assert_eq!(parser.next_event().unwrap().unwrap(), "", "a ping is no message");
        assert_eq!(parser.next_event().unwrap(), None);
        assert_eq!(parser.finish().unwrap().unwrap(), "last");
        assert_eq!(parser.finish(), Ok(None));
    }

    #[test] // forwarding-219
    fn an_event_over_the_limit_is_refused() {
        let mut parser = Parser::new(10);
        parser.push(b"data: 12345678901");
        assert_eq!(parser.next_event(), Err(TooLarge));
        let mut parser = Parser::new(10);
        parser.push(b"data: 12345\n");
        assert_eq!(parser.next_event(), Ok(None));
        parser.push(b"data: 67890\n");
        assert_eq!(parser.next_event(), Err(TooLarge));
        // Bytes that are no UTF-8 grow when they are read.
        let mut parser = Parser::new(10);
        parser.push(b"data:\xff\xff\xff\xff");
        assert_eq!(parser.next_event(), Ok(None));
        assert_eq!(parser.finish(), Err(TooLarge));
    }
}
