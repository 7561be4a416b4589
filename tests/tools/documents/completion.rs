//! Completions for bash, zsh and fish (cli-10): static files, nothing is asked at run time.

use std::fmt::Write;

use super::{children, commands_of};
use mcp_tunnel::cli::{Accepts, Command, Flag, Program};
use mcp_tunnel::settings::Id;
use mcp_tunnel::settings::TABLE;
use mcp_tunnel::settings::table::{Kind, Setting};

/// How the value of a flag is completed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completes {
    /// There is no value.
    Nothing,
    /// A file.
    Files,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Anything else.
    Text,
}

/// A flag of a command, its own or that of a setting.
struct AnyFlag {
    name: &'static str,
    short: &'static str,
    completes: Completes,
}

fn setting_flag(s: &'static Setting) -> AnyFlag {
    let completes = match s.kind {
        Kind::Bool => Completes::Nothing,
        Kind::Path | Kind::PathRef | Kind::Source("FILE" | "DIR") => Completes::Files,
        Kind::LogLevel => Completes::Words(&["debug", "info", "warn", "error"]),
        Kind::LogFormat => Completes::Words(&["struct-text", "json"]),
        Kind::Choice(words) => Completes::Words(words),
        Kind::Transports => Completes::Words(&["http-streamable"]),
        _ => Completes::Text,
    };
    AnyFlag { name: s.flag, short: s.short, completes }
}

fn own_flag(flag: &'static Flag) -> AnyFlag {
    let completes = match flag.metavar {
        "" => Completes::Nothing,
        "FILE" | "DIR" | "PATH" => Completes::Files,
        _ => Completes::Text,
    };
    AnyFlag { name: flag.name, short: flag.short, completes }
}

/// The flags of a command; those that are refused are not offered.
fn flags(command: &'static Command) -> Vec<AnyFlag> {
    let settings = TABLE.iter().filter(|s| !s.flag.is_empty() && s.kind != Kind::Refused);
    let of_settings = settings.filter(|s| command.settings.has(s.id)).map(setting_flag);
    command.flags.iter().map(own_flag).chain(of_settings).collect()
}

/// Every command with the words that lead to it, the program first.
fn commands(program: &'static Program) -> Vec<(String, &'static Command)> {
    let mut all = vec![(program.root.name.to_owned(), &program.root)];
    all.extend(commands_of(program));
    all
}

/// A program's name as a part of a function's.
fn function(program: &Program) -> String {
    program.root.name.replace('-', "_")
}

const HEAD: &str = "Made from the tables of commands and settings; see tests/tools/documents/.";

/// For bash-completion.
pub fn bash(program: &'static Program) -> String {
    let (name, function) = (program.root.name, function(program));
    let mut out = format!(
        "# bash completion for {name}. {HEAD}\n\n\
         _{function}() {{\n\
         \x20   local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n\
         \x20   local path={name} word i\n\
         \x20   for ((i = 1; i < COMP_CWORD; i++)); do\n\
         \x20       word=${{COMP_WORDS[i]}}\n\
         \x20       case \"$path $word\" in\n"
    );
    let all = commands(program);
    for (path, _) in all.iter().skip(1) {
        let _ = writeln!(out, "            '{path}') path='{path}' ;;");
    }
    out.push_str("        esac\n    done\n    COMPREPLY=()\n    case \"$prev\" in\n");
    let mut by_value: Vec<(Completes, Vec<String>)> = Vec::new();
    for flag in all.iter().flat_map(|(_, command)| flags(command)) {
        let name = format!("--{}", flag.name);
        if flag.completes == Completes::Nothing {
            continue;
        }
        match by_value.iter_mut().find(|(completes, _)| *completes == flag.completes) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None => by_value.push((flag.completes, vec![name])),
        }
    }
    for (completes, mut names) in by_value {
        if completes == Completes::Files {
            names.push("-c".to_owned());
        }
        let action = match completes {
            Completes::Files => "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")".to_owned(),
            Completes::Words(words) => {
                let words = words.join(" ");
                format!("mapfile -t COMPREPLY < <(compgen -W '{words}' -- \"$cur\")")
            }
            Completes::Text | Completes::Nothing => ":".to_owned(),
        };
        let names = names.join(" | \\\n        ");
        let _ = write!(
            out,
            "        {names})\n            {action}\n            return\n            ;;\n"
        );
    }
    out.push_str("    esac\n    local words= settings='");
    for s in TABLE.iter().filter(|s| !s.flag.is_empty() && s.kind != Kind::Refused) {
        let _ = write!(out, "\n        --{}", s.flag);
    }
    out.push_str("'\n    case \"$path\" in\n");
    for (path, command) in &all {
        let mut words: Vec<String> = children(command).iter().map(|c| c.name.to_owned()).collect();
        words.push("--help".to_owned());
        words.extend(command.flags.iter().map(|flag| format!("--{}", flag.name)));
        match command.settings {
            Accepts::Nothing => {}
            Accepts::Some(ids) => {
                words.extend(ids.iter().map(|id| format!("--{}", Setting::of(*id).flag)));
            }
            Accepts::All | Accepts::AllListed => words.push("$settings".to_owned()),
        }
        let _ = writeln!(out, "        '{path}') words=\"{}\" ;;", words.join(" "));
    }
    out.push_str("    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n}\n");
    let _ = writeln!(out, "complete -F _{function} {name}");
    out
}

