//! The shape of a command table: what a program, a command and a flag are, and what a command is
//! given. The tables themselves are elsewhere, one for each program.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::settings::{Flags, Id};

/// A program with its command table.
pub struct Program {
    /// The program itself: its name, its texts, its commands.
    pub root: Command,
    /// Printed when nothing is typed; if it is empty, the short help is printed.
    pub welcome: &'static str,
    /// Help topics besides the commands.
    pub topics: &'static [Topic],
    /// Words that are no commands here, and what to do instead.
    pub elsewhere: &'static [(&'static str, &'static str)],
    /// The program that has the forwarded commands; empty if there are none.
    pub forwards_to: &'static str,
}

/// A text that `help NAME` prints.
pub struct Topic {
    /// The word.
    pub name: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
    /// The text; its lines fit into 80 columns.
    pub text: &'static str,
}

/// One command, or a group of them.
pub struct Command {
    /// The word.
    pub name: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
    /// Sentences for `--help` and the manual.
    pub long: &'static str,
    /// Names of the words that it takes; `[NAME]` may be left out and `[NAME...]` repeated.
    pub words: &'static [&'static str],
    /// Flags that only this command has.
    pub flags: &'static [Flag],
    /// Which flags of the settings table it takes.
    pub settings: Accepts,
    /// A line to type.
    pub example: &'static str,
    /// Its action.
    pub action: Action,
}

/// The action of a command.
pub enum Action {
    /// It is a group: it prints its help.
    Group(&'static [Command]),
    /// Runs with the given flags and words.
    Run(fn(&Invocation) -> ExitCode),
    /// Reads the arguments behind its word itself.
    Raw(fn(Vec<OsString>) -> ExitCode),
    /// Another program does it, and reads the whole command line.
    Forward(fn(Vec<OsString>) -> ExitCode),
    /// Explains a topic or a command of its program.
    Help,
}

impl Command {
    /// A command without words, flags and settings, for tables to fill in.
    pub const BARE: Self = Self {
        name: "",
        short: "",
        long: "",
        words: &[],
        flags: &[],
        settings: Accepts::Nothing,
        example: "",
        action: Action::Group(&[]),
    };

    /// The commands below it.
    pub fn children(&self) -> &'static [Self] {
        match self.action {
            Action::Group(children) => children,
            Action::Run(_) | Action::Raw(_) | Action::Forward(_) | Action::Help => &[],
        }
    }
}

/// Which settings a command takes.
pub enum Accepts {
    /// None.
    Nothing,
    /// These.
    Some(&'static [Id]),
    /// Every one; its help refers to that of `run`.
    All,
    /// Every one; its help lists them.
    AllListed,
}

impl Accepts {
    /// True if it takes the flag of a setting.
    pub fn has(&self, id: Id) -> bool {
        match self {
            Self::Nothing => false,
            Self::Some(ids) => ids.contains(&id),
            Self::All | Self::AllListed => true,
        }
    }
}

/// A flag that only some commands have.
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// The placeholder for its value; empty for a boolean.
    pub metavar: &'static str,
    /// One line, without a full stop.
    pub short: &'static str,
}

/// A command with its flags and words.
pub struct Invocation {
    /// The command.
    pub command: &'static Command,
    /// Flags of settings.
    pub settings: Flags,
    /// Values of its own flags, in order.
    pub own: Vec<(&'static str, String)>,
    /// The other words, as many as the command takes.
    pub words: Vec<String>,
}

impl Invocation {
    /// True if a boolean flag of its own is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.last(name) == Some("true")
    }

    /// The last value of a flag of its own.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.own.iter().rfind(|(flag, _)| *flag == name).map(|(_, value)| value.as_str())
    }
}

/// The words of a command as they are typed.
pub fn spelled(path: &[&'static Command]) -> String {
    path.iter().map(|c| c.name).collect::<Vec<_>>().join(" ")
}
