//! Pages that the kernel may not write to swap. The only module of the crate with `unsafe`:
//! one system call. [`super::Secret`] alone calls it.
//!
//! Why not a crate: `rustix` and `nix` have the call as `unsafe`. `region` has a safe one, but
//! brings page tables of five systems along, and its guard unlocks a page that other secrets may
//! still lie in. `secrets` needs a C library; `memsec` is `unsafe` itself.
#![expect(unsafe_code, reason = "mlock has no safe form that leaves shared pages locked")]

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a text could not be locked.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Locks the pages that `text` lies in. They stay locked: the heap keeps other secrets in the
/// same pages, and locks do not count. The number is bounded by the pages of the heap that ever
/// held a secret, and by RLIMIT_MEMLOCK; what is over it is not locked, which [`all`] tells.
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

/// Whether every secret so far lies in locked pages.
pub(super) fn all() -> bool {
    !REFUSED.load(Ordering::Relaxed)
}
