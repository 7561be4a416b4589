//! The documents in the repository are those that the tables make.
//!
//! `UPDATE_GENERATED=1 cargo test --test generated` writes them anew.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use mcp_tunnel::cli::docs;

fn in_repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_documents_are_up_to_date() {
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let mut stale = Vec::new();
    for (path, text) in docs::files() {
        let file = in_repository(path);
        if fs::read_to_string(&file).ok().as_deref() == Some(text.as_str()) {
            continue;
        }
        if update {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        } else {
            stale.push(path);
        }
    }
    let readme = in_repository("README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let table = docs::readme_settings();
    let begin = text.find(docs::README_BEGIN).expect("the README has a place for the table");
    let end = text.find(docs::README_END).expect("the table has an end") + docs::README_END.len();
    if text[begin..end] != table && update {
        fs::write(&readme, format!("{}{table}{}", &text[..begin], &text[end..])).unwrap();
    } else if text[begin..end] != table {
        stale.push("README.md");
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run UPDATE_GENERATED=1 cargo test --test generated"
    );
}

/// Says that a checker is not installed. CI installs all of them.
fn skipped(checker: &str, path: &str) {
    assert!(std::env::var_os("CI").is_none(), "{checker} is not installed: {path}");
    eprintln!("{checker} is not installed: {path} is not checked");
}

#[test]
fn the_manual_pages_are_clean() {
    for (path, text) in docs::files().iter().filter(|(path, _)| path.starts_with("man/")) {
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
    for (path, text) in docs::files().iter().filter(|(path, _)| path.contains("completions/")) {
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
