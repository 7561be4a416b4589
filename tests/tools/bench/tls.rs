//! What TLS costs on both hops, and a proxy before it: the same calls over plain HTTP, over TLS,
//! and over TLS through a proxy, and what opening one connection takes.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mcp_tunnel::net::client::{ClientConfig, connect};
use mcp_tunnel::net::{Cancel, Ledger, Proxy, Tls, Trust};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::process::peak_kib;
use super::report::{Binding, ConnectRow, Measured, TlsRow};
use super::work::Work;
use super::{Bench, TURNS};

/// Connections that are opened to see what one takes.
const CONNECTIONS: usize = 200;

/// How long opening one may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest head of a CONNECT request, in bytes.
const HEAD_MAX: usize = 4096;

/// What is carried at once, in bytes: a TLS record.
const PIECE: usize = 16 * 1024;

/// What the three ways are called.
const NAMES: [&str; 3] = ["plain", "over TLS", "over TLS through a proxy"];

impl Bench {
    /// One call at a time over each way, in turns.
    pub fn tls(&self) -> Result<(Vec<TlsRow>, Vec<ConnectRow>), String> {
        let (_stub, url) = self.http_stub()?;
        let stub: SocketAddr = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next()?.parse().ok())
            .ok_or_else(|| format!("the stub's URL has no address: {url}"))?;
        let plane = self.plane.address().ok_or("the control plane has no address")?;
        let pair = Pair::new(&self.dir)?;
        let front = |target| pair.front(target).map_err(|e| format!("no TLS front: {e}"));
        let far = front(plane)?;
        let base = format!("https://{far}");
        let target = url.replace(&stub.to_string(), &front(stub)?.to_string());
        let target = vec![target.replace("http://", "https://")];
        let proxy = proxy().map_err(|e| format!("no proxy: {e}"))?;
        let proxy_url = format!("http://{proxy}");
        let bundle = pair.cert.display().to_string();
        let trusting = [("CA_BUNDLE", bundle.as_str())];
        let proxied = [
            ("CA_BUNDLE", bundle.as_str()),
            ("CONTROL_PLANE_HTTP_PROXY", proxy_url.as_str()),
            ("MCP_HTTP_PROXY", proxy_url.as_str()),
        ];
        let http = Binding::Http;
        let plain = vec![url];
        let mut subjects = [
            self.subject(|id| self.start_tunnel(id, http, &plain))?,
            self.subject(|id| self.start_tunnel_to(&base, id, http, &target, &trusting))?,
            self.subject(|id| self.start_tunnel_to(&base, id, http, &target, &proxied))?,
        ];
        let mut rows = NAMES.map(|name| TlsRow { name, tunnel: Measured::default() });
        for subject in &mut subjects {
            self.run(subject, 100.min(self.calls), 1, Work::Call, &mut Measured::default())?;
        }
        for _ in 0..TURNS {
            for (subject, row) in subjects.iter_mut().zip(&mut rows) {
                self.run(subject, self.calls / TURNS, 1, Work::Call, &mut row.tunnel)?;
            }
        }
        for (subject, row) in subjects.iter().zip(&mut rows) {
            row.tunnel.peak_kib = peak_kib(subject.part.id());
        }
        Ok((Vec::from(rows), connections(&pair, plane, far, proxy)?))
    }
}

