//! What is given up stays given up: processes that confine themselves as the daemon does, and then
//! try what they may not.
//!
//! Each attempt needs a process of its own with one thread, so this is no ordinary test harness:
//! the program starts itself once for each, and compares what came of it.

#[path = "support/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use mcp_tunnel::confine::{self, Confinement, Needs};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, sendto, socket};
use rustix::process::{Pid, Signal, kill_process};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// A system call that the daemon never makes ends it with this signal.
const SIGSYS: i32 = 31;

/// No user's: a process without privileges.
const NOBODY: u32 = 65_534;

/// What came of an attempt: the words that the process wrote, or the signal that ended it.
type Attempt = (&'static str, fn(&Stand) -> Result<(), io::Error>, &'static str);

/// Those under the daemon's rule.
const ATTEMPTS: &[Attempt] = &[
    ("read a file", |_| fs::read("/etc/passwd").map(drop), "done"),
    ("read a directory", |_| fs::read_dir("/").map(drop), "done"),
    ("see its open files", |_| fs::read_dir("/proc/self/fd").map(drop), "done"),
    ("open the log anew", |stand| append(&stand.path("log/file")), "done"),
    ("open the log in the place of a moved one", |stand| append(&stand.path("log/new")), "done"),
    ("remove the PID file", |stand| fs::remove_file(stand.path("run/pid")), "done"),
    ("write beside the PID file", |stand| append(&stand.path("run/new")), "EACCES"),
    ("write to another file", |stand| append(&stand.path("other/file")), "EACCES"),
    ("remove another file", |stand| fs::remove_file(stand.path("other/file")), "EACCES"),
    ("make a directory", |stand| fs::create_dir(stand.path("log/new")), "ENOSYS"),
    ("rename a file", |stand| fs::rename(stand.path("log/file"), stand.path("log/x")), "ENOSYS"),
    ("connect to the configured port", |stand| connect(stand.allowed), "done"),
    ("connect to another port", |stand| connect(stand.refused), "EACCES"),
    ("listen", |_| TcpListener::bind("127.0.0.1:0").map(drop), "EACCES"),
    ("open a raw socket", |_| open(AddressFamily::INET, SocketType::RAW, Some(1)), "ENOSYS"),
    ("open a raw socket of TCP", |_| open(AddressFamily::INET, SocketType::RAW, Some(6)), "ENOSYS"),
    ("speak to the audit", |_| open(AddressFamily::NETLINK, SocketType::RAW, Some(9)), "ENOSYS"),
    ("ask for addresses", |_| open(AddressFamily::NETLINK, SocketType::RAW, None), "done"),
    ("go around by sending", |stand| fast_open(stand.refused), "ENOSYS"),
    ("send a datagram", |stand| datagram(stand.allowed), "done"),
    ("go around by MPTCP", |_| open(AddressFamily::INET, SocketType::STREAM, Some(262)), "ENOSYS"),
    ("listen to all packets", |_| open(AddressFamily::PACKET, SocketType::DGRAM, None), "ENOSYS"),
    ("speak to an abstract socket", speak, "EPERM"),
    ("look up a name", |_| resolve("localhost"), "done"),
    ("start a thread", |_| thread(), "done"),
    ("start a process", |_| Command::new("/bin/true").status().map(drop), "ENOSYS"),
    ("execute", |_| Err(Command::new("/bin/true").exec()), "signal 31"),
    ("change the root", |_| Ok(rustix::process::chroot("/")?), "signal 31"),
    ("signal another process", |_| Ok(kill_process(parent(), Signal::CONT)?), "ENOSYS"),
    ("raise a limit", |_| limit(), "ENOSYS"),
    ("change its user", |_| ids(), "ENOSYS"),
];

/// Files and listeners around a confined process, which finds them by its arguments.
struct Stand {
    directory: PathBuf,
    allowed: u16,
    refused: u16,
}

impl Stand {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn needs(&self) -> Needs {
        Needs {
            appended: vec![self.path("log/file")],
            removed: vec![self.path("run/pid")],
            ports: BTreeSet::from([self.allowed]),
            abstract_socket: false,
        }
    }

    fn abstract_name(&self) -> SocketAddr {
        SocketAddr::from_abstract_name(self.directory.as_os_str().as_encoded_bytes()).unwrap()
    }
}

fn append(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path).map(drop)
}

fn connect(port: u16) -> io::Result<()> {
    TcpStream::connect(("127.0.0.1", port)).map(drop)
}

