//! config.md: the table of settings against the surface that existing configurations use. The rules of
//! grammars and sources are tested where they are kept, in `src/settings`.

use std::collections::BTreeSet;

use mcp_tunnel::settings::{Setting, TABLE};

const SURFACE: &str = include_str!("surface.txt");

#[test] // operations-81
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