/// Opens connections as the daemon does: a whole handshake each, since nothing is kept.
fn connections(
    pair: &Pair,
    plain: SocketAddr,
    tls: SocketAddr,
    proxy: SocketAddr,
) -> Result<Vec<ConnectRow>, String> {
    let trust = Trust::load(Some(&pair.cert)).map_err(|e| e.to_string())?;
    let cancel = Cancel::new().map_err(|e| e.to_string())?;
    let direct = ClientConfig {
        tls: Some(Tls::new(&trust, None).map_err(|e| e.to_string())?),
        unix_socket: None,
        proxy: None,
        idle: CONNECT_LIMIT,
        linger: None,
        secrets_keep_path: false,
        ledger: Ledger::default(),
    };
    let through = Proxy::new(&proxy.ip().to_string(), proxy.port(), None, None);
    let through = ClientConfig { proxy: Some(through), ..direct.clone() };
    let ways = [
        (&direct, format!("http://{plain}")),
        (&direct, format!("https://{tls}")),
        (&through, format!("https://{tls}")),
    ];
    let mut rows = NAMES.map(|name| ConnectRow { name, times: Vec::new() });
    for _ in 0..CONNECTIONS {
        for ((config, url), row) in ways.iter().zip(&mut rows) {
            let url = url.parse().map_err(|e| format!("{url}: {e}"))?;
            let begun = Instant::now();
            connect(config, &url, begun + CONNECT_LIMIT, &cancel).map_err(|e| e.to_string())?;
            row.times.push(begun.elapsed());
        }
    }
    Ok(Vec::from(rows))
}

/// A certificate for 127.0.0.1 that is its own authority, and its key.
struct Pair {
    cert: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn new(dir: &Path) -> Result<Self, String> {
        let pair = Self { cert: dir.join("tls.pem"), key: dir.join("tls.key") };
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"])
            .arg(&pair.cert)
            .arg("-keyout")
            .arg(&pair.key)
            .output()
            .map_err(|e| format!("openssl, which makes a certificate: {e}"))?;
        match made.status.success() {
            true => Ok(pair),
            false => Err(format!("openssl: {}", String::from_utf8_lossy(&made.stderr))),
        }
    }

    /// Speaks TLS to clients and hands on to `target` what they say, as long as the process runs.
    fn front(&self, target: SocketAddr) -> Result<SocketAddr, Box<dyn std::error::Error>> {
        let chain = vec![CertificateDer::from_pem_slice(&fs::read(&self.cert)?)?];
        let key = PrivateKeyDer::from_pem_slice(&fs::read(&self.key)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let config = Arc::new(config);
        Ok(listen(move |client| terminate(client, target, config.clone()))?)
    }
}

/// Serves each connection in a thread of its own.
fn listen(
    serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let serve = serve.clone();
            // A connection that breaks off is its peer's business, which tells it.
            thread::spawn(move || client.set_nodelay(true).and_then(|()| serve(client)));
        }
    });
    Ok(address)
}

fn terminate(
    mut client: TcpStream,
    target: SocketAddr,
    config: Arc<ServerConfig>,
) -> io::Result<()> {
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut client)?;
    }
    let mut server = TcpStream::connect(target)?;
    server.set_nodelay(true)?;
    let mut piece = [0; PIECE];
    let mut ended = false;
    loop {
        // What came with the end of the handshake is here already.
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut plain)?;
        server.write_all(&plain)?;
        while tls.wants_write() {
            tls.write_tls(&mut client)?;
        }
        if ended || state.peer_has_closed() {
            return Ok(());
        }
        let mut ready = [PollFd::new(&client, PollFlags::IN), PollFd::new(&server, PollFlags::IN)];
        poll(&mut ready, None)?;
        let [from_client, from_server] = ready.map(|fd| !fd.revents().is_empty());
        if from_client {
            ended = tls.read_tls(&mut client)? == 0;
        }
        if from_server {
            let count = server.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            tls.writer().write_all(&piece[..count])?;
        }
    }
}

/// A proxy that does CONNECT and nothing else.
fn proxy() -> io::Result<SocketAddr> {
    listen(|mut client| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_MAX {
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head);
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let mut server = TcpStream::connect(target.ok_or(io::ErrorKind::InvalidData)?)?;
        server.set_nodelay(true)?;
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let (mut back, mut to) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut back, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        io::copy(&mut client, &mut server)?;
        server.shutdown(std::net::Shutdown::Both)
    })
}