/// For zsh.
pub fn zsh(program: &'static Program) -> String {
    let mut out = format!("#compdef {}\n# {HEAD}\n\n", program.root.name);
    for (path, command) in commands(program) {
        let name = path.replace([' ', '-'], "_");
        let _ = write!(
            out,
            "_{name}() {{\n    local curcontext=$curcontext context state line\n    \
             local -A opt_args\n    _arguments -C \\\n"
        );
        for flag in flags(command) {
            let short =
                flag.short.replace('\'', "'\\''").replace(['[', ']'], "").replace(':', "\\:");
            let value = match flag.completes {
                Completes::Nothing => String::new(),
                Completes::Files => ":file:_files".to_owned(),
                Completes::Words(words) => format!(":value:({})", words.join(" ")),
                Completes::Text => ":value: ".to_owned(),
            };
            let equals = if flag.completes == Completes::Nothing { "" } else { "=" };
            let _ = writeln!(out, "        '*--{}{equals}[{short}]{value}' \\", flag.name);
        }
        if command.settings.has(Id::ConfigFile) {
            out.push_str("        '-c[Configuration file]:file:_files' \\\n");
        }
        out.push_str("        '(- *)'{-h,--help}'[Help]'");
        if command.children().is_empty() {
            out.push_str("\n}\n\n");
            continue;
        }
        out.push_str(" \\\n        '1: :->command' '*:: :->rest'\n    case $state in\n");
        out.push_str("        command)\n            local -a commands=(\n");
        for child in children(command) {
            let short = child.short.replace('\'', "'\\''");
            let _ = writeln!(out, "                '{}:{short}'", child.name);
        }
        out.push_str("            )\n            _describe command commands\n            ;;\n");
        out.push_str("        rest)\n            case $words[1] in\n");
        for child in children(command) {
            let child_name = format!("{name}_{}", child.name.replace('-', "_"));
            let _ = writeln!(out, "                {}) _{child_name} ;;", child.name);
        }
        out.push_str("            esac\n            ;;\n    esac\n}\n\n");
    }
    let _ = writeln!(out, "_{} \"$@\"", function(program));
    out
}

/// For fish.
pub fn fish(program: &'static Program) -> String {
    let name = program.root.name;
    let mut out = format!("# fish completion for {name}. {HEAD}\n\n");
    let _ = write!(out, "complete -c {name} -f\ncomplete -c {name} -s h -l help -d Help\n");
    for (path, command) in commands(program) {
        let words: Vec<&str> = path.split(' ').skip(1).collect();
        let mut condition: Vec<String> =
            words.iter().map(|word| format!("__fish_seen_subcommand_from {word}")).collect();
        let below: Vec<&str> = children(command).iter().map(|c| c.name).collect();
        if !below.is_empty() {
            condition.push(format!("not __fish_seen_subcommand_from {}", below.join(" ")));
        }
        let condition = condition.join("; and ");
        for child in children(command) {
            let short = child.short.replace('\'', "\\'");
            let _ =
                writeln!(out, "complete -c {name} -n '{condition}' -a {} -d '{short}'", child.name);
        }
        for flag in flags(command) {
            let value = match flag.completes {
                Completes::Nothing => String::new(),
                Completes::Files => " -r -F".to_owned(),
                Completes::Words(words) => format!(" -x -a '{}'", words.join(" ")),
                Completes::Text => " -x".to_owned(),
            };
            let short = flag.short.replace('\'', "\\'");
            let letter = if flag.name == "config" { " -s c" } else { "" };
            let _ = writeln!(
                out,
                "complete -c {name} -n '{condition}'{letter} -l {}{value} -d '{short}'",
                flag.name
            );
        }
    }
    out
}
