//! `packaging/mcp-tunnel.conf`: every setting, commented out, with what it means.

use std::fmt::Write;

use super::{kind_in_words, settings_in_order};
use mcp_tunnel::cli::help::wrap;
use mcp_tunnel::settings::table::{Kind, Section, Setting};

const HEAD: &str = "\
# Configuration of mcp-tunnel, in YAML. mcp-tunnel.conf(5) explains it.
#
# Uncomment and change what you need; three settings are required:
# control_plane.tunnel_id, control_plane.api_key, and a server under mcp.
#
#   mcp-tunnel config check -c /etc/mcp-tunnel.conf     says what is wrong
#   mcp-tunnel config show  -c /etc/mcp-tunnel.conf     shows what is in effect
#   mcp-tunnel doctor -c /etc/mcp-tunnel.conf --explain tries it out
#
# Flags and environment variables win over this file.

config_version: 1
";

/// The file.
pub fn configuration() -> String {
    let mut out = HEAD.to_owned();
    let mut groups: Vec<&str> = Vec::new();
    for s in settings_in_order().filter(|s| shown(s)) {
        let Some((group, _)) = s.key.split_once('.') else {
            setting(&mut out, s, "");
            continue;
        };
        // A key may stand in a document once: a group is written out where it first comes.
        if !groups.contains(&group) {
            groups.push(group);
            let _ = write!(out, "\n{group}:\n");
            let of_group = |s: &&Setting| s.key.split_once('.').is_some_and(|(g, _)| g == group);
            for member in settings_in_order().filter(|s| shown(s)).filter(of_group) {
                setting(&mut out, member, "  ");
            }
        }
    }
    out
}

fn shown(s: &Setting) -> bool {
    !s.key.is_empty() && s.kind != Kind::Version && s.section != Section::Compatibility
}

fn setting(out: &mut String, s: &Setting, indent: &str) {
    out.push('\n');
    let mut facts = kind_in_words(s);
    if !s.default.is_empty() {
        let _ = write!(facts, ", default {}", s.default);
    }
    wrap(out, &format!("{} [{facts}]", s.short), &format!("{indent}# "), 78);
    let key = s.key.rsplit('.').next().unwrap_or(s.key);
    let _ = writeln!(out, "{indent}#{key}: {}", s.example);
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_tunnel::settings::file::File;

    /// The sample with its settings uncommented: their mark has no blank after it.
    fn uncommented() -> String {
        let line = |line: &str| match line.trim_start().strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => line.replacen('#', "", 1),
            _ => line.to_owned(),
        };
        configuration().lines().map(|text| line(text) + "\n").collect()
    }

    #[test]
    fn the_sample_is_an_empty_configuration_and_a_full_one_when_uncommented() {
        let mut problems = Vec::new();
        File::parse("sample", &configuration(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let text = uncommented();
        let file = File::parse("sample", &text, &mut problems);
        assert!(problems.is_empty(), "{problems:?}\n{text}");
        for s in settings_in_order().filter(|s| shown(s)) {
            assert!(file.as_ref().unwrap().get(s.id).is_some(), "{} is not in the sample", s.key);
        }
    }
}
