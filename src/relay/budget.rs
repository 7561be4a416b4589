//! The memory that a relay may use for one purpose, in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes, parts of which can be reserved.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    /// Reserves `bytes`, if so many are left.
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).ok()?;
        Some(Reserved { budget: self.clone(), bytes })
    }
}

/// Reserved bytes, which are released on drop.
#[derive(Debug)]
pub struct Reserved {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Reserved {
    /// Releases all but `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.budget.used.fetch_sub(surplus, Ordering::SeqCst);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // relay-52
    fn a_budget_is_never_exceeded_and_comes_back() {
        let budget = Budget::new(10);
        let mut first = budget.reserve(8).unwrap();
        assert!(budget.reserve(3).is_none());
        assert!(budget.reserve(usize::MAX).is_none());
        first.shrink(2);
        let second = budget.reserve(8).unwrap();
        drop((first, second));
        assert_eq!(budget.used.load(Ordering::SeqCst), 0);
    }
}
