//! The answer that comes as a stream of events: notifications in order, then the response
//! (F-21, F-38, F-39).

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ureq::http::Method;

use super::{Exchange, HttpHop, media_type, restored};
use crate::mcp::backlog::{Backlog, progress_token};
use crate::mcp::classify::{of_net, protocol};
use crate::mcp::headers;
use crate::mcp::sse::{Event, Parser, TooLarge};
use crate::mcp::{Answer, CallError};
use crate::net::{Cancel, Reply};
use crate::wire::{
    Failure, FailureKind as Kind, FailureSource, Headers, MESSAGE_MAX, Message, MessageKind,
};

/// Attempts in a row to take up a broken stream that bring nothing new (F-39).
const RESUMPTIONS_MAX: u32 = 5;
/// The wait before the first of them, if the server asks for none; each next one is half as
/// long again (F-39).
const RESUMPTION_WAIT: Duration = Duration::from_secs(1);
/// The longest of these waits that is not asked for by the server.
const RESUMPTION_WAIT_MAX: Duration = Duration::from_secs(30);

/// Bytes read from a stream at once.
const READ_SIZE: usize = 16 * 1024;
/// Reads in a row before a notification that waits is posted, though the server sends on.
const READS_AT_ONCE: usize = 64;

/// How a stream ended.
enum End {
    /// With the response.
    Answer(String),
    /// Before the response; it can perhaps be taken up again.
    Broken(Failure),
    /// With something that is no MCP, or at a limit.
    Failed(CallError),
}

/// One stream: what has arrived of it, and what is to be posted.
struct Source {
    reply: Reply,
    parser: Parser,
    backlog: Backlog,
    /// Something new has come since the stream was opened or taken up again.
    progressed: bool,
}

impl Source {
    fn new(reply: Reply, parser: Parser) -> Self {
        Self { reply, parser, backlog: Backlog::new(), progressed: false }
    }
}

