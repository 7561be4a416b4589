use std::collections::{BTreeMap, BTreeSet};

use crate::{assert_none, files, text};

/// The documents with rules: the first half of an id.
const DOCUMENTS: [&str; 12] = [
    "wire",
    "forwarding",
    "stdio",
    "mcp",
    "config",
    "cli",
    "operations",
    "oauth",
    "harpoon",
    "relay",
    "cluster",
    "policy",
];

/// The part of a document that lists rules nobody may rely on yet.
const NOT_BUILT: &str = "## Not built yet";
/// The part that lists rules without a test, and why.
const UNTESTED: &str = "## Without a test";

type Id = (&'static str, u32);

fn name((document, number): Id) -> String {
    format!("{document}-{number}")
}

/// The ids in a text: single ones and ranges (`wire-3 to wire-7`) as first and last.
fn citations(text: &str) -> Vec<(Id, Id)> {
    let mut found: Vec<(usize, usize, Id)> = Vec::new();
    for document in DOCUMENTS {
        for (at, _) in text.match_indices(document) {
            let before = text[..at].chars().next_back();
            let Some(rest) = text[at + document.len()..].strip_prefix('-') else { continue };
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let after = rest[digits..].chars().next();
            let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
            let behind = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            if digits == 0 || before.is_some_and(inside) || after.is_some_and(behind) {
                continue;
            }
            let number = rest[..digits].parse().unwrap();
            found.push((at, at + document.len() + 1 + digits, (document, number)));
        }
    }
    found.sort_unstable();
    let mut ranges = Vec::new();
    let mut ids = found.into_iter().peekable();
    while let Some((_, end, first)) = ids.next() {
        let next = ids.next_if(|(at, _, last)| text[end..*at] == *" to " && last.0 == first.0);
        ranges.push((first, next.map_or(first, |(_, _, last)| last)));
    }
    ranges
}

/// All ids of what [`citations`] found in a text.
fn each(text: &str) -> impl Iterator<Item = Id> {
    citations(text).into_iter().flat_map(|(a, z)| (a.1..=z.1).map(move |number| (a.0, number)))
}

/// The id that a line of a document gives to a rule: in bold, at its beginning, or at that of a list
/// item or table row.
fn definition(line: &str) -> Option<Id> {
    let line = line.trim_start();
    let line = line.strip_prefix("- ").or_else(|| line.strip_prefix("| ")).unwrap_or(line);
    let bold = line.strip_prefix("**")?;
    let end = bold.find([' ', '*']).unwrap_or(bold.len());
    let ids = citations(&bold[..end]);
    ids.first().map(|(id, _)| *id).filter(|id| name(*id) == bold[..end])
}

/// The comment of a line of code, if it has one.
fn comment(line: &str) -> &str {
    line.find("//").map_or("", |at| &line[at..])
}

#[derive(Default)]
struct Specification {
    /// Each rule and its place.
    rules: BTreeMap<Id, String>,
    not_built: BTreeMap<Id, String>,
    untested: BTreeMap<Id, String>,
    wrong: Vec<String>,
}

impl Specification {
    fn read() -> Specification {
        let mut specification = Specification::default();
        for document in DOCUMENTS {
            specification.read_document(document);
        }
        let Specification { rules, not_built, untested, wrong } = &mut specification;
        for (id, place) in not_built.iter().chain(&*untested) {
            if !rules.contains_key(id) {
                wrong.push(format!("{place}: there is no rule {}", name(*id)));
            }
        }
        for (id, place) in &*untested {
            if not_built.contains_key(id) {
                wrong.push(format!("{place}: {} is also listed as not built", name(*id)));
            }
        }
        specification
    }

    fn read_document(&mut self, document: &str) {
        let path = format!("tests/spec/{document}.md");
        let (mut part, mut fenced) = (String::new(), false);
        for (number, line) in text(&path).lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            if line.starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            if line.starts_with("## ") {
                part = line.to_owned();
            }
            if let Some(id) = definition(line) {
                if id.0 != document {
                    self.wrong.push(format!("{place}: {} belongs to another document", name(id)));
                }
                if let Some(first) = self.rules.insert(id, place.clone()) {
                    self.wrong.push(format!("{place}: {} stands at {first} already", name(id)));
                }
            }
            if part == NOT_BUILT || part == UNTESTED {
                self.read_exception(&part, line, &place);
            }
        }
    }

    /// A row of the two lists of exceptions: rules, and a reason.
    fn read_exception(&mut self, part: &str, line: &str, place: &str) {
        let mut cells = line.trim_matches('|').split(" | ");
        let (rules, reason) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        for (first, last) in citations(rules) {
            if reason.trim().len() < 10 {
                self.wrong.push(format!("{place}: {} has no reason", name(first)));
            }
            let within = |id: &Id| self.rules.contains_key(id) || *id == first || *id == last;
            let ids = (first.1..=last.1).map(|number| (first.0, number)).filter(within);
            let ids: Vec<Id> = ids.collect();
            let list = if part == NOT_BUILT { &mut self.not_built } else { &mut self.untested };
            list.extend(ids.into_iter().map(|id| (id, place.to_owned())));
        }
    }
}

