//! The program `mcp-tunnel-ctl`: the commands that an operator needs and the daemon does not. Only
//! this program can use an admin key; `mcp-tunnel` has none of its code.
//!
//! `src/bin/mcp-tunnel-ctl.rs` alone calls it.

mod admin;
mod admin_profiles;
mod beside;
mod dev_proxy;
mod profiles;
mod runtimes;
mod state;
mod table;
mod top;
mod tunnels;

use std::ffi::OsStr;
use std::path::Path;

use crate::cli::Program;

pub use table::PROGRAM;

/// The program by the name that it was called by: `mcp-tunnel` hands its command line on under its
/// own name, and the messages are to be those of what was typed.
pub fn program_called(name: Option<&OsStr>) -> &'static Program {
    // Otherwise the process list would show the number of the open file that was executed.
    let _ = rustix::thread::set_name(c"mcp-tunnel-ctl");
    let called = name.and_then(|name| Path::new(name).file_name());
    if called == Some(OsStr::new(table::FORWARDED.root.name)) {
        return &table::FORWARDED;
    }
    &PROGRAM
}

#[cfg(test)]
mod tests {
    use crate::cli::{Action, Command};
    use crate::commands;

    /// The commands that `mcp-tunnel` hands on, as it lists them.
    fn forwarded(commands: &'static [Command], found: &mut Vec<(&str, &str)>) {
        for command in commands {
            if matches!(command.action, Action::Forward(_)) {
                found.push((command.name, command.short));
            }
            forwarded(command.children(), found);
        }
    }

    #[test]
    fn mcp_tunnel_hands_on_every_command_and_describes_it_alike() {
        let mut listed = Vec::new();
        forwarded(commands::PROGRAM.root.children(), &mut listed);
        let own = super::PROGRAM.root.children().iter().flat_map(|command| match command.name {
            "dev" => command.children(),
            "help" => &[],
            _ => std::slice::from_ref(command),
        });
        let own: Vec<_> = own.map(|command| (command.name, command.short)).collect();
        listed.sort_unstable();
        let mut sorted = own.clone();
        sorted.sort_unstable();
        assert_eq!(listed, sorted);
    }
}
