//! The health listener: `/healthz`, `/livez`, `/startupz`, `/readyz` and `/metrics` for probes and
//! scrapers, the operator page and its routes (see [`super::api`]) for people.
//!
//! It answers from state that other rooms own, and never waits for them. Its few threads and the
//! limits of [`crate::httpd`] bound the resources that a scanner or a slow client can use.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answer::{JSON, respond, text};
use super::api::{Admin, AdminApi};
use super::files::UrlFile;
use super::host::{host_of, is_loopback_name};
use super::metrics::{Exposition, Source};
use super::process::Process;
use super::readiness::{Readiness, Verdict};
use crate::httpd::{Bind, Exchange, Limits, Running, Server};

/// Connections at once: a few probes, a scraper and an operator. If there are more, the oldest
/// idle one is closed.
const CONNECTIONS: usize = 32;

/// How long an answer may still take when the listener ends.
const STOP_GRACE: Duration = Duration::from_millis(500);

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The address of the listener (settings `health.listen_addr` and `health.unix_socket`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; the host may be empty (all interfaces), the port 0 (operations-1,
    /// operations-2).
    Tcp(String),
    /// A path (operations-6).
    Unix(PathBuf),
}

/// The running listener. Dropping it stops it and removes the URL file and the socket.
pub struct Listener {
    url: String,
    // Dropped first: a client that finds the file finds a listener.
    _url_file: Option<UrlFile>,
    admin: Option<Arc<AdminApi>>,
    running: Option<Running>,
}

/// Says what has stopped making progress, and since when; `None` if nothing has.
pub type Standstill = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The state that the routes show.
pub struct Views {
    /// `/readyz`.
    pub readiness: Arc<Readiness>,
    /// `/livez`: a fault that only a restart can cure.
    pub standstill: Standstill,
    /// `/startupz`: whether the start is complete.
    pub started: Box<dyn Fn() -> bool + Send + Sync>,
    /// `/metrics`.
    pub sources: Vec<Source>,
    /// The operator page, if there is one.
    pub admin: Option<Admin>,
}

struct Pages {
    views: Views,
    admin: Option<Arc<AdminApi>>,
    process: Process,
    hosts: Hosts,
}

/// An address that is bound but not served yet. After this, starting the listener rarely fails.
pub struct Bound {
    server: Server,
    listen: Listen,
    url: String,
    url_file: Option<UrlFile>,
}

impl Bound {
    /// Binds and writes the URL file.
    ///
    /// # Errors
    /// One line that names the address or the file, and the problem with it.
    pub fn take(listen: &Listen, url_file: Option<&Path>) -> io::Result<Self> {
        let limits = Limits::with_connections(CONNECTIONS);
        let server = match listen {
            Listen::Tcp(address) => bind_tcp(address, &limits),
            Listen::Unix(path) => bind_unix(path, limits),
        }
        .map_err(|e| {
            let place = match listen {
                Listen::Tcp(address) => address.clone(),
                Listen::Unix(path) => path.display().to_string(),
            };
            let hint = if e.kind() == io::ErrorKind::AddrInUse {
                "; another process uses it: choose another health.listen_addr, or port 0"
            } else {
                ""
            };
            io::Error::new(e.kind(), format!("the health listener cannot use {place}: {e}{hint}"))
        })?;
        let url = base_url(listen, server.local());
        let url_file = url_file
            .map(|path| {
                UrlFile::create(path, &url).map_err(|e| {
                    remove_socket(server.local());
                    let path = path.display();
                    io::Error::new(e.kind(), format!("cannot write the URL file {path}: {e}"))
                })
            })
            .transpose()?;
        Ok(Self { server, listen: listen.clone(), url, url_file })
    }

    /// The base URL that the listener will have.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// True if other hosts can connect to it.
    pub fn is_open(&self) -> bool {
        matches!(self.server.local(), Bind::Tcp(bound) if !bound.ip().is_loopback())
    }

    /// Starts to serve. When it returns, probes are answered.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn serve(self, mut views: Views) -> io::Result<Listener> {
        let Self { server, listen, url, url_file } = self;
        let hosts = Hosts::of(&listen, server.local());
        let configured = match &listen {
            Listen::Tcp(address) => host_of(address).unwrap_or_default().to_ascii_lowercase(),
            Listen::Unix(_) => String::new(),
        };
        let admin = views.admin.take().map(|admin| Arc::new(AdminApi::new(admin, configured)));
        let pages = Pages { views, admin: admin.clone(), process: Process::new(), hosts };
        let running = server.serve("health", move |exchange| pages.answer(exchange))?;
        Ok(Listener { url, _url_file: url_file, admin, running: Some(running) })
    }
}

