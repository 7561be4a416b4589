//! The forwarding threads: as many as configured for all commands, and a few that only take what
//! must not wait behind calls.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::queue::{Lane, Queue};
use super::record::Observer;
use super::worker::{Hop, Worker};
use crate::control_plane::respond::RespondStats;
use crate::control_plane::{Access, Responder};
use crate::mcp::Binding;
use crate::net::Cancel;
use crate::oauth::Discovery;
use crate::wire::ChannelName;

/// Threads for the express lane alone. One can be held up by a server that does not answer a
/// notification; the others, and every idle worker, still take cancels.
const EXPRESS_THREADS: usize = 2;

/// Stack of a forwarding thread, in bytes: buffers of 64 KiB at most, and no recursion over
/// payloads.
const STACK: usize = 512 * 1024;

/// What the threads need.
pub struct PoolConfig {
    /// Threads that take calls, at least one.
    pub workers: usize,
    /// Longest wait for one answer of an MCP server (forwarding-26).
    pub connection_max_ttl: Duration,
    /// Where answers go.
    pub access: Arc<Access>,
    /// The server of each channel.
    pub bindings: Vec<(ChannelName, Binding)>,
    /// Reads the OAuth metadata of the server of `main`, if that is an HTTP server.
    pub discovery: Option<Arc<Discovery>>,
    /// Told of every command that is over.
    pub observer: Observer,
    /// Counts of their answers.
    pub respond_stats: Arc<RespondStats>,
}

/// The running threads.
#[derive(Debug)]
pub struct Pool {
    threads: Vec<JoinHandle<()>>,
    running: Receiver<()>,
}

impl Pool {
    /// Starts the threads. `abandon` ends exchanges with MCP servers: what is still in hand or
    /// waits then is answered with a failure. `end` ends the posting of answers too.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        config: &PoolConfig,
        queue: &Arc<Queue>,
        abandon: &Cancel,
        end: &Cancel,
    ) -> io::Result<Self> {
        let (alive, running) = bounded::<()>(0);
        let mut threads = Vec::new();
        let names = (0..config.workers.max(1))
            .map(|i| (format!("worker-{i}"), Lane::Calls))
            .chain((0..EXPRESS_THREADS).map(|i| (format!("express-{i}"), Lane::Express)));
        for (name, lane) in names {
            let hops = config
                .bindings
                .iter()
                .map(|(channel, binding)| (channel.clone(), Hop::new(binding, abandon)))
                .collect();
            let worker = Worker {
                hops,
                discovery: config.discovery.clone(),
                responder: Responder::new(
                    Arc::clone(&config.access),
                    Arc::clone(&config.respond_stats),
                    end.clone(),
                ),
                observer: Arc::clone(&config.observer),
                summary: RefCell::default(),
                ttl: config.connection_max_ttl,
                abandon: abandon.clone(),
            };
            let consumer = queue.consumer(lane);
            let alive = alive.clone();
            threads.push(thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
                let _alive = alive;
                worker.run(&consumer);
            })?);
        }
        Ok(Self { threads, running })
    }

    /// Waits until all threads have ended, which they do once the producers are gone and the lanes
    /// are empty. `false` if `limit` passes first.
    pub fn wait_until(&self, limit: Instant) -> bool {
        self.running.recv_deadline(limit) == Err(RecvTimeoutError::Disconnected)
    }

    /// Joins threads that have ended.
    pub fn join(self) {
        for thread in self.threads {
            // A worker does not panic; if one did, the process has ended with it.
            let _ = thread.join();
        }
    }
}
