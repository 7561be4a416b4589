use std::collections::BTreeMap;

use crate::{assert_none, files, root, text};

const REVIEW: &str = "tests/spec/REVIEW.md";

/// The rooms of which each file is in one list.
const ROOMS: [&str; 9] =
    ["control_plane", "dispatch", "mcp", "launcher", "confine", "policy", "net", "wire", "secret"];

/// The lists, by the first words of their headings, and the most lines of code of each.
const LIMITS: [(&str, usize); 3] =
    [("## 1. One afternoon", 2_500), ("## 2. The next day", 4_000), ("## 3. The ground", 3_500)];

/// How far the number beside a file may be from the truth.
const TOLERANCE: usize = 20;

/// Lines of code: neither blank nor comment, nor of the tests at a file's end.
fn lines_of_code(text: &str) -> usize {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// A row of a list: `| file | lines | what to look for |`.
struct Row {
    list: usize,
    /// Where it stands in the document.
    line: usize,
    file: String,
    lines: String,
    sentence: String,
}

fn rows(document: &str) -> Vec<Row> {
    let mut list = None;
    let mut rows = Vec::new();
    for (number, line) in document.lines().enumerate() {
        if line.starts_with("## ") {
            list = LIMITS.iter().position(|(heading, _)| line.starts_with(heading));
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (Some(list), [file, lines, sentence]) = (list, cells.as_slice()) else { continue };
        let Some(file) = file.strip_prefix('`').and_then(|file| file.strip_suffix('`')) else {
            continue;
        };
        let (file, lines) = (file.to_owned(), (*lines).to_owned());
        rows.push(Row { list, line: number + 1, file, lines, sentence: (*sentence).to_owned() });
    }
    rows
}

/// The files of a room, without those that only test it.
fn room(name: &str) -> Vec<String> {
    let mut found = files(&format!("src/{name}"), "rs");
    let single = format!("src/{name}.rs");
    if root().join(&single).exists() {
        found.push(single);
    }
    found.retain(|path| !path.ends_with("/tests.rs"));
    found
}

/// `UPDATE_REVIEW=1 cargo test --test spec` writes the numbers anew.
#[test]
fn each_file_of_the_trusted_path_is_in_one_list_and_no_list_outgrows_its_limit() {
    let mut document = text(REVIEW);
    if std::env::var_os("UPDATE_REVIEW").is_some() {
        document = updated(&document);
        std::fs::write(root().join(REVIEW), &document).unwrap();
    }
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut sums = [0; LIMITS.len()];
    for row in rows(&document) {
        let place = format!("{REVIEW}:{}: {}", row.line, row.file);
        if let Some(first) = seen.insert(row.file.clone(), row.line) {
            wrong.push(format!("{place} stands in line {first} already"));
        }
        if !root().join(&row.file).exists() {
            wrong.push(format!("{place} does not exist"));
            continue;
        }
        let lines = lines_of_code(&text(&row.file));
        sums[row.list] += lines;
        let is_near = row.lines.parse().is_ok_and(|said: usize| said.abs_diff(lines) <= TOLERANCE);
        if !is_near {
            wrong.push(format!("{place} has {lines} lines of code, not {}", row.lines));
        }
        if row.sentence.len() < 20 {
            wrong.push(format!("{place}: what is it good for?"));
        }
    }
    for file in ROOMS.iter().flat_map(|name| room(name)) {
        if !seen.contains_key(&file) {
            wrong.push(format!("{REVIEW}: {file} is in no list"));
        }
    }
    for ((heading, limit), sum) in LIMITS.iter().zip(sums) {
        if sum > *limit {
            wrong.push(format!("{REVIEW}: \"{heading}\" has {sum} lines of code, of {limit}"));
        }
        if sum == 0 {
            wrong.push(format!("{REVIEW}: \"{heading}\" is missing or empty"));
        }
    }
    assert_none(&wrong);
}

/// The document with the numbers of today: in the rows, and in the line `Lines of code: ...` of each
/// list.
fn updated(document: &str) -> String {
    let rows = rows(document);
    let mut sums = [0; LIMITS.len()];
    let mut lines: Vec<String> = document.lines().map(str::to_owned).collect();
    for row in rows.iter().filter(|row| root().join(&row.file).exists()) {
        let count = lines_of_code(&text(&row.file));
        sums[row.list] += count;
        lines[row.line - 1] = format!("| `{}` | {count} | {} |", row.file, row.sentence);
    }
    let mut list = None;
    for line in &mut lines {
        if line.starts_with("## ") {
            list = LIMITS.iter().position(|(heading, _)| line.starts_with(heading));
        }
        if let (Some(list), true) = (list, line.starts_with("Lines of code: ")) {
            *line = format!("Lines of code: {}, at most {}.", sums[list], LIMITS[list].1);
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn blank_lines_comments_and_tests_are_no_lines_of_code() {
    let text = "//! a\n\nfn a() {\n    // b\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
    assert_eq!(lines_of_code(text), 2);
}
