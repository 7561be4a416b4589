//! One request of an MCP client on its way through the relay, seen from the thread that waits
//! for its answer.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::httpd::Probe;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{ChannelName, Headers, ResponseType};

use super::budget::Reserved;
use super::ids::RequestKey;

/// Most notifications that wait for a slow client, and their bytes together (one larger
/// notification passes alone). The final answer always has room.
const NOTIFY_ITEMS: usize = 64;
const NOTIFY_BYTES: usize = 1024 * 1024;

/// How often a waiting thread checks whether its client has gone.
pub const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// What the client asked for, as far as the answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A JSON-RPC request.
    Request,
    /// A JSON-RPC notification.
    Notification,
    /// A JSON-RPC response to a request of the server.
    Response,
    /// The end of a session.
    Termination,
}

impl Kind {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Termination => "termination",
        }
    }

    /// Whether a final answer of this type can answer it.
    pub fn fits(self, resp_type: ResponseType) -> bool {
        match self {
            Self::Request => resp_type == ResponseType::JsonRpcResponse,
            Self::Notification | Self::Response => {
                matches!(resp_type, ResponseType::NotifyAck | ResponseType::JsonRpcResponse)
            }
            Self::Termination => resp_type == ResponseType::SessionTermination,
        }
    }
}

/// A JSON value inside the response body that it came in, so that it need not be copied.
#[derive(Debug)]
pub struct Piece {
    text: String,
    range: Range<usize>,
    _reserved: Reserved,
}

impl Piece {
    /// The value at `range` of a body, with the body's share of the node's memory.
    pub fn new(text: String, range: Range<usize>, reserved: Reserved) -> Self {
        Self { text, range, _reserved: reserved }
    }

    /// The value's text.
    pub fn json(&self) -> &str {
        &self.text[self.range.clone()]
    }
}

/// What a daemon posted as the last word on a call.
#[derive(Debug)]
pub struct Answer {
    /// What it claims to be.
    pub resp_type: ResponseType,
    /// A status, unchecked.
    pub resp_code: i64,
    /// Headers, unfiltered.
    pub resp_headers: Headers,
    /// The JSON-RPC message, if there is one.
    pub resp_json: Option<Piece>,
}

/// Why the relay itself had the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The daemon's response could not be understood.
    Undecodable,
    /// The daemon's response was over the limit.
    TooLarge,
    /// The relay shuts down; the command was never handed out.
    DrainedQueued,
    /// The relay shuts down; the command may have been executed.
    DrainedHanded,
    /// The tunnel was deleted.
    Deleted,
    /// The client had gone when a daemon wanted to take the command or to answer it.
    ClientGone,
}

/// What the waiting thread takes out of its box.
#[derive(Debug)]
pub enum Item {
    /// A message before the answer.
    Notify(Piece),
    /// The answer.
    Answer(Box<Answer>),
    /// There will be none.
    Failed(Failure),
}

/// How the push of a notification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It will be sent, or nobody wants it.
    Accepted,
    /// The client did not take earlier ones in time.
    Full,
    /// The call has ended.
    Ended,
}

/// A call in the relay's books. Its thread waits on it; a daemon's threads put into it.
#[derive(Debug)]
pub struct Call {
    /// Its name in the tunnel.
    pub id: RequestKey,
    /// The lane that it waits in.
    pub channel: ChannelName,
    /// Whether the client wants messages before the answer.
    pub wants_notify: bool,
    /// Whether it is one of the few long streams of its tunnel.
    pub is_stream: bool,
    /// Asks whether its client is still there.
    pub probe: Probe,
    /// When it was queued.
    pub enqueued_at: Instant,
    /// The box that its thread waits at.
    mailbox: Mutex<Mailbox>,
    arrived: Condvar,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Mailbox {
    items: VecDeque<Item>,
    notify_bytes: usize,
    ended: bool,
    handed_at: Option<Instant>,
}

impl Call {
    /// A call that is about to be queued.
    pub fn new(
        id: RequestKey,
        channel: ChannelName,
        wants_notify: bool,
        is_stream: bool,
        probe: Probe,
    ) -> Self {
        Self {
            id,
            channel,
            wants_notify,
            is_stream,
            probe,
            enqueued_at: Instant::now(),
            mailbox: Mutex::default(),
            arrived: Condvar::new(),
            taken: Condvar::new(),
        }
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unpoisoned()
    }

    /// Notes that a daemon gets the command now, or that it did not after all.
    pub(super) fn set_handed(&self, at: Option<Instant>) {
        self.mailbox().handed_at = at;
    }

    /// When a daemon got the command.
    pub fn handed_at(&self) -> Option<Instant> {
        self.mailbox().handed_at
    }

    /// Puts the last item in. Only who has just taken the call out of the tunnel's books may.
    pub(super) fn end(&self, item: Item) {
        let mut mailbox = self.mailbox();
        mailbox.ended = true;
        mailbox.items.push_back(item);
        drop(mailbox);
        self.arrived.notify_one();
        self.taken.notify_all();
    }

    /// Puts a notification in, waiting up to `patience` for room.
    pub fn push_notify(&self, message: Piece, patience: Duration) -> Pushed {
        let size = message.json().len();
        let full = |m: &mut Mailbox| {
            let busy = m.items.len() >= NOTIFY_ITEMS || m.notify_bytes + size > NOTIFY_BYTES;
            !m.ended && !m.items.is_empty() && busy
        };
        let waited = self.taken.wait_timeout_while(self.mailbox(), patience, full);
        let (mut mailbox, timeout) = waited.unpoisoned();
        if mailbox.ended {
            return Pushed::Ended;
        }
        if timeout.timed_out() {
            return Pushed::Full;
        }
        if self.wants_notify {
            mailbox.notify_bytes += size;
            mailbox.items.push_back(Item::Notify(message));
            drop(mailbox);
            self.arrived.notify_one();
        }
        Pushed::Accepted
    }

    /// Waits for the next item until `until`.
    pub fn next(&self, until: Instant) -> Option<Item> {
        let time = until.saturating_duration_since(Instant::now());
        let empty = |m: &mut Mailbox| m.items.is_empty();
        let waited = self.arrived.wait_timeout_while(self.mailbox(), time, empty);
        let mut mailbox = waited.unpoisoned().0;
        let item = mailbox.items.pop_front()?;
        if let Item::Notify(message) = &item {
            mailbox.notify_bytes -= message.json().len();
            drop(mailbox);
            self.taken.notify_one();
        }
        Some(item)
    }
}
