//! What the black-box tests share: the real binaries as processes ([`process`], [`stack`]), and
//! two peers whose every byte a test can script, [`ControlPlane`] and [`McpServer`], over one raw
//! HTTP/1.1 server ([`http`]).
//!
//! Nothing here may know the insides of the crate. Every wait is for a state and ends after
//! [`PATIENCE`] with a panic that says what was awaited.

// Each test binary uses its own part of this.
#![allow(dead_code, unused_imports, missing_docs)]

pub mod browser;
pub mod calls;
pub mod child;
pub mod control_plane;
pub mod http;
pub mod mcp_server;
pub mod process;
pub mod programs;
pub mod sdk;
pub mod stack;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub use child::Child;
pub use control_plane::{Command, ControlPlane, Posted};
pub use http::{Answer, BlackHole, Request};
pub use mcp_server::McpServer;
pub use process::{Program, Signal};
pub use stack::{Relay, Tunnel, between};

/// The longest wait for a state that should come at once. Long, because a loaded machine is no
/// fault of the program; a wait that fails costs this much.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `state` gives something; `what` is awaited, for the panic that ends the patience.
/// For states that can only be looked at; what can be waited on, waits without this.
pub fn eventually<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, state)
}

/// [`eventually`], for a state that takes work to reach.
pub fn within<T>(limit: Duration, what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = state() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a test for each of several cases, all at once.
pub fn each_at_once<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// A moment that one side makes and the other waits for.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap()
    }

    /// Waits until the gate is open; panics when the patience ends.
    pub fn wait(&self, what: &str) {
        assert!(self.opens_within(PATIENCE), "waited {PATIENCE:?} in vain for {what}");
    }

    fn opens_within(&self, limit: Duration) -> bool {
        let open = self.0.0.lock().unwrap();
        *self.0.1.wait_timeout_while(open, limit, |open| !*open).unwrap().0
    }
}

/// A directory of its own for one test, removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
