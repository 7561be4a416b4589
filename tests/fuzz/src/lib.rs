//! What must hold for any bytes whatever, one module for each thing that reads them.
//!
//! A property panics if it does not hold. `make fuzz` searches for such bytes for a given time;
//! `tests/properties.rs` tries the seeds and their neighbours in every `make test`. What was found
//! stands as a test beside the code that was wrong, and as a seed.

// The searching program and the test each use it all; so do no others.
#![allow(missing_docs)]

pub mod challenge;
pub mod chunked;
pub mod command;
pub mod config;
pub mod head;
pub mod headers;
pub mod json;
pub mod message;
pub mod notes;
pub mod server_info;
pub mod sse;
pub mod stdio_lines;
pub mod stdio_rewrite;

/// Takes bytes; panics if its property does not hold for them.
pub type Property = fn(&[u8]);

/// All of them, by the names of their fuzz targets and seed directories.
pub const ALL: [(&str, Property); 13] = [
    ("challenge", challenge::check),
    ("chunked", chunked::check),
    ("command", command::check),
    ("config", config::check),
    ("head", head::check),
    ("headers", headers::check),
    ("json", json::check),
    ("message", message::check),
    ("notes", notes::check),
    ("server_info", server_info::check),
    ("sse", sse::check),
    ("stdio_lines", stdio_lines::check),
    ("stdio_rewrite", stdio_rewrite::check),
];

/// The pieces of `bytes` when it is cut by a recipe: each recipe byte is the length of a piece,
/// and the rest is one piece.
pub(crate) fn pieces<'a>(mut bytes: &'a [u8], recipe: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in recipe {
        let (piece, rest) = bytes.split_at(usize::from(*length).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// Splits an input into a recipe for [`pieces`] and the bytes to cut: the first byte tells how
/// many bytes the recipe has.
pub(crate) fn recipe_and_bytes(input: &[u8]) -> (&[u8], &[u8]) {
    match input.split_first() {
        None => (&[], &[]),
        Some((count, rest)) => rest.split_at(usize::from(*count % 16).min(rest.len())),
    }
}