impl Listener {
    /// The base URL for probes (operations-8, operations-9), without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self._url_file.take());
        if let Some(admin) = &self.admin {
            admin.close();
        }
        if let Some(running) = self.running.take() {
            running.stop(STOP_GRACE);
        }
    }
}

impl Pages {
    fn answer(&self, exchange: Exchange<'_>) {
        if !self.hosts.allow(exchange.head().host.as_deref()) {
            let body = "this listener answers to loopback names only\n";
            return text(exchange, 403, body);
        }
        match exchange.head().path.as_str() {
            "/healthz" => text(exchange, 200, "live"),
            "/livez" => match (self.views.standstill)() {
                None => text(exchange, 200, "live"),
                Some(why) => text(exchange, 503, &why),
            },
            "/startupz" => match (self.views.started)() {
                true => text(exchange, 200, "started"),
                false => text(exchange, 503, "no poll has been sent yet"),
            },
            "/readyz" => self.readyz(exchange),
            "/metrics" => respond(exchange, 200, PROMETHEUS, &[], &self.metrics()),
            _ => match &self.admin {
                Some(admin) => admin.answer(exchange, &|| self.metrics()),
                None => text(exchange, 404, "404 page not found\n"),
            },
        }
    }

    fn readyz(&self, exchange: Exchange<'_>) {
        let report = self.views.readiness.report();
        let status = if report.ready { 200 } else { 503 };
        let query = exchange.query();
        let is = |name: &str, value: &str| query.iter().any(|(n, v)| n == name && v == value);
        let accepts = exchange.head().headers.get("Accept").unwrap_or_default();
        if is("format", "json") || accepts.starts_with("application/json") {
            return respond(exchange, status, JSON, &[], &format!("{}\n", report.json()));
        }
        let verbose = query.iter().any(|(name, _)| name == "verbose");
        let body = if verbose { report.verbose() } else { report.line };
        text(exchange, status, &body);
    }

    fn metrics(&self) -> String {
        let mut page = Exposition::default();
        let report = self.views.readiness.report();
        page.gauge("liveness", "1 while the process serves.", &[], 1.0);
        let help = "1 if commands are served now, as /readyz says.";
        page.gauge("readiness", help, &[], f64::from(u8::from(report.ready)));
        for finding in &report.conditions {
            let holds = !matches!(finding.verdict, Verdict::NotReady(_));
            let help = "1 if this condition of readiness holds.";
            let labels = [("condition", finding.name.as_str())];
            page.gauge("mcp_tunnel_condition", help, &labels, f64::from(u8::from(holds)));
        }
        let help = "1 while polls and workers make progress, as /livez says.";
        let moves = (self.views.standstill)().is_none();
        page.gauge("mcp_tunnel_progress", help, &[], f64::from(u8::from(moves)));
        self.process.write(&mut page);
        for source in &self.views.sources {
            source(&mut page);
        }
        page.finish()
    }
}

/// The `Host` headers that are answered: on loopback only loopback names.
#[derive(Debug)]
enum Hosts {
    Any,
    Loopback { configured: String },
}

impl Hosts {
    fn of(listen: &Listen, bound: &Bind) -> Self {
        match (listen, bound) {
            (Listen::Tcp(address), Bind::Tcp(bound)) if bound.ip().is_loopback() => {
                let configured = host_of(address).unwrap_or_default().to_ascii_lowercase();
                Self::Loopback { configured }
            }
            _ => Self::Any,
        }
    }

