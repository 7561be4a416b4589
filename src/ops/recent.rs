//! The last commands that were answered, for the page and `/api/commands`.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use crate::unpoisoned::Unpoisoned;

/// How many are kept: a screen or two, and enough to look at latencies. Each takes less than
/// 1 KiB.
const KEPT: usize = 256;

/// A ring of JSON objects, numbered from 1.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    total: u64,
    lines: VecDeque<String>,
}

impl Recent {
    /// Adds a command, and drops the oldest if the ring is full.
    pub fn add(&self, json: String) {
        let mut ring = self.lock();
        ring.total += 1;
        if ring.lines.len() == KEPT {
            ring.lines.pop_front();
        }
        ring.lines.push_back(json);
    }

    /// `{"total":N,"commands":[...]}`, the newest first, at most `limit` of them.
    pub fn json(&self, limit: usize) -> String {
        let ring = self.lock();
        let lines: Vec<&str> = ring.lines.iter().rev().take(limit).map(String::as_str).collect();
        format!("{{\"total\":{},\"commands\":[{}]}}", ring.total, lines.join(","))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unpoisoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_and_counts_all() {
        let recent = Recent::default();
        for number in 0..KEPT + 10 {
            recent.add(number.to_string());
        }
        let total = KEPT + 10;
        assert_eq!(
            recent.json(2),
            format!("{{\"total\":{total},\"commands\":[{},{}]}}", total - 1, total - 2)
        );
        assert!(recent.json(usize::MAX).ends_with(",10]}"));
    }
}
