//! The open calls of one child process, and the search for the call that a message of the child
//! belongs to.
//!
//! The table belongs to one process and ends with it, so no message of an old process can reach a
//! call of the next one (mcp-26).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::mailbox::Mailbox;
use super::rewrite::Names;
use crate::wire::RpcId;

/// How long a message that names no call may still belong to a call that was given up: a child may
/// take a moment to act on a cancel.
const LINGER: Duration = Duration::from_secs(30);

/// The maximum number of given-up calls that are kept.
const LINGER_MAX: usize = 1024;

/// One request of a remote client that the child has not answered.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The remote client's session, if it has one.
    pub session: Option<String>,
    /// The client's own id.
    pub id: RpcId,
    /// The client's own progress token, as JSON text.
    pub token: Option<String>,
    /// The kind of the request.
    pub kind: CallKind,
    /// True if it carries the metadata of MCP 2026-07-28 and later.
    pub modern: bool,
    /// The mailbox in which its worker waits.
    pub mailbox: Arc<Mailbox>,
}

/// The kinds of request that are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    /// `initialize`, which is never cancelled.
    Initialize,
    /// `subscriptions/listen`, whose id comes back as a value.
    Listen,
    /// A request for a task, which is not cancelled like other requests (mcp-21).
    Task,
    /// All others.
    Plain,
}

impl CallKind {
    /// The kind of a request with this method, which may ask for a `task`.
    pub fn of(method: &str, task: bool) -> Self {
        match method {
            "initialize" => Self::Initialize,
            "subscriptions/listen" => Self::Listen,
            _ if task => Self::Task,
            _ => Self::Plain,
        }
    }
}

/// The reason why a notification of the child reaches no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// It names a call that is over, or never was.
    Stranger,
    /// It names no call, and more or fewer than one call is open (stdio-209, mcp-64).
    Unattributable,
}

/// The open and the recently given-up calls, by the id that the child knows.
#[derive(Debug, Default)]
pub(super) struct Calls {
    open: BTreeMap<u64, Call>,
    lingering: BTreeMap<u64, Instant>,
}

impl Calls {
    pub fn add(&mut self, number: u64, call: Call) {
        self.open.insert(number, call);
    }

    /// Removes a call because it is answered.
    pub fn answer(&mut self, number: u64) -> Option<Call> {
        self.lingering.remove(&number);
        self.open.remove(&number)
    }

    /// Removes a call because its worker gave up; the child may still work on it.
    pub fn give_up(&mut self, number: u64, now: Instant) -> Option<Call> {
        let call = self.open.remove(&number)?;
        if self.lingering.len() >= LINGER_MAX {
            self.lingering.pop_first();
        }
        self.lingering.insert(number, now);
        Some(call)
    }

    /// True if no call is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Removes and returns all calls because the child is gone.
    pub fn take_all(&mut self) -> BTreeMap<u64, Call> {
        std::mem::take(&mut self.open)
    }

    /// The call that a remote `notifications/cancelled` names. Without a session, any client may
    /// have used the id. It then means a call of the older protocol, and only if no other call has
    /// this id (mcp-70).
    pub fn named_by_client(&self, session: Option<&str>, id: &RpcId) -> Option<(u64, &Call)> {
        let mut found = self.open.iter().filter(|(_, call)| {
            call.session.as_deref() == session
                && call.id.same_as(id)
                && (session.is_some() || !call.modern)
        });
        let (number, call) = found.next()?;
        found.next().is_none().then_some((*number, call))
    }

