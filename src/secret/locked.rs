//! Memory pages that the kernel must not write to swap. This is the only module of the crate with
//! `unsafe`, for one system call. [`super::Secret`] alone calls it.
//!
//! Why not a crate: `rustix` and `nix` have the call as `unsafe`. `region` has a safe one, but brings
//! the page tables of five systems along, and its guard unlocks a page that may still hold other
//! secrets. `secrets` needs a C library; `memsec` is `unsafe` itself.
#![expect(unsafe_code, reason = "mlock has no safe form that leaves shared pages locked")]

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a text could not be locked.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Locks the pages that hold `text`. They stay locked, since the same pages may hold other secrets
/// and the kernel does not count locks. Their number is bounded by the pages of the heap that ever
/// held a secret, and by RLIMIT_MEMLOCK. Above that limit pages are not locked, which [`all`] tells.
pub(super) fn lock(text: &str) {
    if text.is_empty() {
        return;
    }
    let start = text.as_ptr().cast_mut().cast();
    // SAFETY: the range is a live allocation, borrowed for the call. mlock neither reads nor
    // writes it nor changes its protection: it only makes its pages resident.
    if unsafe { rustix::mm::mlock(start, text.len()) }.is_err() {
        REFUSED.store(true, Ordering::Relaxed);
    }
}

/// Whether every secret so far is in locked pages.
pub(super) fn all() -> bool {
    !REFUSED.load(Ordering::Relaxed)
}
