//! Reads the child's standard output and delivers each line to its call. The reader is a thread of
//! its own and never waits for a worker.

use std::os::fd::OwnedFd;
use std::time::Instant;

use log::{debug, warn};

use super::calls::{CallKind, Dropped};
use super::lines::{Line, Lines};
use super::mailbox::Outcome;
use super::pipe;
use super::rewrite::{self, Incoming, Names};
use super::shared::Shared;
use super::state::Initialize;
use super::throttle::{Throttle, printable};
use crate::net::Cancel;
use crate::record_kind::RecordKind;
use crate::wire::json::{self, Members};
use crate::wire::{Failure, FailureKind, FailureSource, MessageKind, RpcId, jsonrpc};

/// The number of stray lines that are logged in one minute.
const STRAY_PER_MINUTE: u32 = 10;

/// How much of a stray line is logged, in bytes.
const STRAY_SHOWN: usize = 80;

/// How much of a method name that the child chose is logged, in bytes.
const METHOD_SHOWN: usize = 64;

/// An answer over the limit (forwarding-219).
const TOO_LARGE: Failure = Failure::new(FailureSource::Protocol, FailureKind::ResponseBodyTooLarge);

/// An answer that has neither a result nor an error.
const NO_ANSWER: Failure =
    Failure::new(FailureSource::Protocol, FailureKind::InvalidProtocolResponse);

/// The thread on the child's standard output: only the pipe ever blocks it.
pub(super) fn run(shared: &Shared, pipe: &OwnedFd, gone: &Cancel) {
    let mut reader = Reader { shared, strays: Throttle::new(STRAY_PER_MINUTE) };
    let mut lines = Lines::new(shared.config.limits.line);
    pipe::read(pipe, gone, |bytes| lines.push(bytes, &mut |line| reader.line(line)));
    lines.end(&mut |line| reader.line(line));
    if !gone.is_cancelled() {
        // No more answers can come.
        shared.end_child("child closed its standard output", shared.config.limits.closed_wait);
        shared.lose_calls();
    }
}

struct Reader<'a> {
    shared: &'a Shared,
    strays: Throttle,
}

