//! The relay's binary: arguments in, one command run, exit code out.

fn main() -> std::process::ExitCode {
    mcp_tunnel::relay::main()
}
