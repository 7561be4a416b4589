//! One message of an MCP client on its way through the relay: daemons put answers into its
//! mailbox, and the client's thread waits for them there.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::httpd::Probe;
use crate::unpoisoned::Unpoisoned;
use crate::wire::{ChannelName, Headers, ResponseType};

use super::budget::Reserved;
use super::ids::RequestKey;

/// Most notifications that wait for a slow client, and their bytes together (a larger notification
/// passes alone). There is always room for the final answer.
const NOTIFY_ITEMS: usize = 64;
const NOTIFY_BYTES: usize = 1024 * 1024;

/// How often a waiting thread checks whether its client has gone.
pub const CLIENT_CHECK: Duration = Duration::from_secs(1);

/// The kind of message that the client sent.
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
    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Notification => "notification",
            Self::Response => "response",
            Self::Termination => "termination",
        }
    }

    /// True if a final answer of this type fits.
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

/// A JSON value inside the response body that it arrived in, so that it is not copied.
#[derive(Debug)]
pub struct Piece {
    text: String,
    range: Range<usize>,
    _reserved: Reserved,
}

impl Piece {
    /// The value at `range` of a body, with the memory that the body takes from the budget.
    pub fn new(text: String, range: Range<usize>, reserved: Reserved) -> Self {
        Self { text, range, _reserved: reserved }
    }

    /// The value's text.
    pub fn json(&self) -> &str {
        &self.text[self.range.clone()]
    }
}

/// The final answer that a daemon posted.
#[derive(Debug)]
pub struct Answer {
    /// The type that it claims.
    pub resp_type: ResponseType,
    /// A status, unchecked.
    pub resp_code: i64,
    /// Headers, unfiltered.
    pub resp_headers: Headers,
    /// The JSON-RPC message, if there is one.
    pub resp_json: Option<Piece>,
}

/// Why a call ended without an answer of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The daemon's response could not be understood.
    Undecodable,
    /// The daemon's response was over the limit.
    TooLarge,
    /// The relay is shutting down; the command was never handed out.
    DrainedQueued,
    /// The relay is shutting down; the command may have been executed.
    DrainedHanded,
    /// The tunnel was deleted.
    Deleted,
    /// The client had gone when a daemon took the command or answered it.
    ClientGone,
}

/// An item in a call's mailbox.
#[derive(Debug)]
pub enum Item {
    /// A message before the answer.
    Notify(Piece),
    /// The answer.
    Answer(Box<Answer>),
    /// There will be no answer.
    Failed(Failure),
}

/// The outcome of pushing a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It will be sent, or the client does not want any.
    Accepted,
    /// The client did not take earlier ones in time.
    Full,
    /// The call has ended.
    Ended,
}

/// A call. The client's thread waits on it; the threads of daemons put items into it.
#[derive(Debug)]
pub struct Call {
    /// Its request id.
    pub id: RequestKey,
    /// The lane that it waits in.
    pub channel: ChannelName,
    /// True if the client wants messages before the answer.
    pub wants_notify: bool,
    /// True if it is one of the few long streams of its tunnel.
    pub is_stream: bool,
    /// Tells whether its client is still connected.
    pub probe: Probe,
    /// When it was queued.
    pub enqueued_at: Instant,
    /// The items for its thread.
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

    /// Notes when a daemon got the command; `None` if it did not get it after all.
    pub(super) fn set_handed(&self, at: Option<Instant>) {
        self.mailbox().handed_at = at;
    }

    /// When a daemon got the command, if one has it.
    pub fn handed_at(&self) -> Option<Instant> {
        self.mailbox().handed_at
    }

    /// Puts the last item in. Only the code that has just taken the call out of its tunnel may do
    /// this.
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
