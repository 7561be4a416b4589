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
            ServerKind::Everything => {
                vec!["env".into(), FETCH.into(), "node".into(), everything(), "stdio".into()]
            }
        }
    }

    /// [`Self::stdio`] as the text of `MCP_COMMAND`.
    pub fn stdio_command(self) -> String {
        self.stdio().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
    }

    /// Starts it as a Streamable HTTP server; gives its endpoint as well.
    pub fn http(self) -> (Program, String) {
        let command = match self {
            ServerKind::Python(era) => command(&[python(era), source("server.py")], &["--http"]),
            ServerKind::Everything => {
                let preload = installed("node/loopback.mjs");
                let node = ["env".into(), FETCH.into(), "node".into()];
                command(&node, &["--import", &preload, &everything(), "streamableHttp"])
            }
        };
        let program = Program::spawn(command);
        let line = program.stdout_line("the MCP server to listen", |l| l.starts_with("listening "));
        let url = line.split(' ').nth(1).unwrap().to_owned();
        (program, url)
    }
}

/// How much `server-everything` may fetch when it is asked to answer something big, as an
/// environment entry; its own default is 10 MiB.
const FETCH: &str = "GZIP_MAX_FETCH_SIZE=67108864";

/// Starts the client of a language and an era against an MCP endpoint, for some of its steps or,
/// when none is named, for all that make a session.
pub fn client(
    language: Language,
    era: Era,
    url: &str,
    steps: &[&str],
    env: &[(&str, &str)],
) -> Program {
    let year = era.year();
    let args = [&[url], steps].concat();
    let mut command = match language {
        Language::Python => {
            // `-B`: no compiled copies of what it imports beside the sources.
            let program = source(&format!("client_{year}.py"));
            command(&[python(era), "-B".into(), program], &args)
        }
        Language::TypeScript => {
            let program = installed(&format!("node/client_{year}.mjs"));
            let links = ["--preserve-symlinks", "--preserve-symlinks-main", &program];
            command(&["node".into()], &[&links[..], &args].concat())
        }
    };
    command.envs(env.iter().copied());
    Program::spawn(command)
}

/// Starts `tests/sdk/oauth_server.py`, a protected server and its authorization server; gives the
/// MCP endpoint as well.
pub fn oauth_server() -> (Program, String) {
    let words = [python(Era::Handshake), source("oauth_server.py")];
    let program = Program::spawn(command(&words, &[]));
    let line = program.stdout_line("the MCP server to listen", |l| l.starts_with("listening "));
    let url = line.split(' ').nth(1).unwrap().to_owned();
    (program, url)
}

/// Starts the client of a language that gets itself a token for an MCP endpoint.
pub fn oauth_client(language: Language, url: &str) -> Program {
    Program::spawn(match language {
        Language::Python => command(&[python(Era::Handshake), source("oauth_client.py")], &[url]),
        Language::TypeScript => {
            let program = installed("node/oauth_client.mjs");
            let links = ["--preserve-symlinks", "--preserve-symlinks-main", &program, url];
            command(&["node".into()], &links)
        }
    })
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
