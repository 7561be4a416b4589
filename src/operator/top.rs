//! `top`: the state of a running daemon on one screen, redrawn until `q` or Ctrl-C.
//!
//! A thread of its own asks the daemon, so a daemon that hangs delays neither a key press nor a
//! resize of the window.

mod draw;
mod screen;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::draw::{Look, Paint, Picture, picture};
use self::screen::{Screen, Woken};
use crate::cli::{Invocation, NEGATIVE, complain, fail, say};
use crate::daemon_client::{get, locator};
use crate::unpoisoned::Unpoisoned;

/// The pause between two looks at the daemon.
const EVERY: Duration = Duration::from_secs(2);
/// How long one answer of the daemon may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes.
const BODY_MAX: usize = 1024 * 1024;
/// Number of commands to ask for: more than fit on most screens.
const COMMANDS: usize = 60;
/// Columns and lines of the screen that is printed into a pipe.
const PLAIN_SIZE: (usize, usize) = (80, 24);
/// Stack of the thread that asks, in bytes: HTTP and JSON of bounded depth.
const STACK: usize = 512 * 1024;

/// Exit code 2 if the daemon cannot be asked; in a pipe, or with --once, it prints one screen.
pub fn top(invocation: &Invocation) -> ExitCode {
    let locator = match locator(invocation) {
        Ok(locator) => locator,
        Err(wrong) => return fail(&wrong),
    };
    let Some(base) = locator.resolved_base_url else {
        return fail(&locator.error.unwrap_or_else(|| "the daemon was not found".to_owned()));
    };
    let watch = !invocation.is_on("once") && std::io::stdout().is_terminal();
    if watch {
        return match Screen::open() {
            Ok(screen) => watch_it(base, screen),
            Err(error) => fail(&format!("the terminal cannot be used: {error}")),
        };
    }
    match look(&base) {
        Ok((status, commands)) => {
            let look = Look { status, commands, rate: None };
            say(&picture(&look, PLAIN_SIZE).paint(Paint::for_stdout()));
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&format!("{base}: {why}"));
            ExitCode::from(NEGATIVE)
        }
    }
}

fn watch_it(base: String, mut screen: Screen) -> ExitCode {
    let paint = Paint::for_stdout();
    let latest: Arc<Mutex<Option<Result<Look, String>>>> = Arc::default();
    let (seen, bell, url) = (Arc::clone(&latest), screen.bell(), base.clone());
    // It ends with the process: nothing that it does has to be finished.
    let asks =
        std::thread::Builder::new().name("ask".to_owned()).stack_size(STACK).spawn(move || {
            let mut before: Option<(Instant, u64)> = None;
            loop {
                let now = look(&url).map(|(status, commands)| {
                    let (at, total) = (Instant::now(), commands["total"].as_u64().unwrap_or(0));
                    let rate = before.replace((at, total)).map(|(then, had)| {
                        total.saturating_sub(had) as f64 / at.duration_since(then).as_secs_f64()
                    });
                    Look { status, commands, rate }
                });
                *seen.lock().unpoisoned() = Some(now);
                bell.ring();
                std::thread::sleep(EVERY);
            }
        });
    if let Err(error) = asks {
        drop(screen);
        return fail(&format!("the thread `ask` cannot be started: {error}"));
    }
    loop {
        let size = screen.size();
        let shown = match &*latest.lock().unpoisoned() {
            None => Picture::note(&format!("Asking {base} ..."), size),
            Some(Ok(look)) => picture(look, size),
            Some(Err(why)) => Picture::unreachable(&base, why, size),
        };
        screen.draw(&shown.paint(paint));
        match screen.wait() {
            Woken::Anew => {}
            Woken::Quit => return ExitCode::SUCCESS,
            Woken::Signal(code) => return ExitCode::from(code),
        }
    }
}

/// Requests the data that the screen shows.
fn look(base: &str) -> Result<(Value, Value), String> {
    let ask = |path: &str| {
        let (status, body) = get(base, path, LIMIT, BODY_MAX)?;
        match status {
            200 => serde_json::from_str(&body).map_err(|_| format!("{path}: this is no JSON")),
            404 => Err(format!("{path}: not found; is this mcp-tunnel?")),
            _ => Err(format!("{path}: HTTP {status} {}", body.trim())),
        }
    };
    Ok((ask("/api/status")?, ask(&format!("/api/commands?limit={COMMANDS}"))?))
}
