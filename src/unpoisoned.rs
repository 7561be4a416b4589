//! Locks that are taken whatever happened to their last holder. A leaf: every room calls it, it
//! calls nobody.
//!
//! A thread that panics while it holds a lock poisons it, and whoever unwraps the next one panics
//! as well. The shipped programs abort at the first panic, so none of them ever meets a poisoned
//! lock; with any other build, what our locks guard (counts, queues, states of a few members) is
//! whole between two statements, and going on with it shows more of what went wrong.

use std::sync::LockResult;

/// For the results of `Mutex`, `RwLock` and `Condvar`.
pub trait Unpoisoned<T> {
    /// The guard, also of a poisoned lock.
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