/// The rules that the tests of a file cite on their `#[test]` lines, each with its place.
fn cited_by_tests(path: &str) -> Vec<(Id, String)> {
    let text = text(path);
    let mut cited = Vec::new();
    let mut of_a_test = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        // A long list goes on in comments below the attribute.
        of_a_test = line.starts_with("#[test]") || of_a_test && line.starts_with("//");
        if of_a_test {
            let place = format!("{path}:{}", number + 1);
            cited.extend(each(comment(line)).map(|id| (id, place.clone())));
        }
    }
    cited
}

fn programs() -> Vec<String> {
    let mut paths = files("src", "rs");
    paths.extend(files("tests", "rs"));
    // What stands here is about ids and not about rules.
    paths.retain(|path| path != "tests/spec/rules.rs");
    paths
}

#[test]
fn each_rule_has_one_id_in_the_document_of_that_name() {
    let specification = Specification::read();
    assert_none(&specification.wrong);
    for document in DOCUMENTS {
        let rules = specification.rules.keys().filter(|id| id.0 == document).count();
        assert!(rules > 20, "{document}.md: {rules} rules");
    }
}

#[test]
fn each_citation_leads_to_a_rule() {
    let specification = Specification::read();
    let mut wrong = Vec::new();
    let documents = files("tests/spec", "md").into_iter().filter(|p| !p.ends_with("README.md"));
    for path in programs().into_iter().chain(documents) {
        let is_code = path.ends_with(".rs");
        for (number, line) in text(&path).lines().enumerate() {
            let line = if is_code { comment(line) } else { line };
            for id in citations(line).into_iter().flat_map(|(first, last)| [first, last]) {
                if !specification.rules.contains_key(&id) {
                    wrong.push(format!("{path}:{}: there is no rule {}", number + 1, name(id)));
                }
            }
        }
    }
    wrong.dedup();
    assert_none(&wrong);
}

#[test]
fn each_rule_is_cited_by_a_test_or_says_why_not() {
    let specification = Specification::read();
    let mut tested = BTreeSet::new();
    let mut wrong = Vec::new();
    for (id, place) in programs().iter().flat_map(|path| cited_by_tests(path)) {
        tested.insert(id);
        if let Some(listed) = specification.not_built.get(&id) {
            wrong.push(format!("{place}: {} counts as not built ({listed})", name(id)));
        }
        if let Some(listed) = specification.untested.get(&id) {
            wrong.push(format!("{listed}: {} has a test ({place})", name(id)));
        }
    }
    for (id, place) in &specification.rules {
        let excepted =
            specification.not_built.contains_key(id) || specification.untested.contains_key(id);
        if !excepted && !tested.contains(id) {
            wrong.push(format!("{place}: no test cites {}", name(*id)));
        }
    }
    assert_none(&wrong);
}

#[test] // relay-4
fn each_error_code_of_the_contract_is_known_to_the_wire() {
    let contract: serde_json::Value =
        serde_json::from_str(&text("tests/spec/openapi.json")).unwrap();
    let mut codes = BTreeSet::new();
    collect_codes(&contract, &mut codes);
    assert!(codes.len() > 15, "{codes:?}");
    let wire = text("tests/spec/wire.md");
    let rule = wire.find("**wire-77 ").map(|at| &wire[at..]).unwrap();
    let rule = &rule[..rule.find("\n- **").unwrap()];
    let missing: Vec<_> =
        codes.iter().filter(|code| !rule.contains(&format!("`{code}`"))).collect();
    assert!(missing.is_empty(), "wire-77 does not name {missing:?}");
}

fn collect_codes(value: &serde_json::Value, codes: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        for (key, value) in object {
            if key == "x-tunnel-error-codes" {
                let values = value.as_array().into_iter().flatten();
                codes.extend(values.filter_map(|code| code.as_str().map(str::to_owned)));
            }
            collect_codes(value, codes);
        }
    }
    for value in value.as_array().into_iter().flatten() {
        collect_codes(value, codes);
    }
}

#[test]
fn an_id_is_a_documents_name_and_a_number_and_nothing_longer() {
    let ids = |text: &str| each(text).map(name).collect::<Vec<_>>();
    assert_eq!(ids("(wire-12, stdio-7)"), ["wire-12", "stdio-7"]);
    assert_eq!(ids("wire-3 to wire-5; mcp-1"), ["wire-3", "wire-4", "wire-5", "mcp-1"]);
    assert_eq!(ids("wire-3 to mcp-5"), ["wire-3", "mcp-5"]);
    for none in ["hardwire-1", "a.wire-1", "mcp-tunnel", "wire-1x", "mcp-2025-06-18", "/relay-1"] {
        assert!(ids(none).is_empty(), "{none}");
    }
    assert_eq!(definition("- **wire-7** Requests carry"), Some(("wire", 7)));
    assert_eq!(definition("| **wire-201** | x |"), Some(("wire", 201)));
    assert_eq!(definition("- as **wire-7** says"), None);
    assert_eq!(definition("- **wire-7, wire-8** say"), None);
}
