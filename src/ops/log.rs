//! The log: where records go and how a line is written. `daemon` and `relay` set it up once.
//!
//! There are three formats (operations-81 to operations-84): the plain line on stderr, which
//! `simple_logger` writes to a terminal, and `struct-text` and `json` on stdout or in a file. Only
//! records of this crate pass: at level debug the HTTP and TLS libraries log headers, and headers
//! hold secrets.
//!
//! The log must never block or end the daemon. If its reader stalls or goes away, lines are lost;
//! they are counted, and the count is logged once lines get through again. A repeated fault must
//! not fill the log either: unless the level is debug, each statement may log a fixed number of
//! lines a minute (`flood`).

mod flood;
mod line;
mod ring;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use simple_logger::SimpleLogger;

use self::flood::Floods;
use self::line::Line;
pub use self::line::printable;
pub use self::ring::{Batch, LogEvent, LogRing};
use super::metrics::Exposition;
use crate::stats::Counter;
use crate::unpoisoned::Unpoisoned;

/// How long lines wait for a reader that has stalled (a paused terminal, a full pipe). After
/// that, lines are dropped at once until the reader takes them again.
const READER_STALL: Duration = Duration::from_secs(1);

/// One part in this many of all time may be spent on such waits: a slow reader loses lines and
/// does not slow down the daemon.
const STALL_SHARE: u32 = 10;

/// Most bytes of one write, the `PIPE_BUF` of Linux: a writable pipe or socket takes this much
/// without blocking.
const WRITE_MAX: usize = 4096;

/// How the targets of our own records begin: those of this crate's modules and of its binaries.
const OWN_TARGET: &str = "mcp_tunnel";

/// How a line is written (setting `log.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2026-02-03T04:05:06.789Z INFO  [component] message name=value` on stderr.
    Plain,
    /// `time=... level=... msg=... name=value` (setting value `struct-text`).
    StructText,
    /// One JSON object a line (setting value `json`).
    Json,
}

/// The configuration that [`init`] takes.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// `log.format`; `None` is [`Format::Plain`], or `struct-text` if there is a file
    /// (operations-83).
    pub format: Option<Format>,
    /// `log.file`: opened for appending, created with mode 0600.
    pub file: Option<PathBuf>,
    /// `log.level` at start; [`log::set_max_level`] changes it while the process runs.
    pub level: LevelFilter,
    /// Fields that every line of the structured formats carries.
    pub always: Vec<(&'static str, String)>,
    /// How many records the ring keeps (setting `admin_ui.log_buffer_events`); 0 for no ring.
    pub ring: usize,
}

/// The process's log, once [`init`] has made it.
pub struct Logger {
    format: Format,
    /// Fields that every line of the structured formats carries.
    always: Vec<(&'static str, String)>,
    simple: SimpleLogger,
    ring: LogRing,
    floods: Mutex<Floods>,
    sink: Mutex<Sink>,
    records: [Counter; 4],
    left_out: Counter,
    lost: Counter,
    complaint: Mutex<Option<String>>,
}

struct Sink {
    target: Target,
    patience: Patience,
    /// The last line was written in part.
    torn: bool,
    /// Lines lost since one was last written.
    lost: u64,
}

/// How much longer lines may wait for the reader.
struct Patience {
    left: Duration,
    at: Instant,
    /// The last line was not taken in time.
    stalled: bool,
}

enum Target {
    /// Stderr, connected to a terminal.
    Terminal,
    /// Stderr, which the service manager has connected to the journal.
    Journal,
    /// Any other stderr: a pipe, a file on a disk that may be full.
    Stderr,
    Stdout,
    File {
        path: PathBuf,
        file: File,
    },
}

/// Creates the log of this process. Called once, before the first record.
///
/// # Errors
/// If the file cannot be opened, or the process has a log already.
pub fn init(settings: LogSettings) -> io::Result<&'static Logger> {
    let level = settings.level;
    let logger: &'static Logger = Box::leak(Box::new(Logger::new(settings)?));
    log::set_logger(logger).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(logger)
}

