//! Checks whether a stdio command could be started, without starting it (11.3).
//!
//! [`program`] checks the program itself, which decides whether the command starts at all: the
//! verdict on a configuration uses it. [`check`] also follows a few wrappers (shells, interpreters,
//! `env`) to the file that they would run; `doctor` and `init` base warnings on it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::settings::grammar;
use crate::settings::reference::text_of;

/// The maximum depth of nested wrappers that are followed.
const MAX_DEPTH: usize = 4;
/// How much of a file is read for its `#!` line, in bytes.
const HEAD_MAX: u64 = 4096;

const SHELLS: [&str; 5] = ["sh", "bash", "zsh", "dash", "ksh"];
/// Shell words that do more than run one program; a text with one of them is not followed.
const SHELL_WORDS: [&str; 24] = [
    "if", "for", "while", "until", "case", "function", "{", "(", "!", "[", "[[", ":", ".",
    "source", "cd", "eval", "export", "read", "set", "trap", "ulimit", "umask", "unset", "wait",
];
const INTERPRETERS: [&str; 7] = ["python", "python3", "node", "ruby", "perl", "php", "deno"];

/// Checks a command; `path` is the value of `PATH`.
///
/// # Errors
/// One line that names the missing file.
pub fn check(argv: &[String], path: &str) -> Result<PathBuf, String> {
    check_at(argv, path, 0)
}

fn check_at(argv: &[String], path: &str, depth: usize) -> Result<PathBuf, String> {
    let Some(program) = argv.first() else { return Err("the command is empty".to_owned()) };
    let found = resolve(program, path)?;
    check_interpreter(&found, path)?;
    if depth == MAX_DEPTH {
        return Ok(found);
    }
    let name = program.rsplit('/').next().unwrap_or(program).to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let rest = &argv[1..];
    if SHELLS.contains(&name) {
        check_shell(rest, path, depth)?;
    } else if name == "env" {
        let inner = after_env(rest);
        if !inner.is_empty() {
            check_at(&inner, path, depth + 1)?;
        }
    } else if INTERPRETERS.contains(&name) {
        check_script(rest)?;
    }
    Ok(found)
}

/// The executable file that a word names.
fn resolve(program: &str, path: &str) -> Result<PathBuf, String> {
    find(program, path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("`{program}` is not an executable file"),
        _ if program.contains('/') => format!("there is no `{program}`"),
        _ => format!("there is no command `{program}` in PATH"),
    })
}

/// The file that the system would execute for this word; `path` is the value of `PATH`.
///
/// # Errors
/// The system's own: `NotFound` for a missing program or a missing interpreter in the `#!` line,
/// `PermissionDenied` for a file that may not be executed.
pub fn program(word: &str, path: &str) -> io::Result<PathBuf> {
    let file = find(word, path)?;
    match interpreter(&file) {
        Some((interpreter, _)) if !interpreter.is_empty() => fs::metadata(interpreter).map(drop)?,
        _ => {}
    }
    Ok(file)
}

fn find(program: &str, path: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        let file = PathBuf::from(program);
        executable(&file)?;
        return Ok(file);
    }
    let mut wrong = io::ErrorKind::NotFound.into();
    for dir in path.split(':') {
        let file = Path::new(if dir.is_empty() { "." } else { dir }).join(program);
        match executable(&file) {
            Ok(()) => return Ok(file),
            // The search goes on, but a file that may not be executed is reported.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => wrong = e,
            Err(_) => {}
        }
    }
    Err(wrong)
}

