//! `mcp-tunnel top` on a terminal of its own, which `script` of util-linux makes: what is drawn,
//! which keys and signals end it, and that the terminal is given back as it was.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::browser::Browser;
use crate::support::control_plane::TUNNEL_ID;
use crate::support::{
    Answer, Command, ControlPlane, McpServer, Scratch, Tunnel, eventually, programs,
};

/// What the terminal says of itself before and after.
const SHOW_MODES: &str = "stty -g";

/// A terminal with `top` on it.
struct Terminal {
    process: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// `environment` is words of `NAME=value`.
    fn start(url: &str, (columns, rows): (u32, u32), environment: &str) -> Terminal {
        let inner = format!(
            "tty; stty columns {columns} rows {rows}; {SHOW_MODES}; \
             env {environment} {} top --url {url}; echo \"ended $?\"; {SHOW_MODES}",
            programs::tunnel()
        );
        let mut process = Process::new("script")
            .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script, of util-linux");
        let output = Arc::<Mutex<Vec<u8>>>::default();
        let (mut pipe, seen) = (process.stdout.take().unwrap(), output.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                seen.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Terminal { process, output }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    /// Waits for a whole frame that `wanted` takes.
    fn frame(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(what, || {
            let text = self.text();
            let ends = text.rfind("\x1b[J")?;
            let frame = &text[text[..ends].rfind("\x1b[H")? + 3..ends];
            let frame = frame.replace("\x1b[K", "").replace('\r', "");
            wanted(&frame).then_some(frame)
        })
    }

    fn press(&mut self, keys: &[u8]) {
        self.process.stdin.as_mut().unwrap().write_all(keys).unwrap();
    }

    /// The device, by its first line.
    fn device(&self) -> String {
        let text = self.text();
        text.lines().next().unwrap().trim().to_owned()
    }

    /// Waits for its end, and looks whether the terminal was given back.
    fn ended(mut self, code: u8) {
        let text = eventually("the end of top", || {
            let text = self.text();
            let end = text.find("ended ")?;
            (text[end..].matches('\n').count() >= 2).then_some(text)
        });
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let end = lines.iter().position(|line| line.contains("ended ")).unwrap();
        assert!(lines[end].ends_with(&format!("ended {code}")), "{}", lines[end]);
        assert_eq!(lines[end + 1], lines[1], "the terminal's modes");
        // Back to the first screen, with a cursor, with lines that run on: in this order, last.
        let after = text.rfind("\x1b[J").map_or(text.as_str(), |at| &text[at..]);
        assert!(after.contains("\x1b[?7h\x1b[?25h\x1b[?1049l"), "{after:?}");
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A frame without its colours.
fn plain(frame: &str) -> String {
    let mut out = String::new();
    let mut rest = frame;
    while let Some(at) = rest.find("\x1b[") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('m').expect("colours are the only codes inside of a frame");
        rest = &rest[at + end + 1..];
    }
    out + rest
}

fn widest(frame: &str) -> usize {
    plain(frame).lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// A daemon that has had some commands, good and bad.
fn busy() -> (ControlPlane, McpServer, Tunnel) {
    let (control_plane, server) = (ControlPlane::start(), McpServer::start());
    let tools: Vec<String> = ["search_tickets", "read_ticket", "close_ticket"]
        .iter()
        .map(|name| format!(r#"{{"name":"{name}"}}"#))
        .collect();
    let tools = tools.join(",");
    let tools = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"tools":[{tools}]}}}}"#);
    server.always("tools/list", Answer::json(200, tools));
    let tunnel = Tunnel::to(&control_plane.url()).http(&server.url()).start_ready();
    let run = |number: usize, method: &str, params: &str| {
        let id = format!("req-{number:02}");
        control_plane.push(Command::call(&id, "1", method, params));
        control_plane.next_response_for(&id);
    };
    run(0, "initialize", "{}");
    run(1, "tools/list", "{}");
    for number in 2..40 {
        let tool = ["search_tickets", "read_ticket", "close_ticket"][number % 3];
        if number == 30 {
            server.on("tools/call", Answer::reset_at_once());
        }
        run(number, "tools/call", &format!(r#"{{"name":"{tool}","arguments":{{}}}}"#));
    }
    eventually("the commands to be over", || {
        (tunnel.json("/api/commands")["total"] == 40).then_some(())
    });
    (control_plane, server, tunnel)
}

#[test]
fn top_fits_the_terminal_follows_its_size_and_gives_it_back_at_q() {
    let (_control_plane, _server, tunnel) = busy();
    let mut terminal = Terminal::start(&tunnel.health, (80, 24), "A=1");
    let frame = terminal.frame("commands", |frame| frame.contains("tools/call"));
    assert_eq!(frame.lines().count(), 24, "{frame}");
    assert!(widest(&frame) <= 80, "{frame}");
    for text in ["UP\x1b", " for ", TUNNEL_ID, "scripted 1.0.0, 3 tools", "tools/call read_ticket"]
    {
        assert!(frame.contains(text), "{text}: {frame}");
    }
    assert!(terminal.text().contains("\x1b[?1049h"), "another screen, so that this one is kept");
    draw(&frame, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("page/top.png"));

    let resize = |columns: &str, rows: &str| {
        let device = terminal.device();
        let mut stty = Process::new("stty");
        stty.args(["-F", &device, "columns", columns, "rows", rows]);
        let status = stty.status().unwrap();
        assert!(status.success());
    };
    resize("40", "12");
    // stty changes one after the other, and a frame may be drawn in between.
    let small = |frame: &str| widest(frame) <= 40 && frame.lines().count() <= 12;
    let frame = terminal.frame("a narrow frame", small);
    assert!(frame.contains("UP"), "{frame}");
    resize("120", "50");
    let large = |frame: &str| frame.lines().count() > 40 && frame.contains("failed");
    let frame = terminal.frame("a wide frame", large);
    assert!(widest(&frame) <= 120, "{frame}");
    terminal.press(b"x");
    terminal.press(b"q");
    terminal.ended(0);
}

#[test]
fn top_ends_with_ctrl_c_and_with_a_signal_and_gives_the_terminal_back() {
    let (_control_plane, _server, tunnel) = busy();
    let mut terminal = Terminal::start(&tunnel.health, (80, 24), "A=1");
    terminal.frame("commands", |frame| frame.contains("tools/call"));
    terminal.press(b"\x03");
    terminal.ended(0);

    let scratch = Scratch::new();
    let pid = scratch.path("pid");
    let shell = format!("sh -c 'echo $$ >{}; exec \"$0\" \"$@\"'", pid.display());
    let terminal = Terminal::start(&tunnel.health, (80, 24), &format!("A=1 {shell}"));
    terminal.frame("commands", |frame| frame.contains("tools/call"));
    let pid = std::fs::read_to_string(pid).unwrap();
    assert!(Process::new("kill").arg(pid.trim()).status().unwrap().success());
    terminal.ended(128 + 15);
}

#[test]
fn top_has_no_colours_where_they_are_not_wanted() {
    let (_control_plane, _server, tunnel) = busy();
    let mut terminal = Terminal::start(&tunnel.health, (80, 24), "NO_COLOR=1");
    let frame = terminal.frame("commands", |frame| frame.contains("tools/call"));
    assert!(!frame.contains('\x1b') && frame.contains("UP for"), "{frame:?}");
    terminal.press(b"q");
    terminal.ended(0);
}

#[test]
fn top_says_what_is_wrong_and_what_to_do_and_when_nobody_answers() {
    let (control_plane, _server, tunnel) = busy();
    control_plane.every_poll(Some(Answer::json(401, "{}")));
    tunnel.wait_not_ready(|_| true);
    let mut terminal = Terminal::start(&tunnel.health, (80, 24), "A=1");
    let frame = terminal.frame("the bad state", |frame| frame.contains("DOWN"));
    let text = plain(&frame);
    for part in ["-> Put the runtime key right", "FAILED control_plane", "failing: key_refused"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.find("FAILED") < text.find("ok "), "what fails comes first: {text}");
    draw(&frame, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("page/top-down.png"));
    tunnel.stop();
    let frame = terminal.frame("that nobody answers", |frame| frame.contains("NO ANSWER"));
    let text = plain(&frame);
    for part in ["connection refused", "systemctl status mcp-tunnel", "q quits"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    terminal.press(b"q");
    terminal.ended(0);
}

#[test]
fn in_a_pipe_top_prints_one_screen_or_one_line_on_why_not() {
    let (_control_plane, _server, tunnel) = busy();
    let top = |url: &str| {
        let mut command = crate::support::stack::binary(programs::tunnel());
        command.args(["top", "--once", "--url", url]).output().unwrap()
    };
    let output = top(&tunnel.health);
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{screen}");
    for text in ["UP for", TUNNEL_ID, "ok     control_plane", "tools/call ", "answered"] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    assert!(!screen.contains('\x1b') && screen.lines().count() <= 24, "{screen}");
    let url = tunnel.health.clone();
    tunnel.stop();
    let output = top(&url);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
}

/// Draws a frame as a terminal shows it, for people to look at.
fn draw(frame: &str, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let escaped = frame.replace('&', "&amp;").replace('<', "&lt;");
    let mut html = String::new();
    for piece in escaped.split("\x1b[") {
        match piece.split_once('m').filter(|(code, _)| {
            !code.is_empty() && code.bytes().all(|b| b.is_ascii_digit() || b == b';')
        }) {
            Some(("0", text)) => html += &format!("</span>{text}"),
            Some((code, text)) => {
                html += &format!("<span class=c{}>{text}", code.replace(';', "-"))
            }
            None => html += piece,
        }
    }
    let page = format!(
        "<meta charset=utf-8><style>body {{ margin: 0; background: #10141a }}
         pre {{ margin: 0; padding: 14px 16px; width: max-content; color: #d8dee6;
           font: 14px/1.3 'DejaVu Sans Mono', monospace }}
         .c2 {{ color: #8793a1 }} .c1-32 {{ color: #5fd38d; font-weight: bold }}
         .c1-33 {{ color: #e6b450; font-weight: bold }} .c1-31 {{ color: #ff7b72; font-weight: bold }}
         </style><pre>{html}</pre>"
    );
    let file = Scratch::new();
    let file_path = file.file("top.html", &page);
    let mut browser = Browser::start(760, 480);
    browser.open(&format!("file://{}", file_path.display()));
    browser.wait_for("mcp-tunnel");
    browser.picture(path);
}
