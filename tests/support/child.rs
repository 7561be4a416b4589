//! A stdio MCP server that a test plays line by line, behind a process that only passes on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use serde_json::value::RawValue;

use super::PATIENCE;

/// Where the processes that are started for [`Child::command`] connect to.
pub struct Child(TcpListener);

impl Child {
    pub fn new() -> Child {
        Child(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// For `MCP_COMMAND`.
    pub fn command(&self) -> String {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/played_child.py");
        format!("python3 '{program}' {}", self.0.local_addr().unwrap().port())
    }

    /// Waits until the tunnel starts the command, for the first time or again.
    pub fn next_start(&self) -> Running {
        self.0.set_nonblocking(true).unwrap();
        super::eventually("the child to be started", || {
            let stream = self.0.accept().ok()?.0;
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut pid = String::new();
            reader.read_line(&mut pid).unwrap();
            // Another test's daemon may still look for a server that had this port.
            Some(Running { pid: pid.trim().parse().ok()?, reader, stream })
        })
    }

    /// Whether the command has been started again without [`Self::next_start`] for it.
    pub fn was_started(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        self.0.accept().is_ok()
    }
}

/// One life of the child. It exits when this is dropped.
pub struct Running {
    pid: i32,
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

/// One line that the child was given.
#[derive(Clone, Debug)]
pub struct Line {
    pub text: String,
    pub method: Option<String>,
    /// The id as it is written.
    pub id: Option<String>,
}

impl Line {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Running {
    /// The next line on standard input.
    pub fn line(&mut self) -> Line {
        self.next_line().expect("a line on the child's standard input, not its end")
    }

    /// Waits for the end of standard input, and gives the lines before it.
    pub fn lines_to_end(&mut self) -> Vec<Line> {
        std::iter::from_fn(|| self.next_line()).collect()
    }

    fn next_line(&mut self) -> Option<Line> {
        #[derive(serde::Deserialize)]
        struct Message<'a> {
            method: Option<String>,
            #[serde(borrow)]
            id: Option<&'a RawValue>,
        }
        let mut text = String::new();
        let count = self.reader.read_line(&mut text).expect("a line for the child in time");
        if count == 0 {
            return None;
        }
        assert_eq!(text.pop(), Some('\n'), "a line that ends: {text}");
        let message: Message = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("a message for the child, not {error}: {text}"));
        let (method, id) = (message.method, message.id.map(|id| id.get().to_owned()));
        Some(Line { text, method, id })
    }

    /// The next line, which must be of this method.
    pub fn expect(&mut self, method: &str) -> Line {
        let line = self.line();
        assert_eq!(line.method.as_deref(), Some(method), "{}", line.text);
        line
    }

    /// Lets the child write bytes on standard output.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Lets the child answer a request with a result, in JSON text.
    pub fn reply(&mut self, request: &Line, result: &str) {
        let id = request.id.as_ref().expect("a request");
        self.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n").as_bytes());
    }

    /// Goes through the handshake as a legacy server does, whether a probe comes first or not.
    pub fn handshake(&mut self) {
        loop {
            let line = self.line();
            match line.method.as_deref() {
                Some("initialize") => self.reply(
                    &line,
                    r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"played","version":"1"}}"#,
                ),
                Some("notifications/initialized") => return,
                Some(_) if line.id.is_some() => {
                    let id = line.id.unwrap();
                    let error = r#"{"code":-32601,"message":"Method not found"}"#;
                    self.write(
                        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n")
                            .as_bytes(),
                    );
                }
                _ => {}
            }
        }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid).unwrap(), signal).unwrap();
    }

    /// Waits until the process is gone.
    pub fn wait_gone(&mut self) {
        let mut rest = Vec::new();
        let _ = self.reader.get_ref().set_read_timeout(Some(Duration::from_secs(60)));
        let _ = self.reader.read_to_end(&mut rest);
        super::eventually("the child to be gone", || {
            rustix::process::test_kill_process(Pid::from_raw(self.pid)?).is_err().then_some(())
        });
    }
}