fn open(family: AddressFamily, kind: SocketType, protocol: Option<u32>) -> io::Result<()> {
    let protocol = protocol.and_then(std::num::NonZeroU32::new).map(Protocol::from_raw);
    Ok(socket(family, kind, protocol).map(drop)?)
}

/// Connects with what is sent first, without a call that says so.
fn fast_open(port: u16) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let flags = SendFlags::from_bits_retain(libc::MSG_FASTOPEN.cast_unsigned());
    Ok(sendto(&socket, b"x", flags, &to).map(drop)?)
}

fn datagram(port: u16) -> io::Result<()> {
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", ("127.0.0.1", port)).map(drop)
}

fn speak(stand: &Stand) -> io::Result<()> {
    UnixStream::connect_addr(&stand.abstract_name()).map(drop)
}

fn resolve(name: &str) -> io::Result<()> {
    std::net::ToSocketAddrs::to_socket_addrs(&(name, 1)).map(drop)
}

fn thread() -> io::Result<()> {
    std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("no"))
}

fn parent() -> Pid {
    // The one of this process would be asked for by a call that is refused.
    Pid::INIT
}

fn limit() -> io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    Ok(setrlimit(Resource::Nofile, getrlimit(Resource::Nofile))?)
}

fn ids() -> io::Result<()> {
    Ok(rustix::thread::set_thread_uid(rustix::process::Uid::ROOT)?)
}

/// The other process of an attempt: confines itself, tries, says what came of it.
fn attempt(name: &str, stand: &Stand) {
    let (_, body, _) = ATTEMPTS.iter().find(|(one, ..)| *one == name).unwrap();
    let confinement = Confinement::begin(&stand.needs());
    assert_eq!(confinement.to_string(), "full");
    println!("{}", words(body(stand)));
}

fn words(result: io::Result<()>) -> String {
    let Err(error) = result else { return "done".to_owned() };
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => "EACCES".to_owned(),
        Some(Errno::PERM) => "EPERM".to_owned(),
        Some(Errno::NOSYS) => "ENOSYS".to_owned(),
        _ => error.to_string(),
    }
}

/// Takes calls away as an old kernel or a container does: landlock, or seccomp itself.
fn without(what: &str) {
    let calls = match what {
        "landlock" => [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self],
        // The second stands for none: it is the filter that counts.
        "seccomp" => [libc::SYS_seccomp, libc::SYS_seccomp],
        other => panic!("{other}?"),
    };
    let rules = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let refused = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, target).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

/// The other process of a question about confinement as a whole.
fn say(what: &str, stand: &Stand) -> String {
    match what {
        "late" => {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let thread = std::thread::spawn(move || ended.recv().is_ok());
            let confinement = Confinement::begin(&stand.needs());
            drop(end);
            thread.join().unwrap();
            confinement.to_string()
        }
        "owner" => {
            Confinement::begin(&stand.needs());
            // The files of a process that may be looked into are its user's.
            format!("uid {}", fs::metadata("/proc/self/status").unwrap().uid())
        }
        "launcher" => {
            confine::launcher().unwrap();
            let started = Command::new("/bin/true").status().unwrap().success();
            let clock = rustix::time::ClockId::Realtime;
            let set = rustix::time::clock_settime(clock, rustix::time::clock_gettime(clock));
            format!("{started} {}", words(set.map_err(io::Error::from)))
        }
        what => {
            without(what);
            Confinement::begin(&stand.needs()).to_string()
        }
    }
}

/// What a process wrote that was started like this one, or the signal that ended it.
fn other(arguments: &[&str], stand: &Stand, user: Option<u32>) -> String {
    let mut command = Command::new(stand.path("program"));
    command.args(arguments).arg(&stand.directory);
    command.args([stand.allowed.to_string(), stand.refused.to_string()]);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    match output.status.signal() {
        Some(SIGSYS) => format!("signal {SIGSYS}"),
        Some(signal) => format!("ended by signal {signal}"),
        None => String::from_utf8(output.stdout).unwrap().trim().to_owned(),
    }
}

