//! The table `rules.txt` says which tests hold which rule of the protocol. Here it is held to its
//! word: no rule is missing, and every test that it names exists and cites the rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rules by letter, and the first and last of each. Two letters tell apart what several documents
/// number with one: OL and OR are L and R of oauth-harpoon.md. Of R in relay.md only those are here
/// that go together with O.
const FAMILIES: [(&str, u32, u32); 9] = [
    ("B", 1, 35),
    ("D", 1, 18),
    ("F", 1, 96),
    ("M", 1, 70),
    ("O", 1, 33),
    ("OL", 1, 6),
    ("OR", 1, 12),
    ("R", 42, 43),
    ("W", 1, 89),
];

const TABLE: &str = include_str!("rules.txt");

/// One line of the table.
struct Row<'a> {
    family: &'a str,
    number: u32,
    /// `file::function`; empty for a rule that is not held yet.
    tests: Vec<&'a str>,
}

fn rows() -> Vec<Row<'static>> {
    TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
}

fn row(line: &str) -> Row<'_> {
    let (rule, rest) = line.split_once(' ').unwrap_or_else(|| panic!("tests in: {line}"));
    let (family, number) = rule.split_once('-').unwrap_or_else(|| panic!("a rule in: {line}"));
    let number = number.parse().unwrap_or_else(|_| panic!("a number in: {line}"));
    let tests = match rest.strip_prefix('-') {
        None => rest.split(' ').collect(),
        Some(reason) => {
            assert!(reason.trim().len() > 10, "a reason in: {line}");
            Vec::new()
        }
    };
    Row { family, number, tests }
}

#[test]
fn every_rule_has_its_line_and_the_lines_are_in_order() {
    let rules: Vec<_> = rows().iter().map(|row| (row.family, row.number)).collect();
    let expected: Vec<_> =
        FAMILIES.iter().flat_map(|(family, a, z)| (*a..=*z).map(move |n| (*family, n))).collect();
    for pair in rules.windows(2) {
        assert!(pair[0] < pair[1], "{:?} stands before {:?}", pair[0], pair[1]);
    }
    let missing: Vec<_> = expected.iter().filter(|rule| !rules.contains(rule)).collect();
    let unknown: Vec<_> = rules.iter().filter(|rule| !expected.contains(rule)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn every_test_in_the_table_exists_and_cites_the_rule() {
    let tests = tests();
    let mut wrong = Vec::new();
    for row in rows() {
        let rule = format!("{}-{}", row.family, row.number);
        for test in row.tests {
            match tests.get(test) {
                None => wrong.push(format!("{rule}: there is no test {test}")),
                Some(cited) if !cited.contains(&rule) => {
                    wrong.push(format!("{rule}: {test} does not cite it"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// All tests of the crate, as `file::function`, each with the rules on its `#[test]` line.
fn tests() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeMap::new();
    for folder in ["src", "tests"] {
        for path in sources(&root.join(folder)) {
            let module = path.strip_prefix(root.join(folder)).unwrap().with_extension("");
            let module = module.to_str().unwrap().replace('/', "::");
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                let Some(behind) = line.strip_prefix("#[test]") else { continue };
                let cited = behind.trim().trim_start_matches("//").split(',');
                let cited = cited.map(|rule| rule.trim().to_owned()).collect();
                let name = lines
                    .find_map(|line| line.strip_prefix("fn ")?.split('(').next())
                    .unwrap_or_else(|| panic!("a test without a function in {module}"));
                tests.insert(format!("{module}::{name}"), cited);
            }
        }
    }
    tests
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}
