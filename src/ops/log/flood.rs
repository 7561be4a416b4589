//! Repeated lines: a statement that logs too often is counted for a while instead of written.
//!
//! The memory for it is bounded by the number of log statements in the program, whatever a remote
//! party sends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::Record;

use super::line::Line;
use crate::record_kind::RecordKind;

/// How many lines of one statement are written within [`WINDOW`]: enough to recognize a pattern.
pub const BURST: u32 = 20;

/// How long lines are counted before the last of them is written, with the count.
pub const WINDOW: Duration = Duration::from_secs(60);

/// A log statement: its file and line.
pub type Place = (&'static str, u32);

/// Where an ordinary record was logged. Records of a kind are bounded where they are logged.
pub fn place(record: &Record<'_>) -> Option<Place> {
    if RecordKind::of(record.target()).is_some() {
        return None;
    }
    Some((record.file_static()?, record.line()?))
}

/// The recent records of each log statement.
#[derive(Default)]
pub struct Floods {
    places: HashMap<Place, Seen>,
    /// The earliest end of a window.
    due: Option<Instant>,
}

struct Seen {
    until: Instant,
    written: u32,
    left_out: u64,
    last: Option<Line>,
}

impl Floods {
    /// Returns the line if it is to be written.
    pub fn admit(&mut self, place: Place, line: Line, now: Instant) -> Option<Line> {
        let until = now + WINDOW;
        let fresh = Seen { until, written: 0, left_out: 0, last: None };
        let seen = self.places.entry(place).or_insert(fresh);
        self.due = Some(self.due.map_or(seen.until, |due| due.min(seen.until)));
        if seen.written < BURST {
            seen.written += 1;
            return Some(line);
        }
        seen.left_out += 1;
        seen.last = Some(line);
        None
    }

    /// The last line of each statement whose window has ended, with the number of lines that were
    /// left out. After a quiet window a statement may log as much as at first.
    pub fn due(&mut self, now: Instant) -> Vec<Line> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        self.places.retain(|_, seen| {
            if now < seen.until {
                return true;
            }
            let Some(line) = seen.last.take() else { return false };
            lines.push(line.counted(std::mem::take(&mut seen.left_out)));
            seen.until = now + WINDOW;
            true
        });
        self.due = self.places.values().map(|seen| seen.until).min();
        lines
    }

    /// The same for all statements, at the end of the process.
    pub fn all(&mut self) -> Vec<Line> {
        let places = std::mem::take(&mut self.places).into_values();
        places.filter_map(|seen| Some(seen.last?.counted(seen.left_out))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = ("here", 1);
    const THERE: Place = ("there", 1);

    fn line(number: u32) -> Line {
        Line::notice(format!("fault {number}"))
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        lines.iter().map(Line::message_and_fields).collect()
    }

    #[test]
    fn a_flood_is_its_first_lines_and_then_one_line_a_minute_with_a_count() {
        let start = Instant::now();
        let mut floods = Floods::default();
        let say = |floods: &mut Floods, at| {
            (0..1_000).filter_map(|number| floods.admit(HERE, line(number), at)).count()
        };
        assert_eq!(say(&mut floods, start), BURST as usize);
        assert!(floods.admit(THERE, line(0), start).is_some(), "another place is heard");
        assert!(floods.due(start + WINDOW / 2).is_empty());
        let told = texts(floods.due(start + WINDOW));
        assert_eq!(told, [format!("fault 999 left_out={}", 1_000 - BURST)]);
        // It goes on.
        assert_eq!(say(&mut floods, start + WINDOW), 0);
        assert_eq!(texts(floods.due(start + WINDOW * 2)), ["fault 999 left_out=1000"]);
        // It is over, and then a new one begins.
        assert!(floods.due(start + WINDOW * 3).is_empty());
        assert_eq!(say(&mut floods, start + WINDOW * 3), BURST as usize);
        assert_eq!(texts(floods.all()).len(), 1);
        assert!(floods.places.is_empty());
    }

    #[test]
    fn lines_with_a_bound_of_their_own_are_not_counted_again() {
        let place_of = |target| {
            let mut record = Record::builder();
            place(&record.target(target).file_static(Some("f")).line(Some(1)).build())
        };
        assert_eq!(place_of(RecordKind::ChildOutput.target()), None);
        assert_eq!(place_of(RecordKind::Daemon.target()), None);
        assert_eq!(place_of("mcp_tunnel::dispatch::worker"), Some(("f", 1)));
    }
}