/// The real daemon without a part: the lines that it wrote, and its exit code.
fn daemon(mode: &str, missing: &str, stand: &Stand) -> (String, Option<i32>) {
    let log = stand.path("log/daemon");
    let mut command = Command::new(stand.path("program"));
    command.args(["exec", missing, programs::tunnel(), "run"]).env_clear();
    for (name, value) in [
        ("CONTROL_PLANE_BASE_URL", "http://127.0.0.1:9"),
        ("CONTROL_PLANE_TUNNEL_ID", "tunnel_0123456789abcdefghijklmnopqrstuv"),
        ("CONTROL_PLANE_API_KEY", "sk-confined"),
        ("MCP_SERVER_URL", "http://127.0.0.1:9/mcp"),
        ("HEALTH_LISTEN_ADDR", "127.0.0.1:0"),
        ("MCP_TUNNEL_CONFINEMENT", mode),
    ] {
        command.env(name, value);
    }
    command.stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let status = loop {
        let text = fs::read_to_string(&log).unwrap();
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if text.contains("mcp-tunnel started") => {
                kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
                break child.wait().unwrap();
            }
            None => assert!(std::time::Instant::now() < end, "it does not start: {text}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    (fs::read_to_string(&log).unwrap(), status.code())
}

/// Runs all, and says of each whether it held.
fn all() -> bool {
    let directory =
        std::env::temp_dir().join(format!("mcp-tunnel-confined-{}", std::process::id()));
    let (allowed, refused) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let stand = Stand { directory, allowed: port(&allowed), refused: port(&refused) };
    let _abstract = UnixListener::bind_addr(&stand.abstract_name()).unwrap();
    let mut failed = 0;
    let mut count = 0;
    let mut check = |name: &str, found: String, wanted: &str| {
        count += 1;
        let holds = found == wanted;
        println!("confined: {name} ... {}", if holds { "ok" } else { "FAILED" });
        if !holds {
            failed += 1;
            println!("  expected `{wanted}`, found `{found}`");
        }
    };
    for (name, _, wanted) in ATTEMPTS {
        prepare(&stand);
        check(name, other(&["try", name], &stand, None), wanted);
    }
    check("a thread that ran before is told", other(&["say", "late"], &stand, None), LATE);
    check("a kernel without Landlock is told", other(&["say", "landlock"], &stand, None), OLD);
    check("a system without filters is told", other(&["say", "seccomp"], &stand, None), NO_FILTER);
    check("launcher's rule", other(&["say", "launcher"], &stand, None), "true EPERM");
    // Only the superuser can become somebody else; for anybody else this is so anyway.
    let user = rustix::process::geteuid().is_root().then_some(NOBODY);
    check("memory is closed to its own user", other(&["say", "owner"], &stand, user), "uid 0");

    let (log, code) = daemon("on", "landlock", &stand);
    let told: Vec<&str> = log.lines().filter(|line| line.contains("confine")).collect();
    let once = told.len() == 2 && told[0].contains("WARN") && told[0].contains(OLD);
    check("a daemon says once what it lacks, and runs", format!("{once} {code:?}"), "true Some(0)");
    let (log, code) = daemon("require", "landlock", &stand);
    let told = format!("mcp-tunnel: process.confinement is `require`, and it is {OLD}\n");
    check(
        "one that must have all does not start",
        format!("{} {code:?}", log == told),
        "true Some(1)",
    );
    let _ = fs::remove_dir_all(&stand.directory);
    println!("\n{} passed, {failed} failed", count - failed);
    failed == 0
}

const LATE: &str = "partial: no confinement of files, ports, processes (threads ran already)";
const OLD: &str =
    "partial: no confinement of files, ports, processes (this kernel has no Landlock)";
const NO_FILTER: &str = "partial: no confinement of syscalls (the system refuses a filter: \
                         Function not implemented (os error 38))";

fn prepare(stand: &Stand) {
    let _ = fs::remove_dir_all(&stand.directory);
    for directory in ["log", "run", "other"] {
        fs::create_dir_all(stand.path(directory)).unwrap();
    }
    for file in ["log/file", "run/pid", "other/file"] {
        fs::write(stand.path(file), "x").unwrap();
    }
    // Where anybody may execute it.
    fs::set_permissions(&stand.directory, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(std::env::current_exe().unwrap(), stand.path("program")).unwrap();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stand = |directory: &str, allowed: &str, refused: &str| Stand {
        directory: directory.into(),
        allowed: allowed.parse().unwrap(),
        refused: refused.parse().unwrap(),
    };
    match words.as_slice() {
        ["try", name, directory, allowed, refused] => {
            attempt(name, &stand(directory, allowed, refused));
            ExitCode::SUCCESS
        }
        ["say", what, directory, allowed, refused] => {
            println!("{}", say(what, &stand(directory, allowed, refused)));
            ExitCode::SUCCESS
        }
        ["exec", missing, program, rest @ ..] => {
            without(missing);
            panic!("{}", Command::new(program).args(rest).exec())
        }
        // Arguments of the usual harness: nothing here goes by them.
        _ if all() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
