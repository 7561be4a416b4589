//! The books of the control plane: which commands were handed out, and what came back for them.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::support::{Posted, Request};

/// A command with a longer time limit than this, or none, is answered in every case.
pub const STRICT: Duration = Duration::from_secs(60);

/// How much later than its deadline a command may still be on its way, by our clock.
const SLACK: Duration = Duration::from_secs(2);

/// Refusals of one final answer that its sender must survive: it has three attempts (wire-69).
const REFUSALS: u8 = 2;

/// What a command asks for, and what its answer must hold.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A request with this id; a result of it must contain `echo`.
    Call {
        id: String,
        echo: Option<String>,
    },
    /// A notification, or an answer of the remote client.
    Receipt,
    /// A notification for a channel that is not served.
    Misdirected,
    Termination,
    Discovery,
}

/// A command as it is handed out.
#[derive(Clone, Debug)]
pub struct Issued {
    pub request_id: String,
    pub channel: String,
    pub kind: Kind,
    pub timeout: Option<Duration>,
    /// Its text in the poll answer.
    pub text: String,
}

struct Open {
    issued: Issued,
    handed_at: Instant,
    /// The first final answer.
    answer: Option<Vec<u8>>,
    refused: u8,
}

/// What the control plane says to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// It is not: the sender may try again.
    Refused,
    /// It was never seen: as taken, for the sender.
    Gone,
    /// It can not be taken, now or later.
    Failed,
}

#[derive(Default)]
pub struct Books {
    open: HashMap<String, Open>,
    settled: HashSet<String>,
    pub handed_out: u64,
    pub malformed: u64,
    pub answered: u64,
    pub notified: u64,
    pub gone: u64,
    pub failed: u64,
    pub retried: u64,
    /// What must not happen, in words.
    pub wrong: Vec<String>,
}

#[derive(Default)]
pub struct Ledger(Mutex<Books>);

impl Ledger {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub fn hand_out(&self, issued: Issued) {
        let mut books = self.books();
        books.handed_out += 1;
        let handed_at = Instant::now();
        let open = Open { handed_at, answer: None, refused: 0, issued };
        books.open.insert(open.issued.request_id.clone(), open);
    }

    /// Takes a response in. `wish` is what the control plane would like to say to it.
    pub fn take(&self, request: Request, wish: Verdict) -> Verdict {
        let posted = Posted(request);
        let id = posted.request_id();
        let is_final = posted.resp_type() != "jsonrpc_notify";
        let books = &mut *self.books();
        let Some(open) = books.open.get_mut(&id) else {
            let known = books.settled.contains(&id);
            let what = if known { "was answered before" } else { "was never handed out" };
            books.wrong.push(format!("{id} {what}, and got: {posted:?}"));
            return Verdict::Gone;
        };
        if let Err(why) = check(&open.issued, &posted) {
            books.wrong.push(format!("{id}: {why}: {:?} got {posted:?}", open.issued));
        }
        if !is_final {
            if open.answer.is_some() {
                books.wrong.push(format!("{id}: a notification after the answer"));
            }
            books.notified += 1;
            // Said of a notification, it would forbid the answer too.
            return if wish == Verdict::Gone { Verdict::Taken } else { wish };
        }
        match &open.answer {
            None => {
                books.answered += 1;
                open.answer = Some(posted.0.body);
            }
            Some(first) if *first == posted.0.body => books.retried += 1,
            Some(_) => books.wrong.push(format!("{id}: another answer than before: {posted:?}")),
        }
        let verdict = match wish {
            Verdict::Refused if open.refused < REFUSALS => {
                open.refused += 1;
                return Verdict::Refused;
            }
            // Whether the sender hears of these must not hang on a deadline.
            Verdict::Gone | Verdict::Failed if is_strict(&open.issued) => wish,
            _ => Verdict::Taken,
        };
        books.gone += u64::from(verdict == Verdict::Gone);
        books.failed += u64::from(verdict == Verdict::Failed);
        books.open.remove(&id);
        books.settled.insert(id);
        verdict
    }

    /// Commands that may still be worked on.
    pub fn in_work(&self) -> usize {
        let may = |open: &&Open| {
            open.answer.is_none()
                && open.issued.timeout.is_none_or(|t| open.handed_at.elapsed() < t + SLACK)
        };
        self.books().open.values().filter(may).count()
    }

    /// Commands without an answer although nothing forbids one.
    pub fn lost(&self) -> Vec<String> {
        let lost = |open: &&Open| open.answer.is_none() && is_strict(&open.issued);
        self.books().open.values().filter(lost).map(|open| open.issued.text.clone()).collect()
    }
}

fn is_strict(issued: &Issued) -> bool {
    issued.timeout.is_none_or(|timeout| timeout > STRICT)
}

/// Whether a response is one that this command may get.
fn check(issued: &Issued, posted: &Posted) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        result: Option<serde::de::IgnoredAny>,
        method: Option<String>,
        params: Option<Params>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        progress_token: Option<String>,
    }
    let body = posted.json();
    if posted.shard_token() != Some(&format!("shard-of-{}", issued.request_id)) {
        return Err("not the shard token of the command".into());
    }
    if body["channel"] != issued.channel.as_str() {
        return Err("not the channel of the command".into());
    }
    let expected = match (&issued.kind, posted.resp_type().as_str()) {
        (Kind::Call { .. }, "jsonrpc_notify") => "jsonrpc_notify",
        (Kind::Call { .. } | Kind::Misdirected, _) => "jsonrpc_response",
        (Kind::Receipt, _) => "notify_ack",
        (Kind::Termination, _) => "session_termination_response",
        (Kind::Discovery, _) => "oauth_discovery_response",
    };
    if posted.resp_type() != expected {
        return Err(format!("not a {expected}"));
    }
    let Kind::Call { id, echo } = &issued.kind else { return Ok(()) };
    let text = posted.resp_json();
    let message: Message = serde_json::from_str(&text).map_err(|e| format!("no message: {e}"))?;
    if expected == "jsonrpc_notify" {
        let token = message.params.and_then(|params| params.progress_token);
        return match token {
            Some(token) if token != issued.request_id => Err("the progress of another".into()),
            _ if message.method.is_none() => Err("not a notification".into()),
            _ => Ok(()),
        };
    }
    if message.id.map(RawValue::get) != Some(id) {
        return Err(format!("not the id {id}"));
    }
    match echo {
        Some(echo) if message.result.is_some() && !text.contains(echo.as_str()) => {
            Err("the result of another".into())
        }
        _ => Ok(()),
    }
}
