//! The server over real sockets, well treated and badly.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Far beyond any wait here; a test that needs it has failed.
const BOUND: Duration = Duration::from_secs(20);
/// For tests in which a limit must pass.
const SHORT: Duration = Duration::from_millis(100);

fn any_port() -> Bind {
    Bind::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn serve(limits: Limits, handler: impl Fn(Exchange<'_>) + Send + Sync + 'static) -> Running {
    Server::bind(&any_port(), limits).unwrap().serve("test", handler).unwrap()
}

/// Answers with the method, the path and the body.
fn echo(mut exchange: Exchange<'_>) {
    match exchange.read_body(1000) {
        Ok(body) => {
            let head = exchange.head();
            let text = format!("{} {} {}", head.method, head.path, String::from_utf8_lossy(&body));
            let _ = exchange.respond(200, &[("Content-Type", "text/plain")], text.as_bytes());
        }
        Err(e) => {
            let text = e.to_string();
            let _ = exchange.respond(e.status(), &[], text.as_bytes());
        }
    }
}

fn connect(server: &Running) -> TcpStream {
    let Bind::Tcp(address) = server.local() else { panic!() };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// Sends text on a fresh connection and reads until the server closes.
fn converse(server: &Running, text: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(text).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Reads from a kept connection until the text ends so.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {text:?}");
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn requests_follow_each_other_on_one_connection_also_unasked() {
    let server = serve(Limits::with_connections(8), echo);
    let answer = converse(
        &server,
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz\
          \r\nPOST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
          GET /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /e HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let bodies: Vec<&str> = answer
        .split("HTTP/1.1 200 OK\r\n")
        .filter_map(|part| part.split_once("\r\n\r\n"))
        .map(|(_, body)| body)
        .collect();
    assert_eq!(bodies, ["GET /a ", "POST /b xyz", "POST /c hi", "GET /d "]);
    assert_eq!(answer.matches("Connection: close").count(), 1);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = serve(Limits::with_connections(8), echo);
    let mut stream = connect(&server);
    for byte in b"\r\nPOST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nxyz" {
        stream.write_all(&[*byte]).unwrap();
    }
    assert!(read_until(&mut stream, "xyz").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn head_has_the_length_and_no_body_and_http_1_0_closes() {
    let server = serve(Limits::with_connections(8), echo);
    let answer = converse(&server, b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("Content-Length: 8\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = converse(&server, b"GET /a HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("GET /a "), "{answer}");
}

#[test] // relay-50, relay-52
fn malformed_and_oversize_requests_get_their_status_and_a_close() {
    let server = serve(Limits::with_connections(8), echo);
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n".to_owned(), 505),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000)), 414),
        (format!("GET /{}", "a".repeat(9000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "a".repeat(70_000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: a\r\n".repeat(200)), 431),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".into(),
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
            400,
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n".into(), 413),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n".into(), 413),
    ] {
        let answer = converse(&server, request.as_bytes());
        let shown: String = request.chars().take(80).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown}: {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{shown}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{shown}: {answer}");
    }
}

#[test] // relay-52
fn a_client_that_sends_far_too_much_still_sees_the_answer() {
    let server = serve(Limits::with_connections(8), echo);
    let mut stream = connect(&server);
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n").unwrap();
    stream.write_all(&vec![b'a'; 9_000_000]).unwrap();
    assert!(read_until(&mut stream, "\r\n").starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_client_that_asks_first_is_told_to_continue() {
    let server = serve(Limits::with_connections(8), echo);
    let mut stream = connect(&server);
    let head = b"POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head).unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"xyz").unwrap();
    assert!(read_until(&mut stream, "xyz").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test] // relay-51
fn slow_clients_are_disconnected() {
    let limits =
        Limits { header_timeout: SHORT, transfer_grace: SHORT, ..Limits::with_connections(8) };
    let server = serve(limits, echo);
    assert_eq!(converse(&server, b""), "");
    assert_eq!(converse(&server, b"GET / HTTP/1.1\r\nHost"), "");
    let answer = converse(&server, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let server = serve(Limits { idle_timeout: SHORT, ..Limits::with_connections(8) }, echo);
    let answer = converse(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn half_open_connections_make_room_for_requests() {
    let server = serve(Limits::with_connections(4), echo);
    let half_open: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(&server);
            let _ = stream.write_all(b"GET / HT");
            stream
        })
        .collect();
    let answer = converse(&server, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("GET /a "), "{answer}");
    drop(half_open);
}

#[test]
fn a_server_full_of_running_requests_refuses_more() {
    let (enter, entered) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = serve(Limits::with_connections(1), move |exchange| {
        enter.send(()).unwrap();
        let _ = wait.lock().unwrap().recv_timeout(BOUND);
        let _ = exchange.respond(204, &[], b"");
    });
    let mut first = connect(&server);
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    entered.recv_timeout(BOUND).unwrap();
    let answer = converse(&server, b"");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    release.send(()).unwrap();
    let answer = read_until(&mut first, "\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 204 ") && !answer.contains("Content-Length"), "{answer}");
}

#[test]
fn an_unanswered_request_is_an_error_of_the_server() {
    let server = serve(Limits::with_connections(8), |exchange| drop(exchange));
    let answer = converse(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
}

#[test]
fn a_stream_arrives_piece_by_piece_and_leaves_the_connection_usable() {
    let server = serve(Limits::with_connections(8), |exchange| {
        let mut stream = exchange.stream(200, &[("Content-Type", "text/event-stream")]).unwrap();
        stream.send(b"data: 1\n\n").unwrap();
        stream.finish(b"data: 2\n\n").unwrap();
    });
    let mut stream = connect(&server);
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let answer = read_until(&mut stream, "\r\n0\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("Length"), "{head}");
        assert_eq!(body, "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n");
    }
    let answer = converse(&server, b"GET / HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\ndata: 1\n\ndata: 2\n\n"), "{answer}");
}

#[test]
fn a_stream_that_breaks_off_is_seen_to_be_incomplete() {
    let server = serve(Limits::with_connections(8), |exchange| {
        let mut stream = exchange.stream(200, &[]).unwrap();
        stream.send(b"half").unwrap();
    });
    let answer = converse(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.ends_with("4\r\nhalf\r\n"), "{answer}");
}

#[test] // relay-41
fn a_header_with_a_line_break_is_never_sent() {
    let server = serve(Limits::with_connections(8), |exchange| {
        let headers = [("X-Bad", "a\r\nX-Evil: 1"), ("X Bad", "a"), ("X-Good", "a\tü")];
        exchange.respond(200, &headers, b"").unwrap();
    });
    let answer = converse(&server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("X-Good: a\tü\r\n"), "{answer}");
    assert!(!answer.contains("Evil") && !answer.contains("Bad"), "{answer}");
}

#[test]
fn a_handler_can_see_that_its_client_has_gone_and_that_nothing_was_sent() {
    let (enter, entered) = mpsc::channel();
    let (report, reported) = mpsc::channel();
    let server = serve(Limits::with_connections(8), move |exchange| {
        let probe = exchange.probe();
        assert!(!exchange.client_gone());
        enter.send(()).unwrap();
        while !probe.client_gone() {
            std::thread::yield_now();
        }
        // The peer's reset may come only after a first write.
        let results: Vec<usize> = match exchange.stream(200, &[]) {
            Err(e) => vec![e.accepted],
            Ok(mut stream) => std::iter::repeat_with(|| stream.send(b"x"))
                .find_map(|sent| sent.err())
                .map(|e| e.accepted)
                .into_iter()
                .collect(),
        };
        report.send(results).unwrap();
    });
    let mut stream = connect(&server);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    entered.recv_timeout(BOUND).unwrap();
    drop(stream);
    assert_eq!(reported.recv_timeout(BOUND).unwrap(), [0]);
}

#[test]
fn stop_ends_idle_connections_at_once_and_lets_a_running_request_finish() {
    let (enter, entered) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = serve(Limits::with_connections(8), move |exchange| {
        enter.send(()).unwrap();
        let _ = wait.lock().unwrap().recv_timeout(BOUND);
        let _ = exchange.respond(200, &[], b"done");
    });
    let Bind::Tcp(address) = *server.local() else { panic!() };
    let mut idle = connect(&server);
    let mut busy = connect(&server);
    busy.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    entered.recv_timeout(BOUND).unwrap();
    let stopping = std::thread::spawn(move || server.stop(BOUND));
    assert_eq!(idle.read(&mut [0]).unwrap_or(0), 0);
    release.send(()).unwrap();
    assert!(read_until(&mut busy, "done").contains("200 OK"));
    assert_eq!(busy.read(&mut [0]).unwrap_or(0), 0);
    assert_eq!(stopping.join().unwrap(), 0);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_unix_socket_is_bound_once_replaced_when_stale_and_removed_at_the_end() {
    let directory = std::env::temp_dir().join(format!("httpd-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("s");
    let bind = Bind::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let limits = Limits::with_connections(8);
    let server = Server::bind(&bind, limits.clone()).unwrap().serve("test", echo).unwrap();
    assert!(Server::bind(&bind, limits.clone()).is_err());
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /u HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("GET /u "), "{answer}");
    assert_eq!(server.stop(BOUND), 0);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(Server::bind(&bind, limits).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_dir_all(&directory).unwrap();
}