impl HttpHop {
    /// Reads events until the response. A stream that breaks off is taken up again if the server
    /// gave its events ids (F-39, M-37).
    pub(super) fn stream(
        &self,
        exchange: &Exchange<'_>,
        status: u16,
        received: &Headers,
        reply: Reply,
        on_notification: &mut dyn FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<Answer, CallError> {
        let answer = |json| Answer { status, headers: received.clone(), json };
        let mut source = Source::new(reply, Parser::new(MESSAGE_MAX));
        let mut attempts = 0;
        loop {
            let end = loop {
                let end = self.take_in(exchange, &mut source);
                while let Some(json) = source.backlog.pop() {
                    if on_notification(answer(json)).is_break() {
                        return Err(CallError::Unwanted);
                    }
                    if end.is_none() {
                        // More may have arrived meanwhile, and overtake what waits.
                        break;
                    }
                }
                if let Some(end) = end {
                    break end;
                }
            };
            match end {
                End::Answer(json) => {
                    self.open.replace(Some(source.reply));
                    return Ok(answer(json));
                }
                End::Failed(error) => return Err(error),
                End::Broken(failure) => {
                    if source.progressed {
                        attempts = 0;
                    }
                    source = self.resume(exchange, source, failure, &mut attempts)?;
                }
            }
        }
    }

    /// Takes in what has arrived, and waits for more only if no notification is to be posted.
    /// `None` while the stream goes on.
    fn take_in(&self, exchange: &Exchange<'_>, source: &mut Source) -> Option<End> {
        let mut buf = [0; READ_SIZE];
        for _ in 0..READS_AT_ONCE {
            while !source.backlog.is_full() {
                match source.parser.next_event() {
                    Ok(Some(event)) => {
                        if let Some(end) = self.event(exchange, source, event) {
                            return Some(end);
                        }
                    }
                    Ok(None) => break,
                    Err(TooLarge) => return Some(too_large()),
                }
            }
            if source.backlog.is_full() {
                return None;
            }
            let read = match source.reply.read_arrived(&mut buf) {
                Ok(None) if source.backlog.is_empty() => {
                    let read = source.reply.read(&mut buf).map(Some);
                    source.backlog.caught_up();
                    read
                }
                read => read,
            };
            match read {
                Ok(None) => return None,
                Ok(Some(0)) => {
                    let end = match source.parser.finish() {
                        Ok(last) => last.and_then(|event| self.event(exchange, source, event)),
                        Err(TooLarge) => Some(too_large()),
                    };
                    let eof = Failure::new(FailureSource::TransportClosed, Kind::UnexpectedEof);
                    return end.or(Some(End::Broken(eof)));
                }
                Ok(Some(read)) => source.parser.push(&buf[..read]),
                Err(error) => {
                    return Some(match of_net(&error) {
                        CallError::Failed(failure, _)
                            if failure.source == FailureSource::TransportClosed =>
                        {
                            End::Broken(failure)
                        }
                        other => End::Failed(other),
                    });
                }
            }
        }
        None
    }

    /// Handles one event; the end of the stream if it is that.
    fn event(&self, exchange: &Exchange<'_>, source: &mut Source, event: Event) -> Option<End> {
        source.progressed = true;
        if event.foreign || event.data.is_empty() {
            return None;
        }
        let Ok(message) = Message::parse(event.data) else {
            return Some(End::Failed(protocol(Kind::InvalidProtocolResponse).into()));
        };
        match message.kind() {
            MessageKind::Notification { .. } => {
                let token = progress_token(&message);
                source.backlog.push(message.into_text(), token);
                None
            }
            MessageKind::Request { id, method } => {
                self.answer_server(exchange, id, method);
                None
            }
            MessageKind::Response { .. } => Some(match restored(exchange.id, message) {
                Ok(json) => End::Answer(json),
                Err(failure) => End::Failed(failure.into()),
            }),
        }
    }

    /// Asks for the rest of a stream that broke off. `attempts` counts those that brought
    /// nothing new.
    fn resume(
        &self,
        exchange: &Exchange<'_>,
        source: Source,
        broken: Failure,
        attempts: &mut u32,
    ) -> Result<Source, CallError> {
        let last_id = source.parser.last_id().filter(|_| !exchange.modern).map(str::to_owned);
        let headers =
            last_id.as_deref().and_then(|id| headers::for_resumption(&exchange.headers, id));
        let Some(headers) = headers else { return Err(broken.into()) };
        let retry_ms = source.parser.retry_ms();
        drop(source);
        while *attempts < RESUMPTIONS_MAX {
            wait(resumption_wait(retry_ms, *attempts), exchange.bounds.limit, &self.switch())?;
            *attempts += 1;
            let limit = exchange.bounds.limit;
            match self.send(Method::GET, headers.clone(), None, limit) {
                Ok(reply) if is_stream(&reply) => {
                    let parser = Parser::resumed(MESSAGE_MAX, last_id, retry_ms);
                    return Ok(Source::new(reply, parser));
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

fn too_large() -> End {
    End::Failed(protocol(Kind::ResponseBodyTooLarge).into())
}

fn is_stream(reply: &Reply) -> bool {
    reply.status.is_success()
        && media_type(&headers::received(&reply.headers)) == "text/event-stream"
}

/// The wait before an attempt to resume, after so many that brought nothing new: never shorter
/// than the server asks (M-36).
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

    #[test] // F-39, M-36
    fn waits_grow_and_are_never_shorter_than_the_server_asks() {
        let waits = |retry| [0, 1, 2, 20].map(|n| resumption_wait(retry, n).as_millis());
        assert_eq!(waits(None), [1000, 1500, 2250, 30_000]);
        assert_eq!(waits(Some(10)), [10, 15, 22, 30_000]);
        assert_eq!(waits(Some(60_000)), [60_000; 4]);
    }
}
