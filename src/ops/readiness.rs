//! Readiness: whether commands can be served now, and if not, why, in one line.
//!
//! Each room's state is a [`Condition`], which `daemon` makes from the room's cells. Conditions are
//! checked again for every probe, so readiness follows them both ways.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::wire::json;

/// The result of checking a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The condition holds.
    Ready,
    /// Commands are served, but the operator should know of this (operations-56, operations-58).
    ReadyBut(String),
    /// Commands cannot be served; the reason in one line.
    NotReady(String),
}

impl Verdict {
    /// The stable word for scripts: `ok`, `attention` or `failed`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ready => "ok",
            Self::ReadyBut(_) => "attention",
            Self::NotReady(_) => "failed",
        }
    }

    /// The reason that the operator should know, if any.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ready => None,
            Self::ReadyBut(text) | Self::NotReady(text) => Some(text),
        }
    }
}

/// A detail besides the verdict: a stable name, and a value as JSON text.
pub type Fact = (&'static str, String);

type Check = Box<dyn Fn() -> Verdict + Send + Sync>;
type Facts = Box<dyn Fn() -> Vec<Fact> + Send + Sync>;

/// Something that must hold for the daemon to be ready.
pub struct Condition {
    name: String,
    check: Check,
    facts: Facts,
}

impl Condition {
    /// A condition with a stable one-word name. `check` must return at once.
    pub fn new(
        name: impl Into<String>,
        check: impl Fn() -> Verdict + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), check: Box::new(check), facts: Box::new(Vec::new) }
    }

    /// Adds details to the verdict. `facts` must return at once.
    pub fn with_facts(mut self, facts: impl Fn() -> Vec<Fact> + Send + Sync + 'static) -> Self {
        self.facts = Box::new(facts);
        self
    }
}

/// All conditions, and whether the daemon is draining.
pub struct Readiness {
    conditions: Vec<Condition>,
    draining: AtomicBool,
}

/// An answer to a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// True if commands are served.
    pub ready: bool,
    /// `ready`, `ready (reason)` or the first reason why not (operations.md, section 3).
    pub line: String,
    /// The result of each condition, in order.
    pub conditions: Vec<Finding>,
}

/// The result of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The condition's name.
    pub name: String,
    /// The verdict: does it hold?
    pub verdict: Verdict,
    /// Details besides the verdict.
    pub facts: Vec<Fact>,
}

impl Readiness {
    /// Ready when every condition holds. The first one that does not hold gives the reason.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions, draining: AtomicBool::new(false) }
    }

    /// Marks the daemon as draining: it takes no new commands from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// True if the daemon is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Checks every condition.
    pub fn report(&self) -> Report {
        let mut conditions = Vec::with_capacity(self.conditions.len() + 1);
        if self.is_draining() {
            let verdict = Verdict::NotReady("draining".to_owned());
            conditions.push(Finding { name: "shutdown".to_owned(), verdict, facts: Vec::new() });
        }
        conditions.extend(self.conditions.iter().map(|c| Finding {
            name: c.name.clone(),
            verdict: one_line((c.check)()),
            facts: (c.facts)(),
        }));
        let reason = |wanted: fn(&Verdict) -> Option<&String>| {
            conditions.iter().find_map(|finding| wanted(&finding.verdict)).cloned()
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
    /// One line for each condition: `ok NAME` or `not ok NAME: reason`, with its details in
    /// brackets; then the verdict. Details that are unknown are left out.
    pub fn verbose(&self) -> String {
        let mut text = String::new();
        for Finding { name, verdict, facts } in &self.conditions {
            text.push_str(match verdict {
                Verdict::NotReady(_) => "not ok ",
                Verdict::Ready | Verdict::ReadyBut(_) => "ok ",
            });
            text.push_str(name);
            if let Some(reason) = verdict.reason() {
                text.push_str(": ");
                text.push_str(reason);
            }
            // Repeating the reason would only make the line longer.
            let said = |value: &str| verdict.reason().is_some_and(|reason| reason.contains(value));
            let facts: Vec<String> = facts
                .iter()
                .filter(|(_, value)| value != "null")
                .filter(|(name, value)| *name != "last_error" || !said(value.trim_matches('"')))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            if !facts.is_empty() {
                text.push_str(&format!(" [{}]", facts.join(" ")));
            }
            text.push('\n');
        }
        text.push_str(if self.ready { "ready\n" } else { "not ready\n" });
        text
    }

    /// The same as one JSON object.
    pub fn json(&self) -> String {
        let conditions: Vec<String> = self
            .conditions
            .iter()
            .map(|Finding { name, verdict, facts }| {
                let mut text = format!(
                    "{{\"name\":{},\"state\":\"{}\",\"reason\":{}",
                    json::quote(name),
                    verdict.word(),
                    verdict.reason().map_or_else(|| "null".to_owned(), json::quote)
                );
                for (name, value) in facts {
                    text.push_str(&format!(",\"{name}\":{value}"));
                }
                text.push('}');
                text
            })
            .collect();
        format!(
            "{{\"ready\":{},\"line\":{},\"conditions\":[{}]}}",
            self.ready,
            json::quote(&self.line),
            conditions.join(",")
        )
    }
}

/// Reasons may quote a server. The answer to a probe must stay one printable line.
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

    #[test] // operations-60
    fn without_a_complaint_the_word_is_ready() {
        let readiness = Readiness::new(vec![Condition::new("mcp", || Verdict::Ready)]);
        assert_eq!(readiness.report().line, "ready");
    }
}
