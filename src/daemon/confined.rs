//! The second state: the process has given up the rights that it does not need, and has one thread.
//! Every later thread inherits this, so no thread may be started earlier.

use std::collections::BTreeSet;

use super::confinement;
use super::prepared::{Opened, Prepared};
use crate::confine::{Confinement, Part};
use crate::hops::commands;
use crate::launcher;
use crate::net::Cancel;

/// A confined daemon without threads.
pub(super) struct Confined<'a> {
    parts: Parts<'a>,
}

/// The parts that the running daemon is built from.
pub(super) struct Parts<'a> {
    pub(super) opened: Opened<'a>,
    pub(super) launcher: Option<launcher::Prepared>,
    pub(super) confinement: Confinement,
    /// The TCP ports that may still be connected to; `None` means all.
    pub(super) ports: Option<BTreeSet<u16>>,
    pub(super) switches: Switches,
}

/// The three steps of a shutdown.
#[derive(Clone)]
pub(super) struct Switches {
    /// No more polls.
    pub(super) stop: Cancel,
    /// Open commands are answered with a failure.
    pub(super) abandon: Cancel,
    /// No more answers are posted, and the last threads end.
    pub(super) end: Cancel,
}

impl<'a> Confined<'a> {
    /// Gives up the rights that the configuration does not need.
    ///
    /// # Errors
    /// If confinement is required but incomplete, or the system refuses a file descriptor.
    pub(super) fn begin(prepared: Prepared<'a>) -> Result<Self, String> {
        let (opened, launcher) = prepared.into_parts();
        let confinement = confinement::begin(opened.config, &opened.hops)?;
        commands::tell_environment(opened.config);
        let ports = confinement.holds(Part::Ports).then(|| confinement::ports(&opened.hops));
        let switches = Switches::new()?;
        Ok(Self { parts: Parts { opened, launcher, confinement, ports, switches } })
    }

    /// Takes it apart for the next state.
    pub(super) fn into_parts(self) -> Parts<'a> {
        self.parts
    }
}

impl Switches {
    fn new() -> Result<Self, String> {
        let cancel = || Cancel::new().map_err(|e| format!("no file descriptor is left: {e}"));
        Ok(Self { stop: cancel()?, abandon: cancel()?, end: cancel()? })
    }
}
