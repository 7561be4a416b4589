//! Headless Chromium, driven over its DevTools socket: just enough to open a page, ask it
//! something, and hear its complaints.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{PATIENCE, Scratch, eventually};

pub struct Browser {
    _process: Process,
    socket: TcpStream,
    next_id: u64,
    /// What the console said, and pages that were asked for.
    pub console: Vec<String>,
    pub requests: Vec<String>,
    _scratch: Scratch,
}

impl Browser {
    /// A window of this size.
    pub fn start(width: u32, height: u32) -> Browser {
        let scratch = Scratch::new();
        let profile = scratch.path("browser");
        let process = Process(
            Command::new("chromium")
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
                .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
                .args([
                    "--disable-component-update",
                    "--hide-scrollbars",
                    "--remote-debugging-port=0",
                ])
                .arg(format!("--window-size={width},{height}"))
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg("about:blank")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("chromium, of Debian's package chromium (tests/sdk/bootstrap)"),
        );
        let port = eventually("the browser's port", || {
            let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
            text.lines().next()?.parse::<u16>().ok()
        });
        let target = eventually("the browser's page", || {
            let list = targets(port)?;
            let page = list.as_array()?.iter().find(|target| target["type"] == "page")?;
            Some(page["webSocketDebuggerUrl"].as_str()?.to_owned())
        });
        let path = &target[target.find("/devtools").unwrap()..];
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let (console, requests) = (Vec::new(), Vec::new());
        let mut browser =
            Browser { _process: process, socket, next_id: 0, console, requests, _scratch: scratch };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// Pretends to be another screen.
    pub fn emulate(&mut self, width: u32, height: u32, dark: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The value of an expression.
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        self.call("Runtime.evaluate", params)["result"]["value"].clone()
    }

    /// Waits until the page's text has this.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_in("body", text);
    }

    /// Waits until what a selector finds has this in its text.
    pub fn wait_for_in(&mut self, selector: &str, text: &str) {
        let mut last = String::new();
        let begin = std::time::Instant::now();
        while !last.contains(text) {
            assert!(begin.elapsed() < PATIENCE, "in vain for {text:?} in {selector}:\n{last}");
            last = self.text(selector);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until an expression is true.
    pub fn wait_until(&mut self, expression: &str) {
        super::eventually(expression, || (self.value(expression) == true).then_some(()));
    }

    /// The text that is to be seen of what a selector finds.
    pub fn text(&mut self, selector: &str) -> String {
        let expression = format!("document.querySelector({:?})?.innerText ?? ''", selector);
        self.value(&expression).as_str().unwrap_or_default().to_owned()
    }

    /// Presses and releases a key: `Tab`, `Enter`, `ArrowUp`, `ArrowDown` or one letter.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "ArrowUp" => (38, ""),
            "ArrowDown" => (40, ""),
            letter => (u32::from(letter.to_ascii_uppercase().as_bytes()[0]), letter),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code}),
            );
        }
    }

    /// The console is empty, and no other host was asked for anything.
    pub fn assert_clean(&self, origin: &str) {
        assert!(self.console.is_empty(), "{:?}", self.console);
        let strangers: Vec<_> =
            self.requests.iter().filter(|url| !url.starts_with(origin)).collect();
        assert!(strangers.is_empty(), "{strangers:?}");
    }

    /// Saves a picture of the whole page, however long.
    pub fn picture(&mut self, path: &Path) {
        use base64::Engine;
        let params = json!({"format": "png", "captureBeyondViewport": true, "fromSurface": true,
            "clip": {"x": 0, "y": 0, "scale": 1,
                "width": self.value("document.documentElement.clientWidth"),
                "height": self.value("document.documentElement.scrollHeight")}});
        let shot = self.call("Page.captureScreenshot", params);
        let data = shot["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&json!({"id": id, "method": method, "params": params}).to_string());
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            match message["method"].as_str() {
                Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.console.push(message["params"].to_string());
                }
                Some("Network.requestWillBeSent") => {
                    let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                    self.requests.push(url.to_owned());
                }
                _ => {}
            }
        }
    }

    /// One text frame (RFC 6455, 5.2), masked with zeros.
    fn send(&mut self, text: &str) {
        let mut frame = vec![0x81];
        match text.len() {
            n @ ..126 => frame.push(0x80 | n as u8),
            n => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.socket.write_all(&frame).unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut take = |count: usize| {
            let mut bytes = vec![0; count];
            self.socket.read_exact(&mut bytes).unwrap();
            bytes
        };
        let head = take(2);
        let length = match head[1] & 0x7f {
            126 => u16::from_be_bytes(take(2).try_into().unwrap()).into(),
            127 => u64::from_be_bytes(take(8).try_into().unwrap()),
            short => short.into(),
        };
        let body = take(usize::try_from(length).unwrap());
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }
}

/// What the browser says it has. It keeps the connection open after that.
fn targets(port: u16) -> Option<Value> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(socket, "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| serde_json::from_str(body));
        if let Some(Ok(list)) = body {
            return Some(list);
        }
    }
}

/// The process, which does not outlive the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
