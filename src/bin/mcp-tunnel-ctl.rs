//! The operator's binary: arguments in, one command run, exit code out.

use std::process::ExitCode;

use mcp_tunnel::{cli, operator};

/// The bytes by which `mcp-tunnel` knows this program and its version before it executes it (see
/// `src/commands/forward.rs`): the line that `--version` prints. They stand here, and not in the
/// library, because no other program may hold them.
const MARK: &str = concat!("mcp-tunnel-ctl ", env!("CARGO_PKG_VERSION"), "\n");

fn main() -> ExitCode {
    // Otherwise the optimizer might leave them out, since nothing reads them.
    std::hint::black_box(MARK);
    let mut args = std::env::args_os();
    let program = operator::program_called(args.next().as_deref());
    cli::main(program, args)
}
