//! The operator's binary: arguments in, one command run, exit code out.

use std::process::ExitCode;

use mcp_tunnel::{cli, operator};

/// Name and version, by which `mcp-tunnel` knows this program before it executes it.
const NAME: &[u8] = concat!("mcp-tunnel-ctl ", env!("CARGO_PKG_VERSION"), "\n").as_bytes();
/// Backwards, as `src/commands/forward.rs` says. Here and not in the library, because no other
/// program may hold these bytes.
static MARK: [u8; NAME.len()] = backwards(NAME);

const fn backwards<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text[N - 1 - at];
        at += 1;
    }
    bytes
}

fn main() -> ExitCode {
    // Otherwise the optimizer might leave them out, since nothing reads them.
    std::hint::black_box(&MARK);
    let mut args = std::env::args_os();
    let program = operator::program_called(args.next().as_deref());
    cli::main(program, args)
}
