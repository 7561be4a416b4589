//! Two bounded lanes into the workers, one of which goes first.
//!
//! A mutex and two conditions rather than two channels: whoever is woken out of a wait on two
//! channels meets the lock of the one that wakes it, which costs each command two more switches
//! of threads (half the futex calls, as `make bench` showed).

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::net::Cancel;

/// What came out of the lanes.
pub enum Taken<C, E> {
    /// From the lane of calls.
    Call(C),
    /// From the express lane.
    Express(E),
}

/// The lanes: calls of type `C`, and what must not wait behind them of type `E`.
#[derive(Debug)]
pub struct Lanes<C, E> {
    waiting: Mutex<Waiting<C, E>>,
    /// Something is in either lane, or they are closed; for those who take from both.
    any: Condvar,
    /// Something is in the express lane, or they are closed; for those who take from it alone.
    express: Condvar,
    room_for_calls: Room,
    room_for_express: Room,
}

#[derive(Debug)]
struct Waiting<C, E> {
    calls: VecDeque<C>,
    express: VecDeque<E>,
    closed: bool,
    /// Threads that wait on `any`: with none there is nobody to wake, which saves a system call.
    idle: usize,
}

/// A lane's free places, one token each: a channel, so that a wait for one can be cancelled.
#[derive(Debug)]
struct Room {
    give: Sender<()>,
    take: Receiver<()>,
}

impl Room {
    fn new(capacity: usize) -> Self {
        let (give, take) = bounded(capacity);
        for _ in 0..capacity {
            // It has exactly this much room.
            let _ = give.try_send(());
        }
        Self { give, take }
    }

    /// Waits for a place; `false` if `end` comes first.
    fn wait(&self, end: &Cancel) -> bool {
        select! {
            recv(self.take) -> place => place.is_ok(),
            recv(end.channel()) -> _ => false,
        }
    }

    fn free(&self) {
        // Never full: whoever frees a place has taken one.
        let _ = self.give.try_send(());
    }
}

impl<C, E> Lanes<C, E> {
    /// Empty lanes of `capacity` places each.
    pub fn new(capacity: usize) -> Self {
        let (calls, express) = (VecDeque::new(), VecDeque::new());
        Self {
            waiting: Mutex::new(Waiting { calls, express, closed: false, idle: 0 }),
            any: Condvar::new(),
            express: Condvar::new(),
            room_for_calls: Room::new(capacity),
            room_for_express: Room::new(capacity),
        }
    }

    /// Adds a call, waiting for room; `false` if `end` comes first.
    pub fn push_call(&self, call: C, end: &Cancel) -> bool {
        if !self.room_for_calls.wait(end) {
            return false;
        }
        let mut waiting = self.lock();
        waiting.calls.push_back(call);
        let idle = waiting.idle > 0;
        // Whoever wakes finds the mutex free.
        drop(waiting);
        if idle {
            self.any.notify_one();
        }
        true
    }

    /// Adds to the express lane, waiting for room; `false` if `end` comes first.
    pub fn push_express(&self, item: E, end: &Cancel) -> bool {
        if !self.room_for_express.wait(end) {
            return false;
        }
        let mut waiting = self.lock();
        waiting.express.push_back(item);
        let idle = waiting.idle > 0;
        drop(waiting);
        if idle {
            self.any.notify_one();
        }
        self.express.notify_one();
        true
    }

    /// Takes from the express lane if it holds something, else a call; waits if there is neither.
    /// `None` once the lanes are closed and empty.
    pub fn next(&self) -> Option<Taken<C, E>> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.express.pop_front() {
                self.room_for_express.free();
                return Some(Taken::Express(item));
            }
            if let Some(call) = waiting.calls.pop_front() {
                self.room_for_calls.free();
                return Some(Taken::Call(call));
            }
            if waiting.closed {
                return None;
            }
            waiting.idle += 1;
            waiting = self.any.wait(waiting).unwrap_or_else(|e| e.into_inner());
            waiting.idle -= 1;
        }
    }

    /// Takes from the express lane alone.
    pub fn next_express(&self) -> Option<E> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.express.pop_front() {
                self.room_for_express.free();
                return Some(item);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.express.wait(waiting).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// What waits in both.
    pub fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.calls.len() + waiting.express.len()
    }

    /// Nothing more is coming: who takes gets what is left, then nothing.
    pub fn close(&self) {
        self.lock().closed = true;
        self.any.notify_all();
        self.express.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<C, E>> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn what_is_pushed_is_taken_once_by_whoever_waits() {
        let (lanes, end) = (Arc::new(Lanes::new(3)), Cancel::new().unwrap());
        let takers: Vec<_> = (0..4)
            .map(|i| {
                let lanes = Arc::clone(&lanes);
                thread::spawn(move || {
                    let next = || match if i == 0 { None } else { lanes.next() } {
                        Some(Taken::Call(n) | Taken::Express(n)) => Some(n),
                        None => lanes.next_express(),
                    };
                    std::iter::from_fn(next).collect::<Vec<u32>>()
                })
            })
            .collect();
        for n in 0..2_000 {
            let pushed =
                if n % 3 == 0 { lanes.push_express(n, &end) } else { lanes.push_call(n, &end) };
            assert!(pushed);
        }
        lanes.close();
        let mut taken: Vec<u32> = takers.into_iter().flat_map(|t| t.join().unwrap()).collect();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..2_000));
        assert_eq!(lanes.len(), 0);
    }

    #[test]
    fn a_wait_for_room_in_one_lane_ends_with_room_in_it_or_with_the_process() {
        let (lanes, end) = (Arc::new(Lanes::<u8, u8>::new(1)), Cancel::new().unwrap());
        assert!(lanes.push_call(1, &end) && lanes.push_express(2, &end));
        let (waiting, cancelled) = (Arc::clone(&lanes), end.clone());
        let pusher = thread::spawn(move || {
            (waiting.push_call(3, &cancelled), waiting.push_call(4, &cancelled))
        });
        assert!(matches!(lanes.next(), Some(Taken::Express(2))));
        assert!(matches!(lanes.next(), Some(Taken::Call(1))));
        assert!(matches!(lanes.next(), Some(Taken::Call(3))));
        assert!(matches!(lanes.next(), Some(Taken::Call(4))));
        assert_eq!(pusher.join().unwrap(), (true, true));
        assert!(lanes.push_call(5, &end));
        end.cancel();
        assert!(!lanes.push_call(6, &end));
    }
}
