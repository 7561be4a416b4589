//! Readiness: whether commands can be served now, and in one line why not.
//!
//! Each room's state is a [`Condition`] that `cli` makes from the cells the room owns. Conditions
//! are asked afresh for every probe: nothing latches, up or down.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a condition finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Ready,
    /// Commands are served, but the operator should know this (Y-6, Y-8).
    ReadyBut(String),
    /// Commands can not be served; the reason in one line.
    NotReady(String),
}

type Check = Box<dyn Fn() -> Verdict + Send + Sync>;

/// One thing that must hold.
pub struct Condition {
    name: String,
    check: Check,
}

impl Condition {
    /// A condition under a stable one-word name. `check` must answer at once.
    pub fn new(
        name: impl Into<String>,
        check: impl Fn() -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), check: Box::new(check) }
    }
}

/// All conditions, and the daemon's own state.
pub struct Readiness {
    conditions: Vec<Condition>,
    draining: AtomicBool,
}

/// An answer to a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether commands are served.
    pub ready: bool,
    /// `ready`, `ready (reason)` or the first reason why not (operations.md, section 3).
    pub line: String,
    /// Each condition and what it found, in order.
    pub conditions: Vec<(String, Verdict)>,
}

impl Readiness {
    /// Ready when every condition holds. The first one that does not is the reason given.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions, draining: AtomicBool::new(false) }
    }

    /// From now on the daemon takes no new commands.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Asks every condition.
    pub fn report(&self) -> Report {
        let mut conditions = Vec::with_capacity(self.conditions.len() + 1);
        if self.draining.load(Ordering::SeqCst) {
            conditions.push(("shutdown".to_owned(), Verdict::NotReady("draining".to_owned())));
        }
        conditions.extend(self.conditions.iter().map(|c| (c.name.clone(), one_line((c.check)()))));
        let reason = |wanted: fn(&Verdict) -> Option<&String>| {
            conditions.iter().find_map(|(_, verdict)| wanted(verdict)).cloned()
        };
        let not_ready = reason(|v| if let Verdict::NotReady(why) = v { Some(why) } else { None });
        let but = reason(|v| if let Verdict::ReadyBut(why) = v { Some(why) } else { None });
        let ready = not_ready.is_none();
        let line = match (not_ready, but) {
            (Some(why), _) => why,
            (None, Some(but)) => format!("ready ({but})"),
            (None, None) => "ready".to_owned(),
        };
        Report { ready, line, conditions }
    }
}

impl Report {
    /// One line for each condition: `ok NAME` or `not ok NAME: reason`, then the verdict.
    pub fn verbose(&self) -> String {
        let mut text = String::new();
        for (name, verdict) in &self.conditions {
            text.push_str(&match verdict {
                Verdict::Ready => format!("ok {name}\n"),
                Verdict::ReadyBut(but) => format!("ok {name}: {but}\n"),
                Verdict::NotReady(why) => format!("not ok {name}: {why}\n"),
            });
        }
        text.push_str(if self.ready { "ready\n" } else { "not ready\n" });
        text
    }
}

/// Reasons may quote what a server said; a probe's answer stays one printable line.
fn one_line(verdict: Verdict) -> Verdict {
    let clean = |text: String| super::log::printable(text.trim()).into_owned();
    match verdict {
        Verdict::Ready => Verdict::Ready,
        Verdict::ReadyBut(text) => Verdict::ReadyBut(clean(text)),
        Verdict::NotReady(text) => Verdict::NotReady(clean(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn readiness_follows_its_conditions_both_ways() {
        let polled = Arc::new(AtomicBool::new(false));
        let seen = polled.clone();
        let readiness = Readiness::new(vec![
            Condition::new("control_plane", move || {
                if seen.load(Ordering::SeqCst) {
                    Verdict::Ready
                } else {
                    Verdict::NotReady("no poll has succeeded yet".to_owned())
                }
            }),
            Condition::new("mcp", || Verdict::ReadyBut("asks for\nauthorization".to_owned())),
        ]);
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(report.line, "no poll has succeeded yet");
        assert_eq!(
            report.verbose(),
            "not ok control_plane: no poll has succeeded yet\n\
             ok mcp: asks for\\nauthorization\nnot ready\n"
        );
        polled.store(true, Ordering::SeqCst);
        assert_eq!(readiness.report().line, "ready (asks for\\nauthorization)");
        polled.store(false, Ordering::SeqCst);
        assert!(!readiness.report().ready);
        polled.store(true, Ordering::SeqCst);
        readiness.drain();
        assert_eq!(readiness.report().line, "draining");
    }

    #[test] // Y-10
    fn without_a_complaint_the_word_is_ready() {
        let readiness = Readiness::new(vec![Condition::new("mcp", || Verdict::Ready)]);
        assert_eq!(readiness.report().line, "ready");
    }
}
