//! The daemon's binary: arguments in, one command run, exit code out.

fn main() -> std::process::ExitCode {
    mcp_tunnel::cli::main(std::env::args_os().skip(1))
}
