//! nginx, squid and tinyproxy with configurations of our own, on ports that were free.

use std::fs::Permissions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::edges::authority::Pair;
use crate::support::{Program, Scratch, Signal, eventually};

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn wait_for(program: &mut Program, port: u16) {
    eventually("its port to be open", || {
        if program.has_ended().is_some() {
            program.exit();
            panic!("it ended: {}{}", program.stdout(), program.stderr());
        }
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

/// nginx that opens TLS and hands everything on to a plain port of this host.
pub struct Nginx {
    pub port: u16,
    program: Program,
    _scratch: Scratch,
}

impl Nginx {
    /// `more` are lines of the `server` block, such as `ssl_verify_client on;`.
    pub fn start(pair: &Pair, plain_url: &str, more: &str) -> Nginx {
        let (scratch, port) = (Scratch::new(), free_port());
        let folder = scratch.path("");
        let (folder, cert, key) = (folder.display(), pair.cert(), pair.key());
        let protocols = match more.contains("ssl_protocols") {
            true => "",
            false => "ssl_protocols TLSv1.2 TLSv1.3;",
        };
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let config = scratch.file(
            "nginx.conf",
            &format!(
                "daemon off; {user} worker_processes 1; pid {folder}nginx.pid; error_log stderr;
                 events {{ worker_connections 128; }}
                 http {{
                   access_log off;
                   client_body_temp_path {folder}body; proxy_temp_path {folder}proxy;
                   fastcgi_temp_path {folder}fastcgi; uwsgi_temp_path {folder}uwsgi;
                   scgi_temp_path {folder}scgi;
                   server {{
                     listen 127.0.0.1:{port} ssl; server_name localhost;
                     ssl_certificate {cert}; ssl_certificate_key {key};
                     {protocols} {more}
                     location / {{
                       proxy_pass {plain_url}; proxy_http_version 1.1; proxy_buffering off;
                       proxy_set_header Connection ''; proxy_set_header Host $http_host;
                       proxy_set_header X-Seen-Protocol $ssl_protocol;
                       proxy_set_header X-Seen-Cipher $ssl_cipher;
                       proxy_set_header X-Seen-Ciphers $ssl_ciphers;
                       proxy_set_header X-Seen-Client $ssl_client_s_dn;
                       proxy_set_header X-Seen-Requests $connection_requests;
                     }}
                   }}
                 }}"
            ),
        );
        let mut command = program("nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(scratch.path("")).arg("-c").arg(config);
        let mut program = Program::spawn(command);
        wait_for(&mut program, port);
        Nginx { port, program, _scratch: scratch }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Has it read its configuration, and the files that it names, again.
    pub fn reload(&self) {
        self.program.signal(Signal::HUP);
    }
}

/// A proxy of either make.
pub struct ProxyProgram {
    pub program: Program,
    pub port: u16,
    _scratch: Option<Scratch>,
    folder: Option<PathBuf>,
}

impl Drop for ProxyProgram {
    fn drop(&mut self) {
        let Some(folder) = &self.folder else { return };
        self.program.kill();
        let _ = std::fs::remove_dir_all(folder);
        // What squid shares with itself stays behind when it is killed.
        let mine = format!("t{}-", self.port);
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&mine) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

impl ProxyProgram {
    /// `more` are lines of its configuration.
    pub fn tinyproxy(more: &str) -> ProxyProgram {
        let (scratch, port) = (Scratch::new(), free_port());
        let config = scratch.file(
            "tinyproxy.conf",
            &format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 50\nLogLevel Connect\n{more}\n"
            ),
        );
        let mut command = program("tinyproxy");
        command.arg("-d").arg("-c").arg(config);
        let mut program = Program::spawn(command);
        wait_for(&mut program, port);
        ProxyProgram { program, port, _scratch: Some(scratch), folder: None }
    }

    /// `access` are its `http_access` lines, and what they need.
    pub fn squid(access: &str) -> ProxyProgram {
        ProxyProgram::squid_with(|_| access.to_owned())
    }

    /// The same; `access` may write files into the folder that it is given.
    pub fn squid_with(access: impl FnOnce(&Path) -> String) -> ProxyProgram {
        let port = free_port();
        // squid gives root up, so its folder is one that everybody can reach.
        let folder = std::env::temp_dir().join(format!("squid-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        let access = access(&folder);
        let shown = folder.display();
        let config = format!(
            "http_port 127.0.0.1:{port}\npid_filename {shown}/squid.pid\ncache deny all\n\
             access_log stdio:{shown}/access.log\ncache_log {shown}/cache.log\n\
             coredump_dir {shown}\nvisible_hostname test\nshutdown_lifetime 0 seconds\n\
             memory_cache_shared off\nconnect_retries 0\n{access}\n"
        );
        let path = folder.join("squid.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = program("squid");
        command.arg("-N").arg("-n").arg(format!("t{port}")).arg("-f").arg(path);
        let mut program = Program::spawn(command);
        wait_for(&mut program, port);
        ProxyProgram { program, port, _scratch: None, folder: Some(folder) }
    }

    /// With these credentials, if there are any.
    pub fn url(&self, userinfo: &str) -> String {
        match userinfo {
            "" => format!("http://127.0.0.1:{}", self.port),
            userinfo => format!("http://{userinfo}@127.0.0.1:{}", self.port),
        }
    }
}
