//! The calls that wait for their answers, so that a cancel of the same session can end one.

use std::sync::{Mutex, MutexGuard};

use crate::net::Cancel;
use crate::unpoisoned::Unpoisoned;
use crate::wire::RpcId;

/// The calls of one server that can be cancelled, at most one of each worker.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<Call>>);

struct Call {
    session: String,
    id: RpcId,
    cancel: Cancel,
}

impl Calls {
    /// A call begins; `cancel` ends its wait and nothing else.
    pub fn begin(&self, session: &str, id: &RpcId, cancel: &Cancel) {
        let (session, id, cancel) = (session.to_owned(), id.clone(), cancel.clone());
        self.lock().push(Call { session, id, cancel });
    }

    /// The call that began with `cancel` is over.
    pub fn end(&self, cancel: &Cancel) {
        self.lock().retain(|call| !call.cancel.is(cancel));
    }

    /// Ends the wait for an answer that its session has cancelled.
    pub fn cancel(&self, session: &str, id: &RpcId) {
        let calls = self.lock();
        if let Some(call) = calls.iter().find(|c| c.session == session && c.id.same_as(id)) {
            call.cancel.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unpoisoned()
    }
}