fn executable(file: &Path) -> io::Result<()> {
    if !fs::metadata(file)?.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// The interpreter that a script names in its `#!` line, and the words after it.
fn interpreter(file: &Path) -> Option<(String, Vec<String>)> {
    let mut head = Vec::new();
    // A file that may be run but not read has no `#!` line that could be checked.
    let opened = File::open(file).ok()?;
    if opened.take(HEAD_MAX).read_to_end(&mut head).is_err() || !head.starts_with(b"#!") {
        return None;
    }
    let line = head[2..].split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace().map(str::to_owned);
    Some((words.next().unwrap_or_default(), words.collect()))
}

/// A script needs its interpreter.
fn check_interpreter(file: &Path, path: &str) -> Result<(), String> {
    let Some((interpreter, words)) = interpreter(file) else { return Ok(()) };
    let shown = file.display();
    if interpreter.is_empty() {
        return Err(format!("the `#!` line of {shown} is empty"));
    }
    if !interpreter.starts_with('/') {
        return Err(format!("the `#!` line of {shown} needs an absolute path"));
    }
    resolve(&interpreter, path).map_err(|e| format!("the `#!` line of {shown}: {e}"))?;
    if interpreter.ends_with("/env")
        && let Some(program) = after_env(&words).first()
    {
        resolve(program, path).map_err(|e| format!("the `#!` line of {shown}: {e}"))?;
    }
    Ok(())
}

/// The command that `env` would run.
fn after_env(words: &[String]) -> Vec<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "-S" || word == "--split-string" {
            let split = words.next().map(|text| grammar::argv(text).unwrap_or_default());
            return split.unwrap_or_default().into_iter().chain(words.cloned()).collect();
        } else if word == "-u" || word == "--unset" || word == "-C" || word == "--chdir" {
            words.next();
        } else if !word.starts_with('-') && !is_assignment(word) {
            return std::iter::once(word).chain(words).cloned().collect();
        }
    }
    Vec::new()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// A shell runs the text after `-c`, or a script.
fn check_shell(words: &[String], path: &str, depth: usize) -> Result<(), String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            return readable(word);
        }
        if !word.starts_with("--") && word.contains('c') {
            let Some(text) = words.next() else { return Err("`-c` has no command".to_owned()) };
            let argv = grammar::argv(text)?;
            let inner: Vec<String> = argv
                .into_iter()
                .skip_while(|w| {
                    ["exec", "command", "env"].contains(&w.as_str()) || is_assignment(w)
                })
                .collect();
            return match inner.first() {
                Some(word) if !SHELL_WORDS.contains(&word.as_str()) => {
                    check_at(&inner, path, depth + 1).map(drop)
                }
                _ => Ok(()),
            };
        }
    }
    Ok(())
}

/// An interpreter runs its first argument that is not an option; a module or an inline text ends
/// the check.
fn check_script(words: &[String]) -> Result<(), String> {
    const NO_SCRIPT: [&str; 8] = ["-m", "-c", "-e", "-r", "--eval", "-p", "--print", "run"];
    for word in words {
        if NO_SCRIPT.contains(&word.as_str()) || word == "-" {
            return Ok(());
        }
        if !word.starts_with('-') {
            return readable(word);
        }
    }
    Ok(())
}

fn readable(file: &str) -> Result<(), String> {
    match File::open(file).and_then(|opened| opened.metadata()) {
        Ok(meta) if meta.is_file() => Ok(()),
        Ok(_) => Err(format!("`{file}` is not a file")),
        Err(e) => Err(format!("cannot read `{file}`: {}", text_of(&e))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn run(command: &str) -> Result<PathBuf, String> {
        check(&grammar::argv(command).unwrap(), "/usr/bin:/bin")
    }

    #[test] // cli.md, 11.3, stdio-85, stdio-87
    fn a_command_must_be_found_and_executable() {
        assert!(run("sh").is_ok());
        assert!(run("/bin/sh").is_ok());
        assert!(run("no-such-command-here").unwrap_err().contains("PATH"));
        assert!(run("/etc/passwd").unwrap_err().contains("executable"));
        assert!(run("/nonexistent/x").is_err());
    }

    #[test] // cli.md, 11.3, stdio-86
    fn wrappers_are_followed() {
        assert!(run("sh -c 'exec env A=b no-such-command'").unwrap_err().contains("no-such"));
        assert!(run("sh -ec 'exec cat'").is_ok());
        assert!(run("sh /nonexistent/script").is_err());
        assert!(run("sh -c 'umask 027; exec no-such-command'").is_ok());
        assert!(run("sh -c 'while true; do no-such-command; done'").is_ok());
        assert!(run("env -u X A=1 no-such-command x").is_err());
        assert!(run("env -S 'sh -c cat'").is_ok());
        assert!(run("sh -c \"sh -c 'sh -c cat'\"").is_ok());
    }

    #[test] // cli.md, 11.3, stdio-85
    fn scripts_need_their_interpreter() {
        let dir = std::env::temp_dir().join(format!("mcp-tunnel-pre-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let script = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            run(path.to_str().unwrap())
        };
        assert!(script("good", "#!/bin/sh\n").is_ok());
        assert!(script("env", "#!/usr/bin/env sh\n").is_ok());
        assert!(script("gone", "#!/nonexistent/sh\n").is_err());
        assert!(script("bare", "#!sh\n").unwrap_err().contains("absolute"));
        assert!(script("missing", "#!/usr/bin/env no-such-command\n").is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
