//! The answer that comes as a stream of events: notifications in order, then the response
//! (forwarding-21, forwarding-38, forwarding-39).

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::body::{Media, restored};
use super::hop::{Call, HttpHop};
use crate::mcp::CallError;
use crate::mcp::backlog::{Backlog, progress_token};
use crate::mcp::classify::{of_net, protocol};
use crate::mcp::headers;
use crate::mcp::sse::{Parser, TooLarge};
use crate::net::{Cancel, NetError, Reply};
use crate::wire::{
    Era, Failure, FailureKind as Kind, FailureSource, MESSAGE_MAX, Message, MessageKind,
};

/// Attempts in a row to take up a broken stream that bring nothing new (forwarding-39).
const RESUMPTIONS_MAX: u32 = 5;
/// The wait before the first of them, if the server asks for none; each next one is half as
/// long again (forwarding-39).
const RESUMPTION_WAIT: Duration = Duration::from_secs(1);
/// The longest of these waits that the server has not asked for.
const RESUMPTION_WAIT_MAX: Duration = Duration::from_secs(30);

/// Bytes read from a stream at once.
const READ_SIZE: usize = 16 * 1024;
/// Reads in a row before a notification that waits is posted, though the server sends on.
const READS_AT_ONCE: usize = 64;

/// The end of a stream before its response.
const EARLY_END: Failure = Failure::new(FailureSource::TransportClosed, Kind::UnexpectedEof);

/// Why a stream has ended without its response.
enum Broken {
    /// The connection is gone: perhaps the stream can be taken up again.
    Off(Failure),
    /// Nothing more can come of it.
    Failed(CallError),
}

impl From<TooLarge> for Broken {
    fn from(_: TooLarge) -> Self {
        Self::Failed(protocol(Kind::ResponseBodyTooLarge).into())
    }
}

impl From<NetError> for Broken {
    fn from(error: NetError) -> Self {
        match of_net(&error) {
            CallError::Failed(failure, _) if failure.source == FailureSource::TransportClosed => {
                Self::Off(failure)
            }
            other => Self::Failed(other),
        }
    }
}

/// A stream, and what has arrived of it that is not posted yet.
struct Stream<'a> {
    hop: &'a HttpHop,
    call: &'a Call<'a>,
    reply: Reply,
    parser: Parser,
    backlog: Backlog,
    /// Attempts to take it up again since an event last came.
    attempts: u32,
}

impl HttpHop {
    /// Reads events until the response, and hands each notification to `post`. A stream that
    /// breaks off is taken up again if the server gave its events ids (forwarding-39, mcp-37).
    pub(super) fn stream(
        &self,
        call: &Call<'_>,
        reply: Reply,
        post: &mut dyn FnMut(String) -> ControlFlow<()>,
    ) -> Result<String, CallError> {
        let parser = Parser::new(MESSAGE_MAX);
        let mut stream =
            Stream { hop: self, call, reply, parser, backlog: Backlog::new(), attempts: 0 };
        loop {
            let arrived = stream.take_in();
            while let Some(notification) = stream.backlog.pop() {
                if post(notification).is_break() {
                    return Err(CallError::Unwanted);
                }
                if matches!(arrived, Ok(None)) {
                    // More may have arrived meanwhile, and overtake what waits.
                    break;
                }
            }
            match arrived {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    self.open.replace(Some(stream.reply));
                    return Ok(answer);
                }
                Err(Broken::Off(failure)) => stream = stream.resume(failure)?,
                Err(Broken::Failed(error)) => return Err(error),
            }
        }
    }
}

