//! Kinds of log records that the log treats unlike the others.
//!
//! A leaf: a room that logs such a record gives the kind's target, and the log (`ops::log`) reads
//! the kind back from it. Everything else is an ordinary record, whose target is its module.

/// The subject of a log record. Each kind is bounded where it is logged, so the log does not count
/// it among repeated lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// A line that a child printed on its standard error. It may say anything, so it stays out of
    /// the support archive. Bounded for each child.
    ChildOutput,
    /// An event of a child: its start, its end, or output that is no message. Bounded for each
    /// child.
    ChildEvent,
    /// A message that the daemon logs once, or when an operator requests it with a signal.
    Daemon,
}

impl RecordKind {
    const ALL: [Self; 3] = [Self::ChildOutput, Self::ChildEvent, Self::Daemon];

    /// The target that a record of this kind is logged with:
    /// `info!(target: RecordKind::Daemon.target(), "...")`. Its second part is the room, as in
    /// the target of an ordinary record.
    pub const fn target(self) -> &'static str {
        match self {
            Self::ChildOutput => "mcp_tunnel::mcp::child_output",
            Self::ChildEvent => "mcp_tunnel::mcp::child_event",
            Self::Daemon => "mcp_tunnel::daemon::once",
        }
    }

    /// The kind of the record with this target; `None` for an ordinary one.
    pub fn of(target: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.target() == target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_from_its_target() {
        for kind in RecordKind::ALL {
            assert_eq!(RecordKind::of(kind.target()), Some(kind));
        }
        assert_eq!(RecordKind::of(module_path!()), None);
    }
}
