//! The stdio channel against real child processes, through its public interface.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mcp_tunnel::launcher::{Commands, Prepared};
use mcp_tunnel::mcp::stdio::{Limits, StdioChannel, StdioConfig, StdioState};
use mcp_tunnel::mcp::{Answer, Bounds, CallError};
use mcp_tunnel::net::Cancel;
use mcp_tunnel::wire::{ChannelName, FailureKind, Headers, Message};

/// The longest that any state is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const MODERN: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

struct Fixture {
    channel: Arc<StdioChannel>,
    cancel: Cancel,
    seen: PathBuf,
}

fn quick() -> Limits {
    Limits {
        backoff: (Duration::from_millis(10), Duration::from_millis(100)),
        settle: (Duration::from_millis(50), Duration::from_millis(50)),
        ..Limits::default()
    }
}

/// A channel whose child runs in `mode`.
fn start(mode: &str, limits: Limits) -> Fixture {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let seen = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "stdio-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let _ = fs::remove_file(&seen);
    let child = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stdio/child.py");
    let argv = ["python3", "-S", child, mode, seen.to_str().unwrap()].map(str::to_owned).to_vec();
    let channel = StdioChannel::start(config(argv, limits)).unwrap();
    Fixture { channel, cancel: Cancel::new().unwrap(), seen }
}

/// What a channel is made of, with a launcher of its own.
fn config(argv: Vec<String>, limits: Limits) -> StdioConfig {
    let environment =
        std::env::vars_os().filter(|(name, _)| name != "CARGO_MANIFEST_DIR").collect();
    let commands = Commands { argv: vec![&argv], environment, confined: true };
    let launcher = Prepared::start(Path::new(crate::support::programs::tunnel()), &commands)
        .and_then(Prepared::listen);
    let (channel, launcher) = (ChannelName::main(), Arc::new(launcher.unwrap()));
    StdioConfig { channel, launcher, command: 0, argv, limits }
}

impl Fixture {
    fn request(&self, session: &str, text: &str) -> Result<Answer, CallError> {
        self.request_within(session, text, PATIENCE)
    }

    fn request_within(
        &self,
        session: &str,
        text: &str,
        limit: Duration,
    ) -> Result<Answer, CallError> {
        self.noted(session, text, limit).0
    }

    fn noted(
        &self,
        session: &str,
        text: &str,
        limit: Duration,
    ) -> (Result<Answer, CallError>, Vec<String>) {
        let message = Message::parse(text).unwrap();
        let mut notes = Vec::new();
        let mut on_note = |note: Answer| {
            notes.push(note.json);
            ControlFlow::Continue(())
        };
        let bounds = self.bounds(limit);
        let result = self.channel.request(&message, &headers(session), &bounds, &mut on_note);
        (result, notes)
    }

    fn run(&self, session: &str, id: &str, steps: &str) -> Result<Answer, CallError> {
        self.request(session, &do_text(id, steps))
    }

    fn notify(&self, session: &str, text: &str) {
        let message = Message::parse(text).unwrap();
        let bounds = self.bounds(PATIENCE);
        assert_eq!(self.channel.notify(&message, &headers(session), &bounds).unwrap().status, 200);
    }

    fn bounds(&self, limit: Duration) -> Bounds {
        Bounds { limit: Instant::now() + limit, cancel: self.cancel.clone() }
    }

    /// What the children have read so far.
    fn seen(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.seen).unwrap_or_default();
        text.lines()
            .filter(|line| !line.contains(r#""method":"ping""#))
            .map(str::to_owned)
            .collect()
    }

    fn wait_seen(&self, part: &str) {
        wait(&format!("the child to read {part}"), || self.seen().iter().any(|l| l.contains(part)));
    }

    /// Waits until the child has read something, and answered.
    fn warm_up(&self) {
        self.request("w", r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#).unwrap();
        assert!(self.is_up());
    }

    fn is_up(&self) -> bool {
        matches!(self.channel.status().state, StdioState::Up { .. })
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.channel.stop(Duration::from_millis(200));
    }
}

fn headers(session: &str) -> Headers {
    let mut headers = Headers::new();
    headers.set("Mcp-Session-Id", session);
    headers
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn do_text(id: &str, steps: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"do","params":{{"steps":[{steps}]}}}}"#)
}

fn initialize_text(id: &str, version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{"roots":{{}}}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
    )
}

