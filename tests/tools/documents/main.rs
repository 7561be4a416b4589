//! `make documents`: writes the documents that are made from the tables of commands and settings.

#[path = "mod.rs"]
mod documents;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match documents::update(Path::new(env!("CARGO_MANIFEST_DIR")), false) {
        Ok(written) => {
            for path in written {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("documents: {why}");
            ExitCode::FAILURE
        }
    }
}
