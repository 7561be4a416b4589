//! The head of a request: a pure function from bytes to a [`Head`], or to the status that refuses
//! them. [`super::connection`] calls it.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::wire::Headers;
use crate::wire::percent::has_whole_escapes;

use super::{MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE};

/// A request line and header section that passed all checks.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method, case-sensitive.
    pub method: String,
    /// The path as it was sent, without the query.
    pub path: String,
    /// The pieces of the path between slashes, percent-decoded. `/a/b%2Fc` is `["a", "b/c"]`.
    pub segments: Vec<String>,
    /// The text after the `?`, as it was sent; empty if there is none.
    pub query: String,
    /// The authority that the client means: the one in the request line, or else `Host`.
    pub host: Option<String>,
    /// All header fields. A value that is not UTF-8 is read as Latin-1.
    pub headers: Headers,
    /// How the body is delimited.
    pub framing: Framing,
    /// True if the client allows another request on this connection.
    pub keep_alive: bool,
    /// True if the answer may be chunked (HTTP/1.1).
    pub speaks_chunked: bool,
    /// True if the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes; 0 if the head announces no body.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// The reason why a request is refused. The connection ends after the answer, since the start of
/// the next request is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The reason, for the answer's body.
    pub reason: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

const fn refuse<T>(status: u16, reason: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, reason })
}

/// Reads one head from the start of `bytes`: the head and its length, or `None` if more bytes
/// are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Complete(_)) => return refuse(431, "the header section is too long"),
        Ok(httparse::Status::Partial) => {
            let line = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
            if line > MAX_REQUEST_LINE {
                return refuse(414, "the request line is too long");
            }
            if bytes.len() >= MAX_HEAD {
                return refuse(431, "the header section is too long");
            }
            return Ok(None);
        }
        Err(httparse::Error::TooManyHeaders) => return refuse(431, "too many header fields"),
        Err(httparse::Error::Version) => return refuse(505, "only HTTP/1.0 and 1.1 are spoken"),
        Err(_) => return refuse(400, "the request head is malformed"),
    };
    check(&request).map(|head| Some((head, length)))
}

/// The head of a well-formed request, if it is one that can be served here.
fn check(request: &httparse::Request<'_, '_>) -> Result<Head, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return refuse(400, "the request line is incomplete");
    };
    if method.len() + target.len() > MAX_REQUEST_LINE {
        return refuse(414, "the request line is too long");
    }
    let mut headers = Headers::new();
    for field in request.headers.iter() {
        headers.append(field.name, text(field.value));
    }
    let (authority, target) = split_target(target)?;
    let host = match (authority, headers.values("Host")) {
        (Some(authority), [_]) => Some(authority.to_owned()),
        (None, [host]) => Some(host.clone()),
        (authority, []) if minor == 0 => authority.map(str::to_owned),
        _ => return refuse(400, "a request has exactly one `Host`"),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let segments = path[1..].split('/').map(percent_decoded);
    let Some(segments) = segments.collect::<Option<Vec<String>>>() else {
        return refuse(400, "the path is not percent-encoded UTF-8");
    };
    let connection = headers.nominated_by_connection();
    let expects_continue = match headers.get("Expect") {
        None => false,
        Some(what) if what.eq_ignore_ascii_case("100-continue") => minor == 1,
        Some(_) => return refuse(417, "only `Expect: 100-continue` is understood"),
    };
    Ok(Head {
        method: method.to_owned(),
        path: path.to_owned(),
        segments,
        query: query.to_owned(),
        host,
        framing: framing(&headers, minor)?,
        keep_alive: minor == 1 && !connection.iter().any(|word| word == "close"),
        speaks_chunked: minor == 1,
        expects_continue,
        headers,
    })
}

/// Determines how the body is delimited. A proxy in front may read the same request, so anything
/// that two readers could understand differently is refused (relay-50).
fn framing(headers: &Headers, minor: u8) -> Result<Framing, Refusal> {
    let codings = headers.values("Transfer-Encoding");
    let lengths = headers.values("Content-Length");
    match (codings, lengths) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [length]) => {
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            match length.parse() {
                Ok(length) if digits => Ok(Framing::Length(length)),
                _ => refuse(400, "`Content-Length` is not a number"),
            }
        }
        ([], _) => refuse(400, "`Content-Length` is given twice"),
        ([_, ..], [_, ..]) => refuse(400, "`Content-Length` and `Transfer-Encoding` exclude"),
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") && minor == 1 => {
            Ok(Framing::Chunked)
        }
        _ => refuse(501, "the only transfer coding is `chunked`"),
    }
}

