//! The official SDKs' programs in `tests/sdk/`, as processes: servers and clients that nobody
//! here wrote the protocol part of.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Program;

/// The two eras of the protocol, by the year that tells them apart.
#[derive(Clone, Copy, Debug)]
pub enum Era {
    /// Revisions with an `initialize` handshake, 2024-11-05 to 2025-11-25.
    Handshake,
    /// Revision 2026-07-28.
    Stateless,
}

impl Era {
    fn year(self) -> &'static str {
        match self {
            Era::Handshake => "2025",
            Era::Stateless => "2026",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Language {
    Python,
    TypeScript,
}

/// A server program: how it is started for each transport.
#[derive(Clone, Copy, Debug)]
pub enum ServerKind {
    /// `tests/sdk/server.py`
    Python(Era),
    /// npm `@modelcontextprotocol/server-everything`
    Everything,
}

impl ServerKind {
    /// The words of the command that serves one client on stdin and stdout.
    fn stdio(self) -> Vec<String> {
        match self {
            ServerKind::Python(era) => vec![python(era), source("server.py")],
            ServerKind::Everything => vec!["node".into(), everything(), "stdio".into()],
        }
    }

    /// [`Self::stdio`] as the text of `MCP_COMMAND`.
    pub fn stdio_command(self) -> String {
        self.stdio().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
    }

    /// Starts it as a Streamable HTTP server; gives its endpoint as well.
    pub fn http(self) -> (Program, String) {
        let mut command = match self {
            ServerKind::Python(era) => command(&[python(era), source("server.py")], &["--http"]),
            ServerKind::Everything => {
                let preload = installed("node/loopback.mjs");
                command(&["node".into()], &["--import", &preload, &everything(), "streamableHttp"])
            }
        };
        command.env("GZIP_MAX_FETCH_SIZE", GZIP_MAX_FETCH_SIZE);
        let program = Program::spawn(command);
        let line = program.stdout_line("the MCP server to listen", |l| l.starts_with("listening "));
        let url = line.split(' ').nth(1).unwrap().to_owned();
        (program, url)
    }
}

/// How much `server-everything` may fetch when it is asked to answer something big; its own
/// default is 10 MiB.
pub const GZIP_MAX_FETCH_SIZE: &str = "67108864";

/// Starts the client of a language and an era against an MCP endpoint, for all its steps.
pub fn client(language: Language, era: Era, url: &str, payload_url: &str) -> Program {
    let year = era.year();
    let mut command = match language {
        Language::Python => command(&[python(era), source(&format!("client_{year}.py"))], &[url]),
        Language::TypeScript => {
            let program = installed(&format!("node/client_{year}.mjs"));
            let links = ["--preserve-symlinks", "--preserve-symlinks-main"];
            command(&["node".into()], &[&links[..], &[&program, url]].concat())
        }
    };
    command.env("PAYLOAD_URL", payload_url);
    Program::spawn(command)
}

/// Starts the Python client of the handshake era for some of its steps.
pub fn client_steps(url: &str, steps: &[&str]) -> Program {
    let program = [python(Era::Handshake), source("client_2025.py")];
    Program::spawn(command(&program, &[&[url], steps].concat()))
}

fn command(program: &[String], args: &[&str]) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(args);
    command
}

fn python(era: Era) -> String {
    installed(&format!("python-{}/bin/python", era.year()))
}

fn everything() -> String {
    installed("node/node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(name: &str) -> String {
    text(root().join("tests/sdk").join(name))
}

/// A file that `tests/sdk/bootstrap` has installed.
fn installed(name: &str) -> String {
    let path = root().join("target/sdk").join(name);
    assert!(path.exists(), "{path:?} is missing: run tests/sdk/bootstrap (`make test` does)");
    text(path)
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}
