//! The table of settings against the surface that existing configurations use, and the rules of
//! that surface against the tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mcp_tunnel::settings::{Setting, TABLE};

const SURFACE: &str = include_str!("config_surface.txt");

/// Rules of the surface by letter, and how many there are of each. Tests cite them after `cfg`.
const FAMILIES: [(char, u32); 9] =
    [('C', 12), ('S', 6), ('P', 11), ('G', 18), ('Y', 9), ('R', 4), ('E', 8), ('V', 8), ('A', 7)];

/// Rules without a test, and why.
const UNTESTED: [(&str, &str); 6] = [
    ("C-10", "completions are files; generated.rs has each shell read them"),
    ("C-11", "signals are the daemon's matter; the tests of `run` hold it"),
    ("R-2", "dropped: a reference finds what is in the environment, not what is in the file"),
    ("S-6", "what is kept for diagnostics shows in `config show` and `doctor`"),
    ("V-6", "lifted: a level needs no format"),
    ("A-7", "the hints belong to the control plane's error codes"),
];

#[test]
fn every_setting_of_the_surface_is_in_the_table_with_its_names() {
    let rows = SURFACE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut seen = BTreeSet::new();
    for row in rows {
        let words: Vec<&str> = row.split(' ').collect();
        let [key, flag, env] = words.as_slice() else { panic!("three words in: {row}") };
        let named = |name: &str| if name == "-" { String::new() } else { name.to_owned() };
        let (key, env) = (named(key), named(env));
        let (flag, dashed) = match flag.strip_suffix('*') {
            Some(flag) => (named(flag), true),
            None => (named(flag), false),
        };
        let found = |s: &&Setting| {
            s.key == key && s.flag == flag && s.dashed == dashed && s.env.join(",") == env
        };
        let setting = TABLE.iter().find(found).unwrap_or_else(|| panic!("no setting for: {row}"));
        assert!(seen.insert(setting.id), "twice: {row}");
    }
    assert_eq!(seen.len(), 57);
}

#[test]
fn every_rule_of_the_surface_is_cited_by_a_test() {
    let mut cited = BTreeSet::new();
    for folder in ["src", "tests"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut cited);
    }
    let untested: BTreeSet<&str> = UNTESTED.iter().map(|(rule, _)| *rule).collect();
    let mut missing = Vec::new();
    for (family, last) in FAMILIES {
        for number in 1..=last {
            let rule = format!("{family}-{number}");
            match (cited.contains(&rule), untested.contains(rule.as_str())) {
                (false, false) => missing.push(rule),
                (true, true) => panic!("{rule} has a test: take it off the list"),
                _ => {}
            }
        }
    }
    assert!(missing.is_empty(), "no test cites {missing:?}");
}

/// The rules that stand behind `cfg` on the `#[test]` lines of a folder.
fn collect(folder: &Path, cited: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, cited);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines().filter(|line| line.trim().starts_with("#[test]")) {
            let Some((_, rules)) = line.split_once("cfg ") else { continue };
            let words = rules.split([',', ';', ' ']).map(str::trim);
            cited.extend(words.filter(|word| word.contains('-')).map(str::to_owned));
        }
    }
}
