//! The audit trail: one JSON line for each command that is done (setting `log.audit_file`).
//!
//! A line says who asked for what and how it ended. It holds no payload. If the disk is full,
//! lines are lost and counted; commands go on.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use super::metrics::Exposition;
use crate::stats::Counter;
use crate::unpoisoned::Unpoisoned;

/// The audit file, opened.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    inner: Mutex<Inner>,
    written: Counter,
    lost: Counter,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Why the last line could not be written. The log has said so already.
    failing: Option<String>,
}

impl Audit {
    /// Opens the file for appending; creates it with mode 0600.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let inner = Mutex::new(Inner { file: open(path)?, failing: None });
        Ok(Self { path: path.to_owned(), inner, written: Counter::new(), lost: Counter::new() })
    }

    /// Appends one line in one write.
    pub fn write(&self, json: &str) {
        let mut inner = self.lock();
        match inner.file.write_all(format!("{json}\n").as_bytes()) {
            Ok(()) => {
                self.written.inc();
                if inner.failing.take().is_some() {
                    log::info!("the audit trail can be written again");
                }
            }
            Err(error) => {
                self.lost.inc();
                if inner.failing.is_none() {
                    let path = self.path.display();
                    let line = format!("the audit trail {path} cannot be written: {error}");
                    log::error!("{line}");
                    inner.failing = Some(line);
                }
            }
        }
    }

    /// Opens the file again by its name, so that the old one can be moved away (SIGHUP).
    ///
    /// # Errors
    /// If it cannot be opened. The old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        self.lock().file = open(&self.path)?;
        Ok(())
    }

    /// Why the last line could not be written; `None` if it was written.
    pub fn complaint(&self) -> Option<String> {
        self.lock().failing.clone()
    }

    /// The number of lines written and lost.
    pub fn write_metrics(&self, out: &mut Exposition) {
        let help = "Lines of the audit trail.";
        out.counter("mcp_tunnel_audit_records_total", help, &[], self.written.get());
        let help = "Lines of the audit trail that could not be written.";
        out.counter("mcp_tunnel_audit_lost_total", help, &[], self.lost.get());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unpoisoned()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