impl Logger {
    fn new(settings: LogSettings) -> io::Result<Self> {
        let format = match (settings.format, &settings.file) {
            (None | Some(Format::Plain), Some(_)) => Format::StructText,
            (None, None) => Format::Plain,
            (Some(format), _) => format,
        };
        let target = match settings.file {
            Some(path) => Target::File { file: open(&path)?, path },
            None if format == Format::Plain && is_the_journal(io::stderr()) => Target::Journal,
            None if format == Format::Plain && rustix::termios::isatty(io::stderr()) => {
                Target::Terminal
            }
            None if format == Format::Plain => Target::Stderr,
            None => Target::Stdout,
        };
        Ok(Self {
            format,
            always: settings.always,
            ring: LogRing::new(settings.ring),
            simple: SimpleLogger::new().with_utc_timestamps(),
            floods: Mutex::default(),
            sink: Mutex::new(Sink { target, patience: Patience::new(), torn: false, lost: 0 }),
            records: Default::default(),
            left_out: Counter::new(),
            lost: Counter::new(),
            complaint: Mutex::default(),
        })
    }

    /// Opens the log file again by its name, so that the old one can be moved away (SIGHUP). Does
    /// nothing if there is no log file.
    ///
    /// # Errors
    /// If the file cannot be opened. The old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        if let Target::File { path, file } = &mut self.sink().target {
            *file = open(path)?;
        }
        Ok(())
    }

    /// The newest records.
    pub fn ring(&self) -> &LogRing {
        &self.ring
    }

    /// Changes the level while the process runs, and logs the change at the new level
    /// (operations-89).
    pub fn set_level(&self, level: LevelFilter, by: &str) {
        let previous = log::max_level();
        log::set_max_level(level);
        let at = level.to_level().unwrap_or(Level::Error);
        let word = |level: LevelFilter| level.as_str().to_ascii_lowercase();
        log::log!(
            at,
            previous_level = word(previous).as_str(), new_level = word(level).as_str(), by = by;
            "runtime log level updated"
        );
    }

    /// The number of records, by level, and of lines that were left out or lost.
    pub fn write_metrics(&self, out: &mut Exposition) {
        for (level, counter) in
            [Level::Error, Level::Warn, Level::Info, Level::Debug].iter().zip(&self.records)
        {
            let level = level.as_str().to_ascii_lowercase();
            let help = "Log records, by level, those left out included.";
            out.counter("mcp_tunnel_log_records_total", help, &[("level", &level)], counter.get());
        }
        let help = "Log records that were left out because there were too many like them.";
        out.counter("mcp_tunnel_log_left_out_total", help, &[], self.left_out.get());
        let help = "Records that readers of the log stream were too slow for.";
        out.counter("mcp_tunnel_log_stream_missed_total", help, &[], self.ring.missed());
        let help = "Log lines that were lost because the log's reader did not take them.";
        out.counter("mcp_tunnel_log_lost_total", help, &[], self.lost.get());
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unpoisoned()
    }

    /// Writes the counts of repeated lines whose window has passed. Each record does it too; call
    /// it once in a while, so that a flood that has ended is reported when nothing else is logged.
    pub fn write_due(&self) {
        let lines = self.floods().due(Instant::now());
        lines.iter().for_each(|line| self.put(line));
    }

    /// Writes all counts of repeated lines, at the end of the process.
    pub fn finish(&self) {
        let lines = self.floods().all();
        lines.iter().for_each(|line| self.put(line));
    }

    fn floods(&self) -> MutexGuard<'_, Floods> {
        self.floods.lock().unpoisoned()
    }

    /// Writes a line to the ring and to the reader. The reader gets it in time or not at all.
    fn put(&self, line: &Line) {
        // The page and the support archive never show a payload, even if the log file may.
        if !line.holds_payload() {
            self.ring.add(line, SystemTime::now());
        }
        let mut sink = self.sink();
        let lost = sink.lost;
        let notice = || Line::notice(format!("the log has lost {lost} lines"));
        let mut taken = match lost {
            0 => Ok(()),
            _ => self.write(&mut sink, &notice()),
        };
        taken = taken.and_then(|()| self.write(&mut sink, line));
        match taken {
            Ok(()) if lost == 0 => {}
            Ok(()) => {
                sink.lost = 0;
                *self.cell() = None;
            }
            Err(error) => {
                sink.lost += 1;
                self.lost.inc();
                if lost == 0 {
                    *self.cell() = Some(sink.target.complaint(&error));
                }
            }
        }
    }

    /// Why lines are being lost; `None` if the last one got through.
    pub fn complaint(&self) -> Option<String> {
        self.cell().clone()
    }

    /// Never held while a line is written, so that no caller waits for the reader.
    fn cell(&self) -> MutexGuard<'_, Option<String>> {
        self.complaint.lock().unpoisoned()
    }

    fn write(&self, sink: &mut Sink, line: &Line) -> io::Result<()> {
        let Sink { target, patience, torn, .. } = sink;
        let mut text = match target {
            Target::Journal => line.journal(),
            _ => self.text(line),
        };
        if *torn {
            text.insert(0, '\n');
        }
        let mut written = 0;
        let whole = match target {
            // `simple_logger` panics if a write fails, so the terminal must be writable first.
            Target::Terminal => patience.wait(io::stderr()).map(|()| {
                let text = line.message_and_fields();
                let mut record = Record::builder();
                record.level(line.level).target(line.component);
                self.simple.log(&record.args(format_args!("{text}")).build());
            }),
            Target::Journal | Target::Stderr => {
                patience.write(io::stderr().as_fd(), text.as_bytes(), &mut written)
            }
            Target::Stdout => patience.write(io::stdout().as_fd(), text.as_bytes(), &mut written),
            Target::File { file, .. } => {
                patience.write(file.as_fd(), text.as_bytes(), &mut written)
            }
        };
        *torn = whole.is_err() && (*torn || written > 0);
        whole
    }

    fn text(&self, line: &Line) -> String {
        match self.format {
            Format::Json => line.json(&self.always),
            Format::StructText => line.struct_text(&self.always),
            Format::Plain => line.plain(),
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(OWN_TARGET) && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // Levels count from 1, which is `Error`. There are no trace records.
        self.records[(record.level() as usize - 1).min(self.records.len() - 1)].inc();
        let line = Line::of(record, SystemTime::now());
        // At level debug somebody follows single requests and needs every record.
        let place = flood::place(record).filter(|_| log::max_level() < LevelFilter::Debug);
        let line = match place {
            None => Some(line),
            Some(place) => self.floods().admit(place, line, Instant::now()),
        };
        self.write_due();
        match line {
            Some(line) => self.put(&line),
            None => self.left_out.inc(),
        }
    }

    /// Lines are written when they are logged.
    fn flush(&self) {}
}

