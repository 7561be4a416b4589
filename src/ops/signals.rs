//! Signals as a stream of events for the main thread.
//!
//! Installed before any other thread starts, so that no signal takes its default action.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as SignalSet};

/// An event that the main thread acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The first SIGTERM or SIGINT: finish calls in flight, then end with code 0.
    Stop,
    /// The second one: end at once, with this exit code (128 plus the signal's number).
    StopNow(u8),
    /// SIGHUP: read the configuration again, and open the log file again.
    Reload,
    /// SIGUSR1: log the daemon's state.
    Dump,
    /// SIGUSR2: switch between level debug and the usual level.
    SwitchLevel,
    /// A [`Closer`] was used: the work is done.
    Closed,
}

/// The signals that this process handles.
pub struct Signals {
    set: SignalSet,
    stopping: bool,
}

/// Ends [`Signals::wait`] from another thread, for good.
#[derive(Debug, Clone)]
pub struct Closer(Handle);

impl Signals {
    /// Takes over SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2.
    ///
    /// # Errors
    /// If the system refuses a handler or a pipe.
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

    /// Blocks until the next event.
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

    #[test] // operations-151, operations-152: both better than there
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