    fn allow(&self, host: Option<&str>) -> bool {
        // Only programs leave it out (HTTP/1.0), and no browser does.
        let (Self::Loopback { configured }, Some(host)) = (self, host) else { return true };
        is_loopback_name(host, configured)
    }
}

/// Binds `host:port`, trying every address of the host (operations-1).
///
/// # Errors
/// If the text is malformed, the name has no address, or no address can be bound.
pub fn bind_tcp(address: &str, limits: &Limits) -> io::Result<Server> {
    let malformed = || {
        let text = "an address is host:port, for instance 127.0.0.1:8080, [::1]:8080 or :8080";
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let host = host_of(address).ok_or_else(malformed)?;
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port: u16 = port.ok_or_else(malformed)?;
    let candidates: Vec<SocketAddr> = if host.is_empty() {
        // The first serves both families unless the system forbids that or has no IPv6.
        vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
    } else {
        (host, port).to_socket_addrs()?.collect()
    };
    let mut first_error = None;
    for candidate in candidates {
        match Server::bind(&Bind::Tcp(candidate), limits.clone()) {
            Ok(server) => return Ok(server),
            Err(e) => {
                first_error.get_or_insert(e);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| io::Error::other("the name has no address")))
}

fn bind_unix(path: &Path, limits: Limits) -> io::Result<Server> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let server = Server::bind(&Bind::Unix(path.to_owned()), limits)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(server)
}

fn remove_socket(bound: &Bind) {
    if let Bind::Unix(path) = bound {
        let _ = fs::remove_file(path);
    }
}

/// The base URL of a listener (operations-8, operations-9).
fn base_url(listen: &Listen, bound: &Bind) -> String {
    let bound = match bound {
        Bind::Unix(path) => {
            return format!("http+unix://{}", URL_SAFE_NO_PAD.encode(path.as_os_str().as_bytes()));
        }
        Bind::Tcp(bound) => bound,
    };
    let specified = |host: &str| host.parse::<IpAddr>().map_or(true, |ip| !ip.is_unspecified());
    let configured = match listen {
        Listen::Tcp(address) => host_of(address).filter(|h| !h.is_empty() && specified(h)),
        Listen::Unix(_) => None,
    };
    let host = match configured {
        Some(host) => host.to_owned(),
        None if bound.ip().is_unspecified() => "localhost".to_owned(),
        None => bound.ip().to_string(),
    };
    let port = bound.port();
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::readiness::Condition;
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn ask(mut stream: impl Read + Write, path: &str, host: &str) -> (u16, String, String) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    fn start(listen: &Listen, url_file: Option<&Path>) -> io::Result<(Listener, Arc<AtomicBool>)> {
        let up = Arc::new(AtomicBool::new(false));
        let seen = up.clone();
        let readiness = Readiness::new(vec![Condition::new("mcp", move || {
            if seen.load(Ordering::SeqCst) {
                Verdict::Ready
            } else {
                Verdict::NotReady("down".to_owned())
            }
        })]);
        let source: Source = Box::new(|page| page.counter("polls_total", "Polls.", &[], 3));
        let listener = Bound::take(listen, url_file)?.serve(Views {
            readiness: Arc::new(readiness),
            standstill: Box::new(|| None),
            started: Box::new(|| true),
            sources: vec![source],
            admin: None,
        })?;
        Ok((listener, up))
    }

    fn connect(listener: &Listener) -> TcpStream {
        let address = listener.url().strip_prefix("http://").unwrap();
        TcpStream::connect(address).unwrap()
    }

    #[test] // operations-21, operations-22, operations-23, operations-40
    fn probes_and_scrapers_get_the_present_state() {
        let (listener, up) = start(&Listen::Tcp("127.0.0.1:0".to_owned()), None).unwrap();
        let get = |path| ask(connect(&listener), path, "127.0.0.1");
        assert_eq!(get("/healthz").2, "live");
        assert_eq!((get("/readyz").0, get("/readyz").2), (503, "down".to_owned()));
        assert_eq!(get("/readyz?verbose").2, "not ok mcp: down\nnot ready\n");
        assert!(get("/metrics").2.contains("\nreadiness 0\n"));
        up.store(true, Ordering::SeqCst);
        let (status, head, body) = get("/readyz");
        assert_eq!((status, body.as_str()), (200, "ready"));
        assert!(head.contains("Content-Type: text/plain; charset=utf-8"));
        let (_, head, body) = get("/metrics");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4"));
        for line in ["liveness 1\n", "readiness 1\n", "polls_total 3\n", "process_open_fds "] {
            assert!(body.contains(line), "no {line} in {body}");
        }
        assert!(body.contains("mcp_tunnel_condition{condition=\"mcp\"} 1\n"));
        assert_eq!(get("/other").0, 404);
    }

    #[test] // operations-212
    fn a_loopback_listener_answers_to_loopback_names_only() {
        let (listener, _) = start(&Listen::Tcp("127.0.0.1:0".to_owned()), None).unwrap();
        for (host, status) in [
            ("localhost:1", 200),
            ("LOCALHOST.", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]:9", 200),
            ("evil.example:8080", 403),
            ("localhost.evil.example", 403),
            ("10.0.0.1", 403),
        ] {
            assert_eq!(ask(connect(&listener), "/healthz", host).0, status, "{host}");
        }
    }

    #[test] // operations-8, operations-2, operations-9
    fn the_url_names_a_host_that_can_be_asked() {
        for (listen, bound, url) in [
            (":0", "[::]:7", "http://localhost:7"),
            ("0.0.0.0:0", "0.0.0.0:7", "http://localhost:7"),
            ("127.0.0.1:0", "127.0.0.1:7", "http://127.0.0.1:7"),
            ("[::1]:0", "[::1]:7", "http://[::1]:7"),
            ("health.example:0", "10.1.2.3:7", "http://health.example:7"),
        ] {
            let bound = Bind::Tcp(bound.parse().unwrap());
            assert_eq!(base_url(&Listen::Tcp(listen.to_owned()), &bound), url);
        }
        let unix = PathBuf::from("/run/a");
        assert_eq!(
            base_url(&Listen::Unix(unix.clone()), &Bind::Unix(unix)),
            "http+unix://L3J1bi9h"
        );
    }

    #[test] // operations-5, operations-1
    fn an_address_that_can_not_be_used_is_named() {
        let (listener, _) = start(&Listen::Tcp("127.0.0.1:0".to_owned()), None).unwrap();
        let address = listener.url().strip_prefix("http://").unwrap().to_owned();
        let error = start(&Listen::Tcp(address.clone()), None).err().unwrap().to_string();
        assert!(error.contains(&address) && error.contains("another process"), "{error}");
        for address in ["127.0.0.1", "8080", "::1:80", "[::1]", "localhost:x", "h:65536"] {
            let error = start(&Listen::Tcp(address.to_owned()), None).err().unwrap().to_string();
            assert!(error.contains("host:port"), "{address}: {error}");
        }
    }

    #[test] // operations-6, operations-11
    fn a_unix_socket_and_the_url_file_come_and_go_with_the_listener() {
        let name = format!("mcp-tunnel-listener-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        let (socket, file) = (dir.join("a/socket"), dir.join("b/url"));
        let listen = Listen::Unix(socket.clone());
        let (listener, _) = start(&listen, Some(&file)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), listener.url());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let stream = UnixStream::connect(&socket).unwrap();
        assert_eq!(ask(stream, "/healthz", "localhost").2, "live");
        assert!(start(&listen, None).is_err(), "the socket was taken from its owner");
        drop(listener);
        assert!(!socket.exists() && !file.exists());

        fs::write(&socket, "not a socket").unwrap();
        assert!(start(&listen, None).is_err());
        assert_eq!(fs::read_to_string(&socket).unwrap(), "not a socket");
        fs::remove_file(&socket).unwrap();
        assert!(start(&listen, Some(Path::new("/proc/none/url"))).is_err());
        assert!(!socket.exists(), "a failed start left its socket behind");
        fs::remove_dir_all(dir).unwrap();
    }
}