impl Stream<'_> {
    /// Takes in what has arrived, and waits for more only if no notification is to be posted.
    /// `None` if the response is not among it.
    fn take_in(&mut self) -> Result<Option<String>, Broken> {
        let mut buf = [0; READ_SIZE];
        for _ in 0..READS_AT_ONCE {
            while !self.backlog.is_full() {
                let Some(data) = self.parser.next_event()? else { break };
                if let Some(answer) = self.event(data)? {
                    return Ok(Some(answer));
                }
            }
            if self.backlog.is_full() {
                return Ok(None);
            }
            match self.read(&mut buf)? {
                None => return Ok(None),
                Some(0) => {
                    let last = self.parser.finish()?.map(|data| self.event(data)).transpose()?;
                    return last.flatten().map(Some).ok_or(Broken::Off(EARLY_END));
                }
                Some(read) => self.parser.push(&buf[..read]),
            }
        }
        Ok(None)
    }

    /// Reads what has arrived, 0 bytes at the end. `None` if that is nothing and a notification
    /// is to be posted first.
    fn read(&mut self, buf: &mut [u8]) -> Result<Option<usize>, NetError> {
        match self.reply.read_arrived(buf)? {
            None if self.backlog.is_empty() => {
                let read = self.reply.read(buf).map(Some);
                self.backlog.caught_up();
                read
            }
            arrived => Ok(arrived),
        }
    }

    /// Handles the data of one event; gives the response if it is that.
    fn event(&mut self, data: String) -> Result<Option<String>, Broken> {
        self.attempts = 0;
        if data.is_empty() {
            return Ok(None);
        }
        let failed = |kind: Kind| Broken::Failed(protocol(kind).into());
        let message = Message::parse(data).map_err(|_| failed(Kind::InvalidProtocolResponse))?;
        match message.kind() {
            MessageKind::Notification { .. } => {
                let token = progress_token(&message);
                self.backlog.push(message.into_text(), token);
                Ok(None)
            }
            MessageKind::Request { id, method } => {
                self.hop.answer_server(self.call, id, method);
                Ok(None)
            }
            MessageKind::Response { .. } => {
                restored(self.call.id, message).map(Some).map_err(failed)
            }
        }
    }

    /// Asks for the rest of a stream that broke off (forwarding-39).
    fn resume(self, broken: Failure) -> Result<Self, CallError> {
        let Self { hop, call, reply, parser, mut attempts, .. } = self;
        let id = parser.last_id().filter(|_| call.era == Era::Legacy);
        let headers = id.and_then(|id| headers::for_resumption(&call.headers, id));
        let Some(headers) = headers else { return Err(broken.into()) };
        drop(reply);
        let limit = call.bounds.limit;
        while attempts < RESUMPTIONS_MAX {
            wait(resumption_wait(parser.retry_ms(), attempts), limit, &hop.switch())?;
            attempts += 1;
            match hop.send(Method::GET, headers.clone(), "", limit) {
                Ok(reply) if is_stream(&reply) => {
                    let (parser, backlog) = (parser.resumed(), Backlog::new());
                    return Ok(Self { hop, call, reply, parser, backlog, attempts });
                }
                // The server is there and has no such stream.
                Ok(reply) => {
                    reply.drain();
                    break;
                }
                Err(CallError::Failed(..)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(broken.into())
    }
}

fn is_stream(reply: &Reply) -> bool {
    reply.status.is_success() && Media::of(&headers::received(&reply.headers)) == Media::Events
}

/// The wait before an attempt to resume, after so many that brought nothing new: never shorter
/// than the server asks (mcp-36).
fn resumption_wait(retry_ms: Option<u64>, attempts: u32) -> Duration {
    let asked = retry_ms.map(Duration::from_millis);
    let grown = asked.unwrap_or(RESUMPTION_WAIT).mul_f64(1.5_f64.powi(attempts as i32));
    grown.min(RESUMPTION_WAIT_MAX).max(asked.unwrap_or_default())
}

fn wait(wait: Duration, limit: Instant, cancel: &Cancel) -> Result<(), CallError> {
    let until = Instant::now().checked_add(wait).filter(|until| *until < limit);
    let _ = cancel.channel().recv_deadline(until.unwrap_or(limit));
    match until {
        _ if cancel.is_cancelled() => Err(CallError::Cancelled),
        Some(_) => Ok(()),
        None => Err(CallError::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // forwarding-39, mcp-36
    fn waits_grow_and_are_never_shorter_than_the_server_asks() {
        let waits = |retry| [0, 1, 2, 20].map(|n| resumption_wait(retry, n).as_millis());
        assert_eq!(waits(None), [1000, 1500, 2250, 30_000]);
        assert_eq!(waits(Some(10)), [10, 15, 22, 30_000]);
        assert_eq!(waits(Some(60_000)), [60_000; 4]);
    }
}
