//! Help texts, made from a command table and the table of settings.

use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use super::command::{Accepts, Action, Command, Program, spelled};
use crate::settings::TABLE;
use crate::settings::problem::did_you_mean;
use crate::settings::table::{Kind, Section, Setting};

/// Width of help in columns.
const WIDTH: usize = 80;

/// The subject that the words of `help` name.
pub enum Explained {
    /// This text.
    Text(String),
    /// The help that the command itself prints, given these arguments.
    By(fn(Vec<OsString>) -> ExitCode, Vec<OsString>),
}

/// Finds the subject of the words: nothing, a topic or a command.
///
/// # Errors
/// If there is neither.
pub fn on(program: &'static Program, words: &[String]) -> Result<Explained, String> {
    if let [word] = words
        && let Some(topic) = program.topics.iter().find(|topic| topic.name == word)
    {
        return Ok(Explained::Text(topic.text.to_owned()));
    }
    let mut path = vec![&program.root];
    for word in words {
        let children = path.last().expect("a path begins at the root").children();
        let child = children
            .iter()
            .find(|child| child.name == word)
            .ok_or_else(|| no_help(program, words, word))?;
        match child.action {
            Action::Raw(run) => return Ok(Explained::By(run, vec!["--help".into()])),
            Action::Forward(run) => {
                let args = words.iter().map(String::as_str).chain(["--help"]);
                return Ok(Explained::By(run, args.map(OsString::from).collect()));
            }
            Action::Group(_) | Action::Run(_) | Action::Help => path.push(child),
        }
    }
    Ok(Explained::Text(of(program, &path, true)))
}

fn no_help(program: &'static Program, words: &[String], word: &str) -> String {
    let topics = || program.topics.iter().map(|topic| topic.name);
    let known = topics().chain(program.root.children().iter().map(|child| child.name));
    let near = did_you_mean(word, known);
    let mut line = format!("there is no help on `{}`{near}", words.join(" "));
    if !program.topics.is_empty() {
        let _ = write!(line, "; topics: {}", topics().collect::<Vec<_>>().join(", "));
    }
    line
}

/// Help on the command at the end of a path.
pub fn of(program: &'static Program, path: &[&'static Command], long: bool) -> String {
    let command = path.last().expect("a path begins at the root");
    let mut out = format!("{}.\n", command.short);
    if long && !command.long.is_empty() {
        out.push('\n');
        wrap(&mut out, &plain(command.long), "", WIDTH);
    }
    let _ = write!(out, "\nUsage: {}\n", usage(path));
    let is_forward = |child: &&Command| matches!(child.action, Action::Forward(_));
    let (forwarded, own): (Vec<_>, Vec<_>) = command.children().iter().partition(is_forward);
    commands(&mut out, "Commands", &own);
    commands(&mut out, &format!("Commands of {}", program.forwards_to), &forwarded);
    own_flags(&mut out, command);
    match command.settings {
        Accepts::AllListed => settings(&mut out, long),
        Accepts::All => {
            out.push_str("\nTakes the settings of `run` too: `mcp-tunnel run -h` lists them.\n")
        }
        Accepts::Nothing | Accepts::Some(_) => {}
    }
    let _ = write!(out, "\nExample:\n  {}\n", command.example);
    let name = program.root.name;
    if path.len() == 1 {
        if !program.topics.is_empty() {
            let _ = write!(out, "\nTopics of `{name} help`:\n");
            for topic in program.topics {
                row(&mut out, topic.name, topic.short, 18);
            }
        }
        let _ = write!(out, "\n`{name} COMMAND --help` explains a command in full.\n");
    } else if !long && matches!(command.settings, Accepts::AllListed) {
        out.push_str("\n--help explains each setting, with its variable and file key.\n");
    }
    out
}

