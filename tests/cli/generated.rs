//! The documents in the repository are those that the tables make.

#[path = "../tools/documents/mod.rs"]
mod documents;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_documents_are_up_to_date() {
    let stale = documents::update(Path::new(env!("CARGO_MANIFEST_DIR")), true).unwrap();
    assert!(stale.is_empty(), "stale: {stale:?}; run `make documents`");
}

/// Says that a checker is not installed. CI installs all of them.
fn skipped(checker: &str, path: &str) {
    assert!(std::env::var_os("CI").is_none(), "{checker} is not installed: {path}");
    eprintln!("{checker} is not installed: {path} is not checked");
}

#[test]
fn the_manual_pages_are_clean() {
    for (path, text) in documents::files().iter().filter(|(path, _)| path.starts_with("man/")) {
        let mandoc = Command::new("mandoc")
            .args(["-T", "lint"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut mandoc) = mandoc else {
            skipped("mandoc", path);
            continue;
        };
        mandoc.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let lint = mandoc.wait_with_output().unwrap().stdout;
        let lint = String::from_utf8_lossy(&lint);
        // The pages refer to each other, and need not be installed here.
        let found = lint.lines().filter(|line| !line.contains("referenced manual not found"));
        assert_eq!(found.collect::<Vec<_>>(), [""; 0], "{path}");
    }
}

/// Each shell reads its completions; one that is not installed is skipped.
#[test]
fn the_completions_are_well_formed() {
    for (path, text) in documents::files().iter().filter(|(path, _)| path.contains("completions/"))
    {
        let shell = match path.rsplit('.').next() {
            Some("bash") => "bash",
            Some("fish") => "fish",
            _ => "zsh",
        };
        let checked = Command::new(shell)
            .arg("-n")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut checked) = checked else {
            skipped(shell, path);
            continue;
        };
        checked.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let checked = checked.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.is_empty(), "{path}: {said}");
    }
}