    /// The call that a notification of the child belongs to.
    pub fn addressee(&mut self, names: Names, now: Instant) -> Result<&Call, Dropped> {
        let open = &self.open;
        let listen = |number: u64| open.get(&number).filter(|call| call.kind == CallKind::Listen);
        match names {
            Names::Token(number) => open.get(&number).filter(|call| call.token.is_some()),
            Names::Subscription(number) => listen(number),
            // A server may only announce the end of a subscription. Any other id belongs to a
            // request of the server itself, which was refused long ago.
            Names::End(number) => listen(number),
            Names::Stranger => None,
            Names::Nobody => {
                self.lingering.retain(|_, since| now.duration_since(*since) < LINGER);
                let mut calls = open.values();
                return match (calls.next(), calls.next(), self.lingering.is_empty()) {
                    (Some(only), None, true) => Ok(only),
                    _ => Err(Dropped::Unattributable),
                };
            }
        }
        .ok_or(Dropped::Stranger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(session: Option<&str>, id: &str, kind: CallKind) -> Call {
        Call {
            session: session.map(str::to_owned),
            id: RpcId::from_json(id).unwrap(),
            token: Some(id.to_owned()),
            kind,
            modern: false,
            mailbox: Arc::new(Mailbox::of_request()),
        }
    }

    fn id(json: &str) -> RpcId {
        RpcId::from_json(json).unwrap()
    }

    #[test] // mcp-63
    fn progress_goes_to_the_call_of_its_token() {
        let mut calls = Calls::default();
        calls.add(7, call(Some("a"), "1", CallKind::Plain));
        calls.add(8, call(Some("b"), "1", CallKind::Plain));
        let now = Instant::now();
        let owner = calls.addressee(Names::Token(8), now).unwrap();
        assert_eq!(owner.session.as_deref(), Some("b"));
        assert_eq!(calls.addressee(Names::Token(9), now).unwrap_err(), Dropped::Stranger);
        calls.answer(8);
        assert_eq!(calls.addressee(Names::Token(8), now).unwrap_err(), Dropped::Stranger);
    }

    #[test] // stdio-209, mcp-64
    fn a_message_without_an_address_goes_to_the_only_call_or_to_nobody() {
        let mut calls = Calls::default();
        let now = Instant::now();
        let nobody = Dropped::Unattributable;
        assert_eq!(calls.addressee(Names::Nobody, now).unwrap_err(), nobody);
        calls.add(1, call(None, "1", CallKind::Plain));
        assert!(calls.addressee(Names::Nobody, now).is_ok());
        calls.add(2, call(None, "2", CallKind::Plain));
        assert_eq!(calls.addressee(Names::Nobody, now).unwrap_err(), nobody);
        calls.give_up(2, now);
        assert_eq!(calls.addressee(Names::Nobody, now).unwrap_err(), nobody, "may be its own");
        assert!(calls.addressee(Names::Nobody, now + LINGER).is_ok());
        calls.add(3, call(None, "3", CallKind::Plain));
        calls.give_up(3, now);
        calls.answer(3);
        assert!(calls.addressee(Names::Nobody, now).is_ok(), "answered after all");
    }

    #[test] // mcp-23
    fn only_a_subscription_is_named_by_its_id() {
        let mut calls = Calls::default();
        let now = Instant::now();
        calls.add(1, call(None, "1", CallKind::Listen));
        calls.add(2, call(None, "2", CallKind::Plain));
        for names in [Names::Subscription(1), Names::End(1)] {
            assert!(calls.addressee(names, now).is_ok());
        }
        for names in [Names::Subscription(2), Names::End(2), Names::Stranger] {
            assert_eq!(calls.addressee(names, now).unwrap_err(), Dropped::Stranger);
        }
    }

    #[test] // stdio-202, mcp-64, mcp-70
    fn a_cancel_finds_the_call_of_its_own_session_only() {
        let mut calls = Calls::default();
        calls.add(1, call(Some("a"), "1", CallKind::Plain));
        calls.add(2, call(Some("b"), "1", CallKind::Plain));
        calls.add(3, call(None, "5", CallKind::Plain));
        let found = |calls: &Calls, session, text| {
            calls.named_by_client(session, &id(text)).map(|(number, _)| number)
        };
        assert_eq!(found(&calls, Some("b"), "1"), Some(2));
        assert_eq!(found(&calls, Some("b"), "\"1\""), None);
        assert_eq!(found(&calls, Some("c"), "1"), None);
        assert_eq!(found(&calls, None, "1"), None);
        assert_eq!(found(&calls, None, "5"), Some(3));
        calls.add(4, call(None, "5", CallKind::Plain));
        assert_eq!(found(&calls, None, "5"), None, "two clients, nothing tells them apart");
        calls.answer(4);
        calls.add(3, Call { modern: true, ..call(None, "5", CallKind::Plain) });
        assert_eq!(found(&calls, None, "5"), None);
    }

    #[test]
    fn given_up_calls_are_remembered_within_bounds() {
        let mut calls = Calls::default();
        let now = Instant::now();
        for number in 0..2 * LINGER_MAX as u64 {
            calls.add(number, call(None, "1", CallKind::Plain));
            calls.give_up(number, now);
        }
        assert_eq!(calls.lingering.len(), LINGER_MAX);
    }
}
