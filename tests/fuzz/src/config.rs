//! The configuration file and its grammars: a file is read or refused with a place in it, never
//! more.

use mcp_tunnel::settings::file::File;
use mcp_tunnel::settings::{entry, grammar, url::HttpUrl};

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut problems = Vec::new();
    let _ = File::parse("f", text, &mut problems);
    for problem in &problems {
        let shown = problem.to_string();
        assert!(shown.starts_with("f:") && !shown.contains('\n'), "{shown:?}");
    }
    let _ = (entry::server(text), entry::command(text), entry::target(text));
    let _ = (grammar::boolean(text), grammar::integer(text), grammar::decimal(text));
    let _ = (grammar::url_path(text), grammar::listen_addr(text), grammar::header_item(text));
    let _ = (grammar::api_key(text), grammar::log_level(text));
    if let Ok(words) = grammar::argv(text) {
        assert!(!words.is_empty());
        let quoted: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        assert_eq!(grammar::argv(&quoted.join(" ")), Ok(words));
    }
    if let Ok(url) = HttpUrl::parse(text) {
        assert!(url.full().starts_with(&url.origin()));
        assert_eq!(HttpUrl::parse(&url.full()).map(|again| again.full()), Ok(url.full()));
        let _ = url.uri();
    }
}
