//! Takes a lock even if its last holder has panicked. A leaf: every room may call it.
//!
//! A thread that panics while it holds a lock poisons the lock, and the next thread that unwraps it
//! panics as well. The shipped programs abort at the first panic, so they never see a poisoned lock.
//! In other builds, the data behind our locks (counts, queues, states of a few members) is consistent
//! between any two statements, and a test that goes on shows more of the first panic.

use std::sync::LockResult;

/// For the results of `Mutex`, `RwLock` and `Condvar`.
pub trait Unpoisoned<T> {
    /// The guard, even of a poisoned lock.
    fn unpoisoned(self) -> T;
}

impl<T> Unpoisoned<T> for LockResult<T> {
    fn unpoisoned(self) -> T {
        self.unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_poisoned_lock_is_taken() {
        let count = Mutex::new(7);
        let holder = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _held = count.lock().unpoisoned();
                    panic!("while the lock is held");
                })
                .join()
        });
        assert!(holder.is_err() && count.is_poisoned());
        assert_eq!(*count.lock().unpoisoned(), 7);
    }
}
