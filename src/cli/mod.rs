//! The command line in general: the shape of a command table, the parser that walks it, the help
//! that is made from it, and the output of the commands.
//!
//! No command lives here and none is known: each program hands in its own table ([`Program`]).
//! Calls `settings` alone.

pub mod command;
pub mod common;
pub mod help;
pub mod parse;
pub mod say;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::settings::{Env, Loaded};

pub use command::{Accepts, Action, Command, Flag, Invocation, Program, Topic};
pub use say::{FAILURE, NEGATIVE, complain, complain_about, fail, say};

use help::Explained;
use parse::Parsed;

/// Runs the command of a program that the arguments, without the program's name, ask for.
pub fn main(program: &'static Program, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    say::speak_as(program.root.name);
    match parse::parse(program, args.into_iter().collect()) {
        Ok(Parsed::Help { path, long }) => {
            say(&help::of(program, &path, long));
            ExitCode::SUCCESS
        }
        Ok(Parsed::Welcome) => {
            match program.welcome {
                "" => say(&help::of(program, &[&program.root], false)),
                text => say(text),
            }
            ExitCode::SUCCESS
        }
        Ok(Parsed::Version) => {
            say(&format!("{} {}\n", program.root.name, env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
        Ok(Parsed::Explain(words)) => match help::on(program, &words) {
            Ok(Explained::Text(text)) => {
                say(&text);
                ExitCode::SUCCESS
            }
            Ok(Explained::By(run, args)) => run(args),
            Err(wrong) => fail(&wrong),
        },
        Ok(Parsed::Unread(run, args)) => run(args),
        Ok(Parsed::Run(run, invocation)) => run(&invocation),
        Err(usage) => fail(&usage),
    }
}

/// The configuration that the command was given.
pub fn load(invocation: &Invocation) -> Loaded {
    crate::settings::load(&invocation.settings, &Env::of_process())
}