/// Splits the absolute form of a target (`http://host/path`) into authority and path.
fn split_target(target: &str) -> Result<(Option<&str>, &str), Refusal> {
    if target.starts_with('/') {
        return Ok((None, target));
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"));
    match scheme.map(|scheme| &target[scheme.len()..]) {
        Some(rest) => match rest.find('/') {
            Some(slash) if slash > 0 => Ok((Some(&rest[..slash]), &rest[slash..])),
            _ => refuse(400, "the request target has no path"),
        },
        None => refuse(400, "the request target is no path"),
    }
}

/// A header value as text: UTF-8, else Latin-1 (RFC 9110, section 5.5).
fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|b| char::from(*b)).collect(),
    }
}

/// The parameters of a query, in order. A broken escape stays as it is.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decoded(&spaced).unwrap_or_else(|| text.to_owned())
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The decoded text, if all percent-escapes are complete and the result is UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    if !has_whole_escapes(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, u16> {
        match parse(text.as_bytes()) {
            Ok(Some((head, length))) => {
                assert_eq!(length, text.len());
                Ok(head)
            }
            Ok(None) => panic!("incomplete: {text:?}"),
            Err(refusal) => Err(refusal.status),
        }
    }

    fn with(fields: &str) -> Result<Head, u16> {
        head(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    }

    #[test]
    fn a_head_is_taken_apart() {
        let head = head(
            "GET /v1/a%2fb/%C3%BC?x=1&y=a+b%21&z HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.method, "GET");
        assert_eq!(head.segments, ["v1", "a/b", "ü"]);
        assert_eq!(head.headers.values("X-a"), ["1", "2"]);
        assert_eq!(head.host.as_deref(), Some("h:1"));
        let query = parse_query(&head.query);
        let expected = [("x", "1"), ("y", "a b!"), ("z", "")];
        assert_eq!(query, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert!(head.keep_alive && head.framing == Framing::Length(0));
    }

    #[test]
    fn every_prefix_of_a_head_is_incomplete() {
        let text = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
        for end in 0..text.len() {
            assert!(matches!(parse(&text[..end]), Ok(None)), "{end}");
        }
        let (head, length) = parse(&[&text[..], b"abcGET"].concat()).unwrap().unwrap();
        assert_eq!((head.framing, length), (Framing::Length(3), text.len()));
    }

    #[test] // relay-50
    fn a_body_that_two_readers_could_delimit_differently_is_refused() {
        for (fields, status) in [
            ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
            ("Content-Length: 5, 5\r\n", 400),
            ("Content-Length: +5\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length: 0x5\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length: 99999999999999999999\r\n", 400),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 501),
            ("Transfer-Encoding: xchunked\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("X: a\r\n folded\r\n", 400),
            ("X: a\rb\r\n", 400),
            ("X: a\0b\r\n", 400),
            ("Host: b\r\n", 400),
            ("Expect: a-miracle\r\n", 417),
        ] {
            assert_eq!(with(fields).map(|h| h.framing), Err(status), "{fields:?}");
        }
        assert_eq!(with("Transfer-Encoding: Chunked\r\n").unwrap().framing, Framing::Chunked);
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n").map(|_| ()), Err(400));
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(head(old).map(|_| ()), Err(501));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, status) in [
            ("\0\x01\x02\r\n\r\n", 400),
            ("GET\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|_| ()).map_err(|r| r.status), Err(status));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_REQUEST_LINE));
        assert_eq!(parse(line.as_bytes()).map(|_| ()).map_err(|r| r.status), Err(414));
        let line = format!("{line}Host: a\r\n\r\n");
        assert_eq!(head(&line).map(|_| ()), Err(414));
        let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX_HEAD));
        assert_eq!(parse(endless.as_bytes()).map(|_| ()).map_err(|r| r.status), Err(431));
        assert_eq!(with(&format!("X: {}\r\n", "a".repeat(MAX_HEAD))).map(|_| ()), Err(431));
        assert_eq!(with(&"X: a\r\n".repeat(MAX_HEADERS)).map(|_| ()), Err(431));
        assert!(with(&"X: a\r\n".repeat(MAX_HEADERS - 1)).is_ok());
    }

    #[test]
    fn the_absolute_form_names_the_host() {
        let head = head("GET HTTP://b:2/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(head.host.as_deref(), Some("b:2"));
        assert_eq!(head.path, "/x");
    }

    #[test]
    fn a_connection_ends_as_the_client_says() {
        assert!(!with("Connection: Close\r\n").unwrap().keep_alive);
        assert!(!head("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(with("Expect: 100-Continue\r\n").unwrap().expects_continue);
    }

    #[test]
    fn a_value_that_is_not_utf8_is_latin1() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xfc\r\n\r\n";
        let (head, _) = parse(bytes).unwrap().unwrap();
        assert_eq!(head.headers.get("X"), Some("ü"));
    }
}
