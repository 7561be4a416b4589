//! Help texts, made from the tables of commands and settings.

use std::fmt::Write;

use super::command::{Accepts, Command, spelled};
use super::commands::{ROOT, RUN};
use super::topics::{self, TOPICS};
use crate::settings::TABLE;
use crate::settings::problem::did_you_mean;
use crate::settings::table::{Kind, Section, Setting};

/// Width of help in columns.
const WIDTH: usize = 80;

/// What `mcp-tunnel` alone prints.
pub const WELCOME: &str = "\
A tunnel from a private MCP server to a control plane, by outbound HTTPS only.

Three commands to a running tunnel:

  export CONTROL_PLANE_TUNNEL_ID=tunnel_...   # from your control plane
  export CONTROL_PLANE_API_KEY=...            # a runtime key, not an admin key
  mcp-tunnel run --mcp.server-url http://127.0.0.1:3001/mcp

For a server on standard streams: --mcp.command 'my-server --stdio'
Without a server at hand:         --mcp.command 'mcp-tunnel mcp-stub'
Without a control plane at hand:  mcp-tunnel-relay serve --dev prints id and key

Is it well?  mcp-tunnel health
If not:      mcp-tunnel doctor --explain, with the same flags

`mcp-tunnel -h` lists the commands, `mcp-tunnel run -h` the settings.
";

/// Help on what the words name: nothing, a topic, or a command.
///
/// # Errors
/// If there is neither.
pub fn on(words: &[String]) -> Result<String, String> {
    if let [word] = words
        && let Some(text) = topics::find(word)
    {
        return Ok(text.to_owned());
    }
    let mut path = vec![&ROOT];
    for word in words {
        let children = path.last().expect("a path begins at the root").children;
        let Some(child) = children.iter().find(|child| child.name == word) else {
            let names = TOPICS.iter().map(|(name, ..)| *name);
            let known = names.clone().chain(ROOT.children.iter().map(|child| child.name));
            let near = did_you_mean(word, known);
            let topics: Vec<&str> = names.collect();
            return Err(format!(
                "there is no help on `{}`{near}; topics: {}",
                words.join(" "),
                topics.join(", ")
            ));
        };
        path.push(child);
    }
    Ok(of(&path, true))
}

/// Help on the command at the end of a path.
pub fn of(path: &[&'static Command], long: bool) -> String {
    let command = path.last().expect("a path begins at the root");
    let mut out = format!("{}.\n", command.short);
    if long && !command.long.is_empty() {
        out.push('\n');
        wrap(&mut out, &plain(command.long), "", WIDTH);
    }
    let mut usage = spelled(path);
    if !command.children.is_empty() {
        usage.push_str(" COMMAND");
    }
    if !matches!(command.settings, Accepts::Nothing) || !command.flags.is_empty() {
        usage.push_str(" [FLAGS]");
    }
    for word in command.words {
        let _ = write!(usage, " {word}");
    }
    let _ = write!(out, "\nUsage: {usage}\n");
    if !command.children.is_empty() {
        out.push_str("\nCommands:\n");
        for child in command.children {
            row(&mut out, child.name, child.short, 18);
        }
    }
    let some = |s: &&Setting| matches!(command.settings, Accepts::Some(ids) if ids.contains(&s.id));
    if !command.flags.is_empty() || TABLE.iter().any(|s| some(&s)) {
        out.push_str("\nFlags:\n");
        for flag in command.flags {
            let name = match flag.metavar {
                "" => format!("--{}", flag.name),
                metavar => format!("--{} {metavar}", flag.name),
            };
            row(&mut out, &name, flag.short, 28);
        }
        for s in TABLE.iter().filter(some) {
            row(&mut out, &flag_of(s), s.short, 28);
        }
    }
    if command.name == RUN {
        settings(&mut out, long);
    } else if matches!(command.settings, Accepts::All) {
        out.push_str("\nTakes the settings of `run` too: `mcp-tunnel run -h` lists them.\n");
    }
    let _ = write!(out, "\nExample:\n  {}\n", command.example);
    if path.len() == 1 {
        out.push_str("\nTopics of `mcp-tunnel help`:\n");
        for (name, short, _) in TOPICS {
            row(&mut out, name, short, 18);
        }
        out.push_str("\n`mcp-tunnel COMMAND --help` explains a command in full.\n");
    } else if !long && command.name == RUN {
        out.push_str("\n--help explains each setting, with its variable and file key.\n");
    }
    out
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

/// A flag with what stands for its value.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn every(path: &mut Vec<&'static Command>, check: &mut impl FnMut(&[&'static Command])) {
        check(path);
        for child in path.last().unwrap().children {
            path.push(child);
            every(path, check);
            path.pop();
        }
    }

    #[test]
    fn help_fits_into_80_columns_and_shows_an_example() {
        every(&mut vec![&ROOT], &mut |path| {
            for long in [false, true] {
                let text = of(path, long);
                for line in text.lines() {
                    let name = spelled(path);
                    assert!(line.chars().count() <= WIDTH, "{name}: {line}");
                    assert!(!line.ends_with(' '), "{name}: {line:?}");
                }
                assert!(text.contains("Example:"));
            }
        });
        assert!(WELCOME.lines().all(|line| line.chars().count() <= WIDTH));
    }

    #[test] // cfg C-7
    fn long_help_names_every_flag_and_variable() {
        let run = of(&[&ROOT, &ROOT.children[0]], true);
        for s in TABLE {
            assert!(s.flag.is_empty() || run.contains(&format!("--{}", s.flag)), "{}", s.flag);
            assert!(s.env.iter().all(|name| run.contains(name)), "{:?}", s.env);
        }
    }
}
