//! Signals, as a stream of events for the main thread.
//!
//! Made before any other thread, so that no signal finds the process with its default actions.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as SignalSet};

/// Something that the main thread has to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// SIGTERM or SIGINT for the first time: finish what is in flight, then end with code 0.
    Stop,
    /// The second one: end at once, with this exit code (128 and the signal's number).
    StopNow(u8),
    /// SIGHUP: open the log file anew.
    Reload,
    /// SIGUSR1: say in the log how the daemon is.
    Dump,
    /// SIGUSR2: log in more detail, or as before.
    SwitchLevel,
    /// A [`Closer`] was used: the work has ended by itself.
    Closed,
}

/// The process's signals.
pub struct Signals {
    set: SignalSet,
    stopping: bool,
}

/// Ends a wait in [`Signals::wait`] from another thread, for good.
#[derive(Debug, Clone)]
pub struct Closer(Handle);

impl Signals {
    /// Takes over SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2.
    ///
    /// # Errors
    /// If the system refuses the handlers or a pipe.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            set: SignalSet::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?,
            stopping: false,
        })
    }

    /// A handle for the thread that finishes the work.
    pub fn closer(&self) -> Closer {
        Closer(self.set.handle())
    }

    /// Blocks until there is something to do.
    pub fn wait(&mut self) -> Event {
        match self.set.forever().next() {
            None => Event::Closed,
            Some(SIGHUP) => Event::Reload,
            Some(SIGUSR1) => Event::Dump,
            Some(SIGUSR2) => Event::SwitchLevel,
            Some(number) if self.stopping => {
                Event::StopNow(u8::try_from(128 + number).unwrap_or(u8::MAX))
            }
            Some(_) => {
                self.stopping = true;
                Event::Stop
            }
        }
    }
}

impl Closer {
    /// Makes [`Signals::wait`] return [`Event::Closed`], now and from now on.
    pub fn close(&self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test] // D-1, D-2: both better than there
    fn the_first_signal_drains_and_the_second_ends() {
        let mut signals = Signals::install().unwrap();
        let me = getpid();
        for (signal, event) in [
            (Signal::HUP, Event::Reload),
            (Signal::TERM, Event::Stop),
            (Signal::HUP, Event::Reload),
            (Signal::INT, Event::StopNow(130)),
            (Signal::TERM, Event::StopNow(143)),
        ] {
            kill_process(me, signal).unwrap();
            assert_eq!(signals.wait(), event);
        }
        let closer = signals.closer();
        std::thread::spawn(move || closer.close());
        assert_eq!(signals.wait(), Event::Closed);
        assert_eq!(signals.wait(), Event::Closed);
    }
}