fn failed(result: Result<Answer, CallError>) -> FailureKind {
    match result {
        Err(CallError::Failed(failure, _)) => failure.kind,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test] // mcp-1, mcp-4, mcp-63, stdio-201
fn calls_with_the_same_id_from_two_sessions_finish_in_any_order() {
    let fixture = start("legacy", quick());
    thread::scope(|scope| {
        let first = scope.spawn(|| fixture.run("a", "1", r#"["hold"]"#).unwrap());
        fixture.wait_seen(r#"["hold"]"#);
        // The later call ends first.
        let answer = fixture.run("b", "1", r#"["answer",{"n":2}]"#).unwrap();
        assert_eq!(answer.json, r#"{"jsonrpc": "2.0", "id": 1, "result": {"n": 2}}"#);
        fixture.run("b", "\"1\"", r#"["release"],["answer"]"#).unwrap();
        assert_eq!(
            first.join().unwrap().json,
            r#"{"jsonrpc": "2.0", "id": 1, "result": {"released": true}}"#
        );
    });
}

#[test] // mcp-3, forwarding-221
fn payloads_pass_as_the_text_they_are() {
    let fixture = start("legacy", quick());
    let raw = r#"["raw","{\"jsonrpc\":\"2.0\", \"id\":$ID,\"result\":{\"z\":1.0,\"a\":1e400,\"a\":12345678901234567890,\"s\":\"\\u00e9\"}}"]"#;
    let answer = fixture.run("s", "1.50", raw).unwrap();
    assert_eq!(
        answer.json,
        r#"{"jsonrpc":"2.0", "id":1.50,"result":{"z":1.0,"a":1e400,"a":12345678901234567890,"s":"\u00e9"}}"#
    );
    let odd = r#"{"x":[1e400,1.0,-0], "jsonrpc":"2.0","method":"odd","id":7}"#;
    assert_eq!(fixture.request("s", odd).unwrap().status, 200);
    fixture.wait_seen(r#"{"x":[1e400,1.0,-0], "jsonrpc":"2.0","method":"odd","id":"#);
}

#[test] // mcp-63
fn a_message_that_the_child_could_take_for_another_is_not_forwarded() {
    let fixture = start("legacy", quick());
    let answer = fixture.request("a", r#"{"jsonrpc":"2.0","id":1,"ID":2,"method":"x"}"#).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.json.starts_with(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"#));
    fixture.run("a", "2", r#"["answer"]"#).unwrap();
    assert_eq!(fixture.seen().len(), 1);
    assert_eq!(fixture.channel.stats().refused.get(), 1);
}

#[test] // mcp-5, mcp-63
fn progress_comes_before_the_answer_under_the_clients_own_token() {
    let fixture = start("legacy", quick());
    let text = |token: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"do","params":{{"_meta":{{"progressToken":{token}}},"steps":[
            ["raw","{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":$ID,\"progress\":1}}}}"],
            ["raw","{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":$ID,\"progress\":2}}}}"],
            ["raw","{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":999999,\"progress\":2}}}}"],
            ["answer"]]}}}}"#
        )
    };
    thread::scope(|scope| {
        for n in 0..4 {
            let token = if n % 2 == 0 { "1" } else { r#""one""# };
            let (fixture, text) = (&fixture, text(token));
            scope.spawn(move || {
                let (result, notes) = fixture.noted(&format!("s{n}"), &text, PATIENCE);
                result.unwrap();
                let wanted = |progress| {
                    format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{progress}}}}}"#
                    )
                };
                assert_eq!(notes, [wanted(1), wanted(2)]);
            });
        }
    });
    assert_eq!(fixture.channel.stats().dropped_stranger.get(), 4);
}

#[test] // mcp-17, mcp-66
fn one_initialize_reaches_the_child_and_every_session_has_its_answer() {
    let fixture = start("slow-initialize", quick());
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let fixture = &fixture;
                scope.spawn(move || {
                    let text = initialize_text(&n.to_string(), "2025-06-18");
                    fixture.request(&format!("s{n}"), &text).unwrap().json
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    for n in 0..4 {
        let own = format!(r#""id": {n}, "#);
        assert!(answers[n].contains(&own), "{}", answers[n]);
        assert_eq!(answers[n].replace(&own, ""), answers[0].replace(r#""id": 0, "#, ""));
        fixture.notify(&format!("s{n}"), initialized);
    }
    fixture.run("s1", "5", r#"["answer"]"#).unwrap();
    let seen = fixture.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(
        seen[0].contains(r#""method":"initialize""#) && seen[0].contains(r#""capabilities":{}"#)
    );
    assert_eq!(seen[1], initialized);
    assert!(seen[2].contains(r#""method":"do""#));
}

#[test]
fn a_refused_initialize_is_told_and_the_next_one_is_forwarded() {
    let fixture = start("refuse-first", quick());
    let refused = fixture.request("a", &initialize_text("1", "2025-06-18")).unwrap();
    assert!(refused.json.contains("-32602"));
    let accepted = fixture.request("b", &initialize_text("2", "2025-06-18")).unwrap();
    assert!(accepted.json.contains("result"));
}

#[test] // stdio-207
fn an_initialize_whose_caller_gave_up_still_counts() {
    let fixture = start("slow-initialize", quick());
    fixture.warm_up();
    let text = initialize_text("1", "2025-06-18");
    let short = Duration::from_millis(50);
    assert!(matches!(fixture.request_within("a", &text, short), Err(CallError::TimedOut)));
    assert!(fixture.request("b", &text).unwrap().json.contains("result"));
    let seen = fixture.seen();
    assert_eq!(seen.iter().filter(|line| line.contains("\"initialize\"")).count(), 1, "{seen:?}");
    assert!(!seen.iter().any(|line| line.contains("cancelled")), "{seen:?}");
    assert_eq!(fixture.channel.status().restarts, 0);
}

#[test]
fn a_child_that_never_answers_initialize_is_replaced() {
    let limits = Limits { initialize: Duration::from_millis(100), ..quick() };
    let fixture = start("deaf-to-initialize", limits);
    fixture.warm_up();
    let result = fixture.request("a", &initialize_text("1", "2025-06-18"));
    assert_eq!(failed(result), FailureKind::Eof);
    wait("a restart", || fixture.channel.status().restarts == 1);
}

#[test] // stdio-205, mcp-25
fn a_dead_child_fails_its_calls_at_once_and_the_next_one_is_initialized_before_it_serves() {
    let fixture = start("legacy", quick());
    fixture.request("a", &initialize_text("1", "2025-03-26")).unwrap();
    thread::scope(|scope| {
        let held = scope.spawn(|| fixture.run("a", "2", r#"["hold"]"#));
        fixture.wait_seen("hold");
        assert_eq!(failed(fixture.run("b", "2", r#"["exit",3]"#)), FailureKind::Eof);
        assert_eq!(failed(held.join().unwrap()), FailureKind::Eof);
    });
    fixture.run("b", "3", r#"["answer"]"#).unwrap();
    assert_eq!(fixture.channel.status().restarts, 1);
    assert_eq!(fixture.channel.stats().lost_calls.get(), 2);
    let seen = fixture.seen();
    let (first, second) = seen.split_at(seen.len() - 3);
    assert!(first[0].contains(r#""method":"initialize""#));
    assert!(second[0].contains(r#""method":"initialize""#) && second[0].contains("2025-03-26"));
    assert!(second[1].contains("notifications/initialized"), "{second:?}");
    assert!(second[2].contains("answer"));
    // A session that begins now is answered from what the second child said.
    let pid = fixture.channel.status().pid.unwrap();
    let later = fixture.request("c", &initialize_text("9", "2025-03-26")).unwrap().json;
    assert!(later.contains(&format!(r#""pid": {pid}"#)), "{later}");
}

#[test] // mcp-15
fn the_last_words_of_a_child_are_delivered() {
    let fixture = start("legacy", quick());
    let answer = fixture.run("a", "1", r#"["answer",{"last":true}],["exit",0]"#).unwrap();
    assert!(answer.json.contains("last"));
}

#[test] // forwarding-211, mcp-11, mcp-21
fn a_call_that_times_out_is_cancelled_and_its_late_answer_is_dropped() {
    let fixture = start("legacy", quick());
    fixture.warm_up();
    let short = Duration::from_millis(100);
    let result = fixture.request_within("a", &do_text("\"x\"", r#"["hold"]"#), short);
    assert!(matches!(result, Err(CallError::TimedOut)));
    fixture.wait_seen("notifications/cancelled");
    let seen = fixture.seen();
    let call: serde_json::Value = serde_json::from_str(&seen[0]).unwrap();
    let cancel: serde_json::Value = serde_json::from_str(&seen[1]).unwrap();
    assert_eq!(call["id"], cancel["params"]["requestId"]);
    fixture.run("a", "2", r#"["release"],["answer"]"#).unwrap();
    assert_eq!(fixture.channel.stats().late_responses.get(), 1);
    assert_eq!(fixture.channel.status().restarts, 0);
}

#[test] // forwarding-95
fn a_worker_that_is_told_to_give_up_does_so() {
    let fixture = start("legacy", quick());
    thread::scope(|scope| {
        let call = scope.spawn(|| fixture.run("a", "1", r#"["hold"]"#));
        fixture.wait_seen("hold");
        fixture.cancel.cancel();
        assert!(matches!(call.join().unwrap(), Err(CallError::Cancelled)));
    });
    fixture.wait_seen("notifications/cancelled");
}

#[test] // stdio-202, mcp-21, mcp-69
fn a_clients_cancel_reaches_the_child_while_its_call_runs() {
    let limits = Limits { withdrawn: Duration::from_millis(50), ..quick() };
    let fixture = start("legacy", limits);
    thread::scope(|scope| {
        let call = scope.spawn(|| fixture.run("a", "1", r#"["hold"]"#));
        let other = scope.spawn(|| fixture.run("b", "1", r#"["hold"]"#));
        wait("both calls", || fixture.seen().len() == 2);
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"x"}}"#;
        fixture.notify("c", cancel);
        fixture.notify("a", cancel);
        let answer = call.join().unwrap().unwrap();
        assert!(answer.json.contains("Request cancelled"), "{}", answer.json);
        fixture.wait_seen(r#""reason":"x""#);
        fixture.run("b", "2", r#"["release"],["answer"]"#).unwrap();
        assert!(other.join().unwrap().unwrap().json.contains("released"));
    });
    let cancels = fixture.seen().iter().filter(|line| line.contains("cancelled")).count();
    assert_eq!(cancels, 1);
}

#[test] // forwarding-203, mcp-10
fn requests_of_the_child_are_answered_and_the_call_goes_on() {
    let fixture = start("legacy", quick());
    let steps = r#"["raw","{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"sampling/createMessage\"}"],
        ["raw","{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}"],["answer"]"#;
    fixture.run("a", "1", steps).unwrap();
    fixture.wait_seen(r#"{"jsonrpc":"2.0","id":9,"result":{}}"#);
    fixture.wait_seen(r#""id":"q","error":{"code":-32601"#);
}

#[test] // mcp-18, mcp-20, mcp-52
fn a_modern_request_never_reaches_a_legacy_child() {
    let silent = Limits { discover: Duration::from_millis(50), ..quick() };
    for (mode, limits) in [("legacy", quick()), ("deaf-to-discover", silent)] {
        let fixture = start(mode, limits);
        fixture.warm_up();
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{MODERN}}}}}"#);
        for _ in 0..2 {
            assert!(matches!(fixture.request("", &text), Err(CallError::OlderServer)));
        }
        let seen = fixture.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].contains("server/discover"));
        fixture.run("a", "1", r#"["answer"]"#).unwrap();
    }
}

#[test] // mcp-18
fn a_child_that_dies_of_the_era_question_is_not_asked_again() {
    let fixture = start("exit-on-discover", quick());
    fixture.warm_up();
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{MODERN}}}}}"#);
    assert!(matches!(fixture.request("", &text), Err(CallError::OlderServer)));
    assert!(matches!(fixture.request("", &text), Err(CallError::OlderServer)));
    assert_eq!(fixture.channel.status().restarts, 1);
}

#[test] // mcp-22, mcp-53
fn a_modern_child_is_asked_once_and_its_errors_have_their_status() {
    let fixture = start("modern", quick());
    let refused = |code: i64, modern: bool| {
        let meta = if modern { format!(",{MODERN}") } else { String::new() };
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"refused","params":{{"code":{code}{meta}}}}}"#
        );
        fixture.request("", &text).unwrap().status
    };
    assert_eq!(refused(-32601, true), 404);
    assert_eq!(refused(-32022, true), 400);
    assert_eq!(refused(-32602, true), 200);
    assert_eq!(refused(-32601, false), 200);
    let steps = r#"["raw","{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}"],["answer"]"#;
    fixture.run("a", "1", steps).unwrap();
    fixture.run("a", "2", r#"["answer"]"#).unwrap();
    let seen = fixture.seen();
    assert_eq!(seen.iter().filter(|line| line.contains("discover")).count(), 1, "{seen:?}");
    assert!(!seen.iter().any(|line| line.contains(r#""q""#)), "{seen:?}");
}

#[test] // mcp-18, mcp.md section 9
fn a_server_of_both_eras_serves_clients_of_both() {
    let fixture = start("either", quick());
    let modern = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"do","params":{{"steps":[["answer",{{"era":2026}}]],{MODERN}}}}}"#
    );
    assert!(fixture.request("", &modern).unwrap().json.contains("2026"));
    let answer = fixture.request("a", &initialize_text("1", "2025-06-18")).unwrap();
    assert!(answer.json.contains("result"), "{}", answer.json);
    fixture.run("a", "2", r#"["answer"]"#).unwrap();
    assert!(fixture.request("", &modern).unwrap().json.contains("2026"));
    let status = fixture.channel.status();
    assert_eq!((status.restarts, fixture.channel.stats().starts.get()), (0, 2));
    // The second child is looked after like the first.
    assert_eq!(failed(fixture.run("a", "3", r#"["exit",1]"#)), FailureKind::Eof);
    fixture.run("a", "4", r#"["answer"]"#).unwrap();
}

#[test] // mcp-20
fn a_server_of_both_eras_that_has_begun_with_the_older_one_stays_with_it() {
    let fixture = start("either", quick());
    fixture.request("a", &initialize_text("1", "2025-06-18")).unwrap();
    let modern = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{{MODERN}}}}}"#);
    assert!(matches!(fixture.request("", &modern), Err(CallError::OlderServer)));
    assert_eq!(fixture.channel.stats().starts.get(), 1);
}

#[test] // mcp-23
fn a_subscription_is_known_to_its_client_by_its_own_id() {
    let changed = |id: &str| {
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID}}}"#
            .replace("ID", id)
    };
    let result = |id: &str| {
        r#"{"jsonrpc":"2.0","id":ID,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":ID}}}"#
            .replace("ID", id)
    };
    let end = |id: &str| {
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":ID}}"#
            .replace("ID", id)
    };
    let limits = Limits { withdrawn: Duration::from_millis(50), ..quick() };
    let fixture = start("modern", limits);
    for by_result in [true, false] {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":"sub","method":"subscriptions/listen","params":{{"n":{by_result},{MODERN}}}}}"#
        );
        thread::scope(|scope| {
            let listen = scope.spawn(|| fixture.noted("", &text, PATIENCE));
            fixture.wait_seen(&format!(r#""n":{by_result}"#));
            let call = fixture.seen().pop().unwrap();
            let call: serde_json::Value = serde_json::from_str(&call).unwrap();
            let id = call["id"].to_string();
            let last = if by_result { result(&id) } else { end(&id) };
            let raw = |text: String| serde_json::json!(["raw", text]).to_string();
            let steps = format!(r#"{},{},["answer"]"#, raw(changed(&id)), raw(last));
            let (other, others_notes) = fixture.noted("x", &do_text("1", &steps), PATIENCE);
            other.unwrap();
            assert!(others_notes.is_empty(), "{others_notes:?}");
            let (answer, notes) = listen.join().unwrap();
            let answer = answer.unwrap().json;
            let own = r#""sub""#;
            if by_result {
                assert_eq!((answer, notes), (result(own), vec![changed(own)]));
            } else {
                assert_eq!(notes, [changed(own), end(own)]);
                assert!(answer.contains("Request cancelled"));
            }
        });
    }
}

#[test] // forwarding-32, mcp-15
fn banners_and_garbage_are_passed_over_and_a_batch_is_taken_apart() {
    let fixture = start("banner", quick());
    let steps = r#"["raw","no message"],["raw",""],["raw","[]"],["raw","{\"id\":$ID}"],
        ["raw","[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"},{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{}}]"]"#;
    let (result, notes) = fixture.noted("a", &do_text("1", steps), PATIENCE);
    assert_eq!(result.unwrap().json, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(notes, [r#"{"jsonrpc":"2.0","method":"notifications/message"}"#]);
    assert_eq!(fixture.channel.stats().stray_lines.get(), 5);
    assert_eq!(fixture.channel.status().restarts, 0);
}

#[test] // mcp-12, forwarding-219
fn an_answer_over_the_limit_fails_its_call_and_nothing_else() {
    let fixture = start("legacy", Limits { line: 100_000, ..quick() });
    thread::scope(|scope| {
        let held = scope.spawn(|| fixture.run("a", "1", r#"["hold"]"#));
        fixture.wait_seen("hold");
        assert_eq!(
            failed(fixture.run("a", "2", r#"["big",200000]"#)),
            FailureKind::ResponseBodyTooLarge
        );
        fixture.run("a", "3", r#"["big",90000],["release"]"#).unwrap();
        held.join().unwrap().unwrap();
    });
}

#[test] // forwarding-219
fn sixteen_mebibytes_pass_both_ways() {
    let fixture = start("legacy", quick());
    let size = 16 * 1024 * 1024;
    let filler = "y".repeat(size);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"do","params":{{"steps":[["big",{size}]],"filler":"{filler}"}}}}"#
    );
    assert!(fixture.request("a", &text).unwrap().json.len() > size);
}

#[test] // mcp-16
fn a_flood_on_stderr_holds_up_nobody() {
    let fixture = start("legacy", quick());
    fixture.run("a", "1", r#"["stderr",20000],["answer"]"#).unwrap();
    assert!(fixture.channel.stats().stderr_held_back.get() > 10_000);
}

#[test] // stdio-210
fn a_child_that_stops_reading_is_replaced_and_what_it_never_saw_is_served_by_the_next() {
    let fixture = start("legacy", Limits { stdin_stall: Duration::from_millis(100), ..quick() });
    fixture.warm_up();
    let big = format!(r#"["answer"],["none","{}"]"#, "y".repeat(1_000_000));
    thread::scope(|scope| {
        let stuck = scope.spawn(|| fixture.run("a", "1", r#"["stop_reading"]"#));
        fixture.wait_seen("stop_reading");
        // One of them is cut off in the middle, the other never begins.
        let first = scope.spawn(|| fixture.run("a", "2", &big));
        let second = scope.spawn(|| fixture.run("a", "3", &big));
        let results = [first.join().unwrap(), second.join().unwrap()];
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
        assert_eq!(failed(stuck.join().unwrap()), FailureKind::Eof);
    });
    assert_eq!(fixture.channel.stats().stalls.get(), 1);
    assert_eq!(fixture.channel.status().restarts, 1);
}

#[test]
fn a_child_that_closes_its_output_is_replaced() {
    let fixture = start("legacy", Limits { closed_wait: Duration::from_millis(50), ..quick() });
    assert_eq!(failed(fixture.run("a", "1", r#"["close_stdout"]"#)), FailureKind::Eof);
    fixture.run("a", "2", r#"["answer"]"#).unwrap();
    assert_eq!(fixture.channel.status().restarts, 1);
}

#[test] // stdio-205
fn a_child_that_exits_at_once_makes_calls_fail_and_the_channel_says_why() {
    let pause = Duration::from_secs(600);
    let fixture = start("exit", Limits { backoff: (pause, pause), ..quick() });
    let gone = || fixture.channel.status().state.complaint().unwrap_or_default();
    wait("the exit", || gone().contains("child exited with status 3; restart in "));
    assert_eq!(failed(fixture.run("a", "1", r#"["answer"]"#)), FailureKind::ClosedPipe);
    assert_eq!(fixture.channel.status().pid, None);
}

#[test]
fn a_flapping_child_is_started_again_and_again() {
    let fixture = start("exit", quick());
    wait("restarts", || fixture.channel.status().restarts >= 3);
}

#[test]
fn a_child_is_not_up_while_its_first_call_waits_in_vain() {
    let fixture = start("silent", Limits { answer_due: Duration::ZERO, ..quick() });
    let give_up = Cancel::new().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let bounds = Bounds { limit: Instant::now() + PATIENCE, cancel: give_up.clone() };
            let message = Message::parse(do_text("1", r#"["answer"]"#)).unwrap();
            let on_note = &mut |_: Answer| ControlFlow::Continue(());
            fixture.channel.request(&message, &Headers::new(), &bounds, on_note)
        });
        wait("the complaint", || {
            let complaint = fixture.channel.status().state.complaint().unwrap_or_default();
            complaint.starts_with("child was started")
        });
        give_up.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(CallError::Cancelled)));
    });
    // Nobody waits for it any more, and it runs: that must not stay for ever.
    wait("the child to count as up", || fixture.is_up());
}

#[test]
fn a_child_that_lets_several_calls_time_out_is_not_up_until_it_answers() {
    let fixture = start("legacy", quick());
    fixture.run("a", "0", r#"["answer"]"#).unwrap();
    let short = Duration::from_millis(20);
    for id in ["1", "2", "3"] {
        assert!(fixture.is_up());
        let result = fixture.request_within("a", &do_text(id, r#"["hold"]"#), short);
        assert!(matches!(result, Err(CallError::TimedOut)));
    }
    let complaint = fixture.channel.status().state.complaint().unwrap();
    assert_eq!(complaint, "child let its last 3 calls time out");
    fixture.run("a", "4", r#"["answer"]"#).unwrap();
    assert!(fixture.is_up());
}

#[test] // mcp-17, mcp-18
fn nothing_is_written_to_a_child_before_a_client_speaks() {
    let fixture = start("legacy", quick());
    wait("the child to count as up", || fixture.is_up());
    fixture.run("a", "1", r#"["answer"]"#).unwrap();
    let seen = fs::read_to_string(&fixture.seen).unwrap();
    assert_eq!(seen.lines().count(), 1, "{seen}");
}

#[test]
fn a_command_that_cannot_be_started_is_told_at_the_start() {
    for (program, hint) in
        [("no-such-mcp-server", "PATH"), ("/no/such/file", "no such file"), ("/etc", "chmod +x")]
    {
        let error = StdioChannel::start(config(vec![program.to_owned()], quick()))
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(program) && error.contains(hint), "{error}");
    }
}

#[test] // stdio-218
fn the_childs_environment_lacks_what_was_named() {
    let fixture = start("legacy", quick());
    let answer = fixture.run("a", "1", r#"["env","CARGO_MANIFEST_DIR","PATH"]"#).unwrap();
    assert!(answer.json.contains(r#""CARGO_MANIFEST_DIR": null"#), "{}", answer.json);
    assert!(!answer.json.contains(r#""PATH": null"#), "{}", answer.json);
}

#[test] // mcp-24, stdio-217
fn a_stop_ends_a_stubborn_child_and_its_whole_group() {
    let fixture = start("stubborn", quick());
    let answer = fixture.run("a", "1", r#"["spawn"]"#).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer.json).unwrap();
    let grandchild = answer["result"]["pid"].as_i64().unwrap();
    let child = fixture.channel.status().pid.unwrap();
    assert!(Path::new(&format!("/proc/{child}")).exists());
    fixture.channel.stop(Duration::from_millis(200));
    assert!(!Path::new(&format!("/proc/{child}")).exists());
    wait("the end of the grandchild", || {
        // Gone, or a zombie that nobody has reaped yet.
        fs::read_to_string(format!("/proc/{grandchild}/stat"))
            .map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(failed(fixture.run("a", "2", r#"["answer"]"#)), FailureKind::ClosedPipe);
    assert_eq!(fixture.channel.status().state.complaint().unwrap(), "stopped");
}

#[test] // mcp-24
fn a_child_that_ends_with_its_input_is_not_signalled() {
    let fixture = start("legacy", quick());
    fixture.warm_up();
    fixture.channel.stop(PATIENCE);
    assert_eq!(fixture.channel.status().restarts, 0);
}

#[test] // mcp-4, mcp-63
fn fifty_calls_at_once_from_five_sessions_each_get_their_own_answer() {
    let fixture = start("legacy", quick());
    thread::scope(|scope| {
        for n in 0..50 {
            let fixture = &fixture;
            scope.spawn(move || {
                let (session, id) = (format!("s{}", n % 5), n / 5);
                for round in 0..4 {
                    let steps = format!(r#"["answer",{{"n":{n},"round":{round}}}]"#);
                    let answer = fixture.run(&session, &id.to_string(), &steps).unwrap();
                    let wanted = format!(
                        r#"{{"jsonrpc": "2.0", "id": {id}, "result": {{"n": {n}, "round": {round}}}}}"#
                    );
                    assert_eq!(answer.json, wanted);
                }
            });
        }
    });
    assert_eq!(fixture.channel.stats().in_flight.get(), 0);
}