impl Patience {
    fn new() -> Self {
        Self { left: READER_STALL, at: Instant::now(), stalled: false }
    }

    /// Waits until a piece of at most [`WRITE_MAX`] bytes can be written, within the limits above.
    fn wait(&mut self, fd: impl AsFd) -> io::Result<()> {
        let now = Instant::now();
        let regained = now.duration_since(self.at) / STALL_SHARE;
        self.left = self.left.saturating_add(regained).min(READER_STALL);
        let taken = writable(fd, if self.stalled { Duration::ZERO } else { self.left });
        self.at = Instant::now();
        self.left = self.left.saturating_sub(self.at.duration_since(now));
        self.stalled = !taken;
        if taken { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Writes all of it if the reader takes it in time. `written` counts the bytes that it took.
    fn write(&mut self, fd: BorrowedFd<'_>, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        while *written < bytes.len() {
            self.wait(fd)?;
            let end = bytes.len().min(*written + WRITE_MAX);
            match rustix::io::write(fd, &bytes[*written..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Target {
    /// The reason why lines are lost. If it is a file, stderr is told too: it is where people look
    /// when they miss lines in the file.
    fn complaint(&self, error: &io::Error) -> String {
        let Self::File { path, .. } = self else {
            return "nobody reads the log: lines are lost".to_owned();
        };
        let path = path.display();
        let line = format!("the log file {path} cannot be written, lines are lost: {error}");
        let mut unhurried = Patience { left: Duration::ZERO, ..Patience::new() };
        let told = format!("mcp-tunnel: {line}\n");
        // If this fails, there is no other place to report it.
        let _ = unhurried.write(io::stderr().as_fd(), told.as_bytes(), &mut 0);
        line
    }
}

fn writable(fd: impl AsFd, patience: Duration) -> bool {
    let mut set = [PollFd::new(&fd, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).ok();
    let ready = poll(&mut set, patience.as_ref()).is_ok_and(|n| n > 0);
    let bad = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
    ready && !set[0].revents().intersects(bad)
}

/// True if this is the stream that the service manager names in `JOURNAL_STREAM`.
fn is_the_journal(fd: impl AsFd) -> bool {
    let Ok(stat) = rustix::fs::fstat(&fd) else { return false };
    let named = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    named == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn to_file(name: &str, format: Option<Format>) -> (Logger, PathBuf) {
        let path =
            std::env::temp_dir().join(format!("mcp-tunnel-log-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        let logger = Logger::new(LogSettings {
            format,
            file: Some(path.clone()),
            level: LevelFilter::Info,
            always: vec![
                ("client_instance_id", "0a1b".to_owned()),
                ("tunnel_id", "tunnel_x".to_owned()),
            ],
            ring: 10,
        });
        (logger.unwrap(), path)
    }

    fn record(logger: &Logger, target: &str, level: Level, text: &str) {
        log::set_max_level(LevelFilter::Info);
        let mut record = Record::builder();
        record.target(target).level(level);
        logger.log(&record.args(format_args!("{text}")).build());
    }

    #[test] // operations-83
    fn a_file_without_a_format_is_struct_text_and_readable_by_the_owner_only() {
        let (logger, path) = to_file("mode", None);
        record(&logger, "mcp_tunnel::mcp::http", Level::Warn, "slow");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("time=2"), "{text}");
        let rest = " level=WARN msg=slow client_instance_id=0a1b tunnel_id=tunnel_x \
                    component=mcpclient\n";
        assert!(text.ends_with(rest), "{text}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn only_records_of_this_crate_pass() {
        let (logger, path) = to_file("own", Some(Format::Json));
        record(&logger, "ureq::tls", Level::Error, "Authorization: Bearer x");
        record(&logger, "rustls", Level::Warn, "x");
        record(&logger, "mcp_tunnel::cli", Level::Debug, "below the level");
        record(&logger, "mcp_tunnel::cli", Level::Info, "ours");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r#""msg":"ours""#), "{text}");
        let mut metrics = Exposition::default();
        logger.write_metrics(&mut metrics);
        assert!(metrics.finish().contains("log_records_total{level=\"info\"} 1\n"));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_moved_log_file_is_left_alone_after_reopening() {
        let (logger, path) = to_file("reopen", Some(Format::Json));
        record(&logger, "mcp_tunnel", Level::Info, "one");
        let old = path.with_extension("1");
        fs::rename(&path, &old).unwrap();
        record(&logger, "mcp_tunnel", Level::Info, "two");
        logger.reopen().unwrap();
        record(&logger, "mcp_tunnel", Level::Info, "three");
        assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 2);
        assert!(fs::read_to_string(&path).unwrap().contains("three"));
        fs::remove_file(old).unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_reader_that_has_gone_or_stalled_takes_no_line() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(writable(&writer, Duration::ZERO));
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        while rustix::io::write(&writer, &[0; 4096]).is_ok() {}
        assert!(!writable(&writer, Duration::ZERO));
        drop(reader);
        assert!(!writable(&writer, Duration::ZERO));
    }
}
