//! `mcp-tunnel mcp-stub`: a small MCP server, so that a host without Python or Node can prove the
//! path from the control plane to an MCP server and back. It is for tests: it has no authentication
//! and nothing behind it.

mod answer;
mod http;
mod server;
mod stdio;
mod tools;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

use self::answer::Identity;
use self::http::Endpoint;
use crate::httpd::{Bind, Limits, Running};
use crate::ops::files::UrlFile;
use crate::ops::listener::bind_tcp;
use crate::ops::signals::Signals;

const HELP: &str = "\
A small MCP server for trying out a tunnel: tools echo, add, slow, big, uppercase, server_info.

Usage: mcp-tunnel mcp-stub [OPTIONS]

Without --listen it speaks MCP on stdin and stdout, as a tunnel starts it. It has no
authentication: do not let it listen on other than loopback addresses.

  --listen HOST:PORT        serve Streamable HTTP at /mcp instead; port 0 chooses one
                            (also --listen-addr)
  --url-file PATH           write the URL there while it serves (with --listen)
  --server-name NAME        what it calls itself [mcp-stub]
  --server-version VERSION  its version [0.1.0]
  -h, --help                this text

Examples:
  MCP_COMMAND='mcp-tunnel mcp-stub' mcp-tunnel run
  mcp-tunnel mcp-stub --listen 127.0.0.1:0 --url-file /tmp/stub.url
";

/// Connections at once, each with a thread: more than any tunnel's concurrency.
const CONNECTIONS: usize = 1_024;

/// How long answers in progress may still take when it is told to end.
const STOP_GRACE: Duration = Duration::from_secs(1);

struct Options {
    identity: Identity,
    listen: Option<String>,
    url_file: Option<PathBuf>,
}

/// Runs the command with the arguments that follow its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            // A reader that has gone (`| head`) wanted no more.
            let _ = io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprintln!("mcp-tunnel: mcp-stub: {e} (`mcp-tunnel mcp-stub --help` lists the options)");
            return ExitCode::FAILURE;
        }
    };
    let result = match &options.listen {
        Some(listen) => serve_http(options.identity, listen, options.url_file),
        None => stdio::serve(&options.identity),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mcp-tunnel: mcp-stub: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve_http(identity: Identity, listen: &str, url_file: Option<PathBuf>) -> io::Result<()> {
    let mut signals = Signals::install()?;
    let serving = Serving::start(identity, listen)?;
    let url = &serving.url;
    let _url_file = url_file
        .map(|path| UrlFile::create(&path, url).map_err(named(&path.display().to_string())))
        .transpose()?;
    let said = format!("mcp-stub serves {url}\nnext: MCP_SERVER_URL={url} mcp-tunnel run\n");
    let _ = io::stdout().write_all(said.as_bytes());
    while matches!(signals.wait(), crate::ops::signals::Event::Reload) {}
    serving.running.stop(STOP_GRACE);
    Ok(())
}

fn named(what: &str) -> impl FnOnce(io::Error) -> io::Error + use<> {
    let what = what.to_owned();
    move |e| io::Error::new(e.kind(), format!("{what}: {e}"))
}

/// The server over Streamable HTTP, in threads of its own until the process ends.
pub struct Serving {
    /// Where it is.
    pub url: String,
    running: Running,
}

impl Serving {
    /// Starts it for `run --embedded-mcp-stub`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub fn embedded(name: String, version: String, listen: &str) -> io::Result<Self> {
        Self::start(Identity { name, version }, listen)
    }

    fn start(identity: Identity, listen: &str) -> io::Result<Self> {
        let server =
            bind_tcp(listen, &Limits::with_connections(CONNECTIONS)).map_err(named(listen))?;
        let Bind::Tcp(address) = server.local() else { unreachable!("bind_tcp binds TCP") };
        let url = format!("http://{address}/mcp");
        let endpoint = Endpoint::new(identity);
        let running = server.serve("stub", move |exchange| endpoint.answer(exchange))?;
        Ok(Self { url, running })
    }
}

/// The options, or nothing if help was asked for.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let identity = Identity { name: "mcp-stub".to_owned(), version: "0.1.0".to_owned() };
    let mut options = Options { identity, listen: None, url_file: None };
    let mut args = lexopt::Parser::from_args(args);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("listen" | "listen-addr") => options.listen = Some(args.value()?.string()?),
            Long("url-file") => options.url_file = Some(args.value()?.into()),
            Long("server-name") => options.identity.name = args.value()?.string()?,
            Long("server-version") => options.identity.version = args.value()?.string()?,
            other => return Err(other.unexpected()),
        }
    }
    if options.url_file.is_some() && options.listen.is_none() {
        return Err("--url-file needs --listen: over stdio there is no URL".into());
    }
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let parse = |args: &[&str]| super::parse(args.iter().map(OsString::from));
        let options = parse(&["--listen", ":0", "--url-file=/x"]).unwrap().unwrap();
        assert_eq!(options.listen.as_deref(), Some(":0"));
        assert!(parse(&["-h"]).unwrap().is_none());
        assert!(parse(&["--url-file", "/x"]).is_err());
        assert!(parse(&["--no-such"]).is_err());
    }
}
