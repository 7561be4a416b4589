//! nginx, squid and tinyproxy with configurations of our own, on ports that were free.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use crate::authority::Pair;
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
    pub program: Program,
    pub port: u16,
    _scratch: Scratch,
}

impl Nginx {
    /// `more` are lines of the `server` block, such as `ssl_verify_client on;`.
    pub fn start(pair: &Pair, plain_url: &str, more: &str) -> Nginx {
        let (scratch, port) = (Scratch::new(), free_port());
        let folder = scratch.path("");
        let (folder, cert, key) = (folder.display(), pair.cert(), pair.key());
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
                     {more}
                     location / {{
                       proxy_pass {plain_url}; proxy_http_version 1.1; proxy_buffering off;
                       proxy_set_header Connection ''; proxy_set_header Host $http_host;
                       proxy_set_header X-Seen-Protocol $ssl_protocol;
                       proxy_set_header X-Seen-Cipher $ssl_cipher;
                       proxy_set_header X-Seen-Client $ssl_client_s_dn;
                     }}
                   }}
                 }}"
            ),
        );
        let mut command = program("nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(scratch.path("")).arg("-c").arg(config);
        let mut program = Program::spawn(command);
        wait_for(&mut program, port);
        Nginx { program, port, _scratch: scratch }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Takes over changed files.
    pub fn reload(&self) {
        self.program.signal(Signal::HUP);
    }
}

/// A proxy of either make.
pub struct ProxyProgram {
    pub program: Program,
    pub port: u16,
    _scratch: Scratch,
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
        ProxyProgram { program, port, _scratch: scratch }
    }

    /// `access` are its `http_access` lines, and what they need.
    pub fn squid(access: &str) -> ProxyProgram {
        ProxyProgram::squid_with(|_| access.to_owned())
    }

    pub fn squid_with(access: impl FnOnce(&Scratch) -> String) -> ProxyProgram {
        let (scratch, port) = (Scratch::new(), free_port());
        let access = access(&scratch);
        let folder = scratch.path("");
        let folder = folder.display();
        let root = rustix::process::getuid().is_root();
        let user = if root { "cache_effective_user root\n" } else { "" };
        let config = scratch.file(
            "squid.conf",
            &format!(
                "http_port 127.0.0.1:{port}\npid_filename {folder}squid.pid\ncache deny all\n\
                 {user}access_log stdio:{folder}access.log\ncache_log {folder}cache.log\n\
                 coredump_dir {folder}\nvisible_hostname test\nshutdown_lifetime 0 seconds\n\
                 dns_nameservers 127.0.0.1\nconnect_retries 0\n{access}\n"
            ),
        );
        let mut command = program("squid");
        command.arg("-N").arg("-n").arg(format!("t{port}")).arg("-f").arg(config);
        let mut program = Program::spawn(command);
        wait_for(&mut program, port);
        ProxyProgram { program, port, _scratch: scratch }
    }

    /// With these credentials, if there are any.
    pub fn url(&self, userinfo: &str) -> String {
        match userinfo {
            "" => format!("http://127.0.0.1:{}", self.port),
            userinfo => format!("http://{userinfo}@127.0.0.1:{}", self.port),
        }
    }
}
