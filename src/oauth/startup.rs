//! The discovery at startup, and its result.
//!
//! Metadata that was found, or the fact that there is none, holds until the process ends (oauth-1).
//! A failure that affects readiness does not: a daemon runs unattended for years and must recover
//! when the server does, so the search is repeated, with pauses, until it succeeds. The tunnel sees
//! nothing of this, and the server gets a few more GETs.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::search::{IssuerSearch, Search};
use super::{Discovery, STARTUP_LIMIT};
use crate::net::{Cancel, Origin};
use crate::unpoisoned::Unpoisoned;

/// The pause after the first failed discovery; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause: how late a recovered server may be noticed.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often, during a pause, an unreachable server is checked.
const LOOK: Duration = Duration::from_millis(500);

/// Why there is no search if `main` is not an HTTP server (oauth-2).
const NO_URL: &str = "the MCP server of channel main has no URL";

/// The state of the discovery at startup.
#[derive(Debug, Clone)]
pub enum State {
    /// The first search is still running.
    Pending,
    /// There is no channel `main`.
    Absent,
    /// Channel `main` has no URL.
    NotApplicable,
    /// A search has ended. After a failure another may follow.
    Done(Arc<Found>),
}

/// The result of one discovery.
#[derive(Debug)]
pub struct Found {
    /// About the server.
    pub search: Search,
    /// About its authorization server.
    pub issuer: Option<IssuerSearch>,
}

/// The cell that the discovery writes and `ops` reads.
#[derive(Debug)]
pub struct Startup {
    state: Mutex<State>,
    well_known: Vec<String>,
}

impl Startup {
    /// Discovery of the server of `main` will run.
    pub fn of(discovery: &Discovery) -> Self {
        Self { state: Mutex::new(State::Pending), well_known: discovery.well_known() }
    }

    /// There is nothing to discover: `main` is served by a child, or not at all.
    pub fn without_server(has_main: bool) -> Self {
        let state = if has_main { State::NotApplicable } else { State::Absent };
        Self { state: Mutex::new(state), well_known: Vec::new() }
    }

    /// The present state.
    pub fn state(&self) -> State {
        self.cell().clone()
    }

    /// The well-known URLs that are tried.
    pub fn well_known(&self) -> &[String] {
        &self.well_known
    }

    /// Why readiness is affected, if it is (oauth-24, oauth-25).
    pub fn complaint(&self) -> Option<String> {
        match &*self.cell() {
            State::Pending => Some("oauth discovery pending".to_owned()),
            State::Absent | State::NotApplicable => None,
            State::Done(found) => match &found.search.result {
                Err(failure) if !failure.optional => {
                    Some(format!("oauth discovery failed: {}", failure.text))
                }
                _ => None,
            },
        }
    }

    /// True if the first search is still running.
    pub fn is_pending(&self) -> bool {
        matches!(&*self.cell(), State::Pending)
    }

    /// The stable word for scripts.
    pub fn word(&self) -> &'static str {
        match &*self.cell() {
            State::Pending => "pending",
            State::Absent | State::NotApplicable => "not_applicable",
            State::Done(found) => match &found.search.result {
                Ok(_) => "found",
                Err(failure) if failure.optional => "not_advertised",
                Err(_) => "failed",
            },
        }
    }

    fn cell(&self) -> MutexGuard<'_, State> {
        self.state.lock().unpoisoned()
    }
}

/// Why there is nothing to discover, for the operator page.
pub(super) fn not_applicable() -> &'static str {
    NO_URL
}

/// The thread's work: discovers until nothing is left to find out, or until `stop`. It begins
/// when `settled` is dropped, or after `wait` (oauth-3).
pub fn run(
    discovery: &Discovery,
    startup: &Startup,
    stop: &Cancel,
    (settled, wait): (&Receiver<()>, Duration),
) {
    if !wait.is_zero() {
        crossbeam_channel::select! {
            recv(settled) -> _ => {}
            recv(stop.channel()) -> _ => {}
            default(wait) => {}
        }
    }
    let mut pause = PAUSE_FIRST;
    let mut told = String::new();
    while !stop.is_cancelled() {
        let limit = Instant::now() + STARTUP_LIMIT;
        let search = discovery.search(limit, stop);
        let issuer = match &search.result {
            Ok(document) => discovery.search_issuer(&document.resource, limit, stop),
            Err(_) => None,
        };
        if stop.is_cancelled() {
            // A search that was cut off says nothing about the server.
            return;
        }
        let found = Found { search, issuer };
        let again = tell(&found, &mut told);
        *startup.cell() = State::Done(Arc::new(found));
        if !again {
            return;
        }
        sleep(discovery, stop, pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// A pause that ends early if an unreachable server answers again.
fn sleep(discovery: &Discovery, stop: &Cancel, pause: Duration) {
    let until = Instant::now() + pause;
    let was_down = !discovery.server_answers();
    loop {
        let now = Instant::now();
        if now >= until || stop.is_cancelled() || (was_down && discovery.server_answers()) {
            return;
        }
        let _ = stop.channel().recv_deadline(until.min(now + LOOK));
    }
}

/// Logs the result; a repeated failure is logged once. Returns whether to try again.
fn tell(found: &Found, told: &mut String) -> bool {
    match &found.search.result {
        Ok(document) => {
            let selected = found.search.attempts.iter().find(|attempt| attempt.selected);
            if let Some(attempt) = selected {
                let origin = Origin::of(&attempt.candidate.url);
                let source = attempt.candidate.source.as_str();
                log::info!(source; "the MCP server's OAuth metadata are at {origin}");
            }
            let servers = document.resource.authorization_servers.len();
            if servers > 1 {
                log::info!(
                    count = servers;
                    "the OAuth metadata names several authorization servers; the first is looked at"
                );
            }
            if let Some(issuer) = &found.issuer {
                tell_issuer(issuer);
            }
            false
        }
        Err(failure) if failure.optional => {
            log::debug!("the MCP server asks for no OAuth");
            false
        }
        Err(failure) => {
            if *told != failure.text {
                log::warn!("OAuth discovery failed and will be tried again: {}", failure.text);
                told.clone_from(&failure.text);
            }
            true
        }
    }
}

fn tell_issuer(search: &IssuerSearch) {
    let asked = super::candidates::absolute(&search.issuer).map(|uri| Origin::of(&uri));
    let asked = asked.map_or_else(String::new, |origin| origin.to_string());
    match (search.selected, search.mismatch()) {
        (None, _) => log::info!("the authorization server {asked} shows no metadata to this host"),
        (Some(_), Some(_)) => log::warn!(
            "the metadata of the authorization server {asked} names another issuer; clients may \
             refuse it"
        ),
        (Some(_), None) => {}
    }
}
