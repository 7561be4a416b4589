//! The stub over stdin and stdout: one message a line.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::Sender;

use super::answer::{self, Answer, Identity};
use super::server::{self, MESSAGE_MAX, Outcome};
use super::tools::SlowCall;
use crate::unpoisoned::Unpoisoned;
use crate::wire::message::{Message, NotAMessage, RpcId};
use crate::wire::{Era, jsonrpc};

/// Most calls of `slow` at once, each on a thread of its own. All else is answered at once.
const SLOW_MAX: usize = 256;

/// Stack of such a thread, which only waits and prints.
const STACK_BYTES: usize = 128 * 1024;

/// The slow calls that run: dropping a sender cancels its call.
type Running = Arc<Mutex<Vec<(RpcId, Sender<()>)>>>;

/// Serves until stdin ends. Calls that still run then are given up.
///
/// # Errors
/// If stdin cannot be read or stdout not be written.
pub fn serve(identity: &Identity) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let running = Running::default();
    let mut in_session = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut input).take(MESSAGE_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        let message = match Message::parse(text.trim()) {
            Ok(message) => message,
            Err(why) => {
                let code = match why {
                    NotAMessage::NotJson => jsonrpc::PARSE_ERROR,
                    _ => jsonrpc::INVALID_REQUEST,
                };
                send(&answer::error(None, code, &why.to_string(), None, 400).text)?;
                continue;
            }
        };
        match server::serve(identity, &message, in_session) {
            Outcome::Accepted => {}
            Outcome::Cancel(id) => lock(&running).retain(|(running, _)| !running.same_as(&id)),
            Outcome::Answer(Answer { text, .. }) => {
                in_session |=
                    message.method() == Some("initialize") && message.era() == Era::Legacy;
                send(&text)?;
            }
            Outcome::Slow(call) => start_slow(call, &running)?,
        }
    }
}

/// Runs a slow call in a thread of its own, or refuses it if too many run.
fn start_slow(call: SlowCall, running: &Running) -> io::Result<()> {
    let (cancel, cancelled) = crossbeam_channel::bounded(0);
    let mut calls = lock(running);
    if calls.len() >= SLOW_MAX {
        return send(&call.refuse().text);
    }
    calls.push((call.id.clone(), cancel));
    drop(calls);
    let running = running.clone();
    let work = move || {
        // A client that no longer reads has ended stdin as well, which ends us.
        let answer = call.run(&cancelled, &mut |text| match text {
            Some(text) => send(&text),
            None => Ok(()),
        });
        lock(&running).retain(|(id, _)| *id != call.id);
        if let Ok(Some(answer)) = answer {
            let _ = send(&answer.text);
        }
    };
    thread::Builder::new().name("slow-call".to_owned()).stack_size(STACK_BYTES).spawn(work)?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unpoisoned()
}

fn send(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}