fn usage(path: &[&'static Command]) -> String {
    let command = path.last().expect("a path begins at the root");
    let mut usage = spelled(path);
    if !command.children().is_empty() {
        usage.push_str(" COMMAND");
    }
    if !matches!(command.settings, Accepts::Nothing) || !command.flags.is_empty() {
        usage.push_str(" [FLAGS]");
    }
    for word in command.words {
        let _ = write!(usage, " {word}");
    }
    usage
}

fn commands(out: &mut String, title: &str, commands: &[&Command]) {
    if commands.is_empty() {
        return;
    }
    let _ = write!(out, "\n{title}:\n");
    for command in commands {
        row(out, command.name, command.short, 18);
    }
}

/// The flags that only this command or a few have.
fn own_flags(out: &mut String, command: &Command) {
    let some = |s: &&Setting| matches!(command.settings, Accepts::Some(ids) if ids.contains(&s.id));
    if command.flags.is_empty() && !TABLE.iter().any(|s| some(&s)) {
        return;
    }
    out.push_str("\nFlags:\n");
    for flag in command.flags {
        let name = match flag.metavar {
            "" => format!("--{}", flag.name),
            metavar => format!("--{} {metavar}", flag.name),
        };
        row(out, &name, flag.short, 28);
    }
    for s in TABLE.iter().filter(some) {
        row(out, &flag_of(s), s.short, 28);
    }
}

fn settings(out: &mut String, long: bool) {
    for section in Section::ALL {
        let rows = || TABLE.iter().filter(move |s| s.section == section && !s.flag.is_empty());
        if !long && section == Section::Compatibility {
            continue;
        }
        let _ = write!(out, "\n{}:\n", section.title());
        for s in rows() {
            if long {
                entry(out, s);
            } else {
                let short = match s.default {
                    "" | "false" => s.short.to_owned(),
                    default => format!("{} [{default}]", s.short),
                };
                row(out, &flag_of(s), &short, 38);
            }
        }
    }
    if long {
        out.push_str("\nEnvironment variables:\n");
        for s in TABLE.iter().filter(|s| s.kind != Kind::Refused) {
            for name in s.env {
                row(out, name, s.short, 40);
            }
        }
        out.push('\n');
        wrap(
            out,
            "A flag wins over the environment, the environment over the file, the file over the \
             default. A variable that is set but empty hides the file. A flag without a value is \
             on; --flag=false turns it off.",
            "",
            WIDTH,
        );
    }
}

/// A flag with the placeholder for its value.
pub fn flag_of(s: &Setting) -> String {
    match s.kind {
        Kind::Bool => format!("--{}", s.flag),
        _ => format!("--{} {}", s.flag, s.metavar()),
    }
}

/// One setting in full.
fn entry(out: &mut String, s: &Setting) {
    let _ = writeln!(out, "  {}", flag_of(s));
    wrap(out, &plain(s.long), "      ", WIDTH);
    let mut facts = Vec::new();
    if !s.default.is_empty() {
        facts.push(format!("default {}", s.default));
    }
    if s.is_list() {
        facts.push("may be repeated".to_owned());
    }
    if !s.env.is_empty() {
        facts.push(format!("variable {}", s.env.join(", ")));
    }
    if !s.key.is_empty() {
        facts.push(format!("file {}", s.key));
    }
    wrap(out, &format!("[{}]", facts.join("; ")), "      ", WIDTH);
}

/// Two columns; the second begins in a line of its own if the first is too wide.
fn row(out: &mut String, left: &str, right: &str, column: usize) {
    let _ = write!(out, "  {left}");
    let used = 2 + left.chars().count();
    if used + 2 > column {
        out.push('\n');
        out.push_str(&" ".repeat(column));
    } else {
        out.push_str(&" ".repeat(column - used));
    }
    let mut wrapped = String::new();
    wrap(&mut wrapped, right, &" ".repeat(column), WIDTH);
    out.push_str(wrapped.trim_start());
}

/// The marks of the texts mean little on a terminal.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// Breaks a text into lines.
pub fn wrap(out: &mut String, text: &str, indent: &str, width: usize) {
    let mut line = indent.to_owned();
    for word in text.split_whitespace() {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