impl Reader<'_> {
    /// Handles one line. No line ends the channel (mcp-15).
    pub fn line(&mut self, line: Line<'_>) {
        match line {
            Line::TooLong { number } => self.too_long(number),
            // Blank lines are skipped (stdio-68).
            Line::Text(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {}
            Line::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.text(text, bytes),
                Err(_) => self.stray(bytes, "it is not UTF-8"),
            },
        }
    }

    fn text(&mut self, text: &str, bytes: &[u8]) {
        if !text.trim_start().starts_with('[') {
            return self.message(text, bytes);
        }
        // A batch is taken apart, in order (forwarding-32).
        match json::elements(text) {
            Ok(elements) if !elements.is_empty() => {
                for element in elements {
                    self.message(element.get(), bytes);
                }
            }
            _ => self.stray(bytes, "it is no batch of messages"),
        }
    }

    fn message(&mut self, text: &str, line: &[u8]) {
        let (kind, root) = match MessageKind::read(text) {
            Ok(read) => read,
            Err(error) => return self.stray(line, &error.to_string()),
        };
        match kind {
            MessageKind::Response { id, error_code } => self.response(&root, id, error_code),
            MessageKind::Notification { method } => self.notification(&method, &root),
            MessageKind::Request { id, method } => self.request(&id, &method),
        }
    }

    fn stray(&mut self, line: &[u8], why: &str) {
        self.shared.stats.stray_lines.inc();
        let Some(held_back) = self.strays.admit(Instant::now()) else { return };
        // A line that looks like a message may hold a payload, and payloads are not logged.
        let shown = match line.trim_ascii_start().first() {
            Some(b'{' | b'[') => format!("{} bytes", line.len()),
            _ => format!("`{}`", printable(line, STRAY_SHOWN)),
        };
        warn!(
            target: RecordKind::ChildEvent.target(),
            channel:% = self.shared.config.channel,
            not_logged = held_back;
            "skipped a line on the child's standard output that is no MCP message ({why}): {shown}"
        );
    }

    fn too_long(&mut self, number: Option<u64>) {
        let shared = self.shared;
        shared.stats.oversized_lines.inc();
        if let Some(held_back) = self.strays.admit(Instant::now()) {
            warn!(
                target: RecordKind::ChildEvent.target(),
                channel:% = shared.config.channel,
                limit = shared.config.limits.line,
                not_logged = held_back;
                "skipped a line on the child's standard output that is over the limit"
            );
        }
        let call = {
            let mut state = shared.lock();
            let Some(live) = &mut state.live else { return };
            live.heard(shared.config.limits.discover, Instant::now());
            let Some(number) = number else { return };
            let pending = live.is_initialize(number);
            let call = live.calls.answer(number);
            if pending {
                state.initialized("", false);
            }
            call
        };
        if let Some(call) = call {
            call.mailbox.finish(Outcome::Lost(TOO_LARGE));
        }
    }

    fn response(&mut self, root: &Members<'_>, id: Option<RpcId>, error_code: Option<i64>) {
        let shared = self.shared;
        let number = id.and_then(|id| rewrite::number(id.as_json()));
        let mut initialize = None;
        let call = {
            let mut state = shared.lock();
            let Some(live) = &mut state.live else { return };
            if live.heard(shared.config.limits.discover, Instant::now()) {
                shared.look();
            }
            if number.is_some() && live.era.probe == number {
                state.settle_era(rewrite::discover_answer_is_modern(root, error_code));
                return;
            }
            let call = number.and_then(|number| live.calls.answer(number));
            if number.is_some_and(|number| live.is_initialize(number)) {
                initialize = Some(state.initialized(root.text(), rewrite::has_result(root)));
            } else if call.is_none() {
                // The call was given up or never made (mcp-11).
                shared.stats.late_responses.inc();
                debug!(channel:% = shared.config.channel; "dropped a response that nobody waits for");
                return;
            }
            call
        };
        if initialize.is_some() {
            shared.pump();
        }
        if initialize == Some(Initialize::ReplayRefused) {
            warn!(
                target: RecordKind::ChildEvent.target(),
                channel:% = shared.config.channel;
                "the restarted child refused the `initialize` that its clients rely on; they have \
                 to begin again"
            );
        }
        // Outside the lock, since the text may be long.
        if let Some(call) = call {
            let restored = rewrite::restore_response(root, &call.id, call.kind == CallKind::Listen);
            call.mailbox.finish(match restored {
                Some(json) => Outcome::Answer { json, error_code },
                None => Outcome::Lost(NO_ANSWER),
            });
        }
    }

    fn notification(&mut self, method: &str, root: &Members<'_>) {
        let shared = self.shared;
        let incoming = Incoming::of(method, root);
        let now = Instant::now();
        let call = {
            let mut state = shared.lock();
            let Some(live) = &mut state.live else { return };
            live.calls.addressee(incoming.names, now).cloned()
        };
        match call {
            Ok(call) => {
                let restored = incoming.restored(&call.id, call.token.as_deref());
                let progress = call.token.filter(|_| matches!(incoming.names, Names::Token(_)));
                let dropped = call.mailbox.note(restored, progress);
                shared.stats.dropped_overflow.add(dropped);
                if matches!(incoming.names, Names::End(_)) {
                    // The closing result may or may not follow: the pages of MCP disagree.
                    call.mailbox.withdraw(now + shared.config.limits.withdrawn);
                }
            }
            Err(Dropped::Stranger) => shared.stats.dropped_stranger.inc(),
            Err(Dropped::Unattributable) => shared.stats.dropped_unattributable.inc(),
        }
    }

    /// A request of an older server. The tunnel protocol has no way to ask a remote client, so it
    /// is answered here, and the call that may have caused it goes on (forwarding-203, mcp-10).
    fn request(&mut self, id: &RpcId, method: &str) {
        let shared = self.shared;
        shared.stats.server_requests.inc();
        let method = printable(method.as_bytes(), METHOD_SHOWN);
        let channel = &shared.config.channel;
        debug!(channel:%, method:%; "answered a request of the child");
        let answer = jsonrpc::answer_to_server(id, &method);
        let stdin = match &shared.lock().live {
            Some(live) if !live.takes_no_response() => live.stdin.clone(),
            _ => return,
        };
        shared.send_urgent(&stdin, rewrite::line(&answer));
    }
}
