//! `mcp-tunnel-ctl`: what it does by itself, and when `mcp-tunnel` hands a command line on to it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use memchr::memmem;

/// A directory with copies of the programs, removed at the end of its test.
struct Bin(PathBuf);

impl Bin {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcp-tunnel-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let bin = Self(path);
        bin.put(crate::support::programs::tunnel(), "mcp-tunnel");
        bin
    }

    /// With both programs.
    fn whole(name: &str) -> Self {
        let bin = Self::new(name);
        bin.put(crate::support::programs::ctl(), "mcp-tunnel-ctl");
        bin
    }

    fn put(&self, program: &str, name: &str) {
        fs::copy(program, self.path(name)).unwrap();
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A program of the directory in which a script of the same name would be found on `PATH`.
    fn run(&self, args: &[&str]) -> Output {
        ran(&self.path("mcp-tunnel"), args)
    }

    /// That nothing was executed, and one line says why.
    #[track_caller]
    fn refuses(&self, what: &str) {
        let output = self.run(&["profiles", "samples", "list"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("mcp-tunnel: ") && said.contains(what), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty());
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ran(program: &Path, args: &[&str]) -> Output {
    // A directory on PATH must never be asked.
    let own = Path::new(crate::support::programs::ctl()).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", own.display());
    Command::new(program).args(args).env_clear().env("PATH", path).output().unwrap()
}

fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_forwarded_command_line_does_the_same_as_typed_to_ctl() {
    let bin = Bin::whole("forwarded");
    let ctl = |args: &[&str]| ran(&bin.path("mcp-tunnel-ctl"), args);
    for args in [
        &["profiles", "samples", "list"][..],
        &["profiles", "samples", "show", "sample_mcp_with_dcr"],
        &["--json", "profiles", "list", "--profile-dir", "/nonexistent"],
    ] {
        assert_eq!(printed(&bin.run(args)), printed(&ctl(args)), "{args:?}");
    }
    // Exit codes and lines on stderr come through; the name is that of the program typed.
    let refused = bin.run(&["profiles", "show", "a/b"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.starts_with("mcp-tunnel: `a/b` is no profile name"), "{said}");
    let said = String::from_utf8(ctl(&["profiles", "show", "a/b"]).stderr).unwrap();
    assert!(said.starts_with("mcp-tunnel-ctl: `a/b` is no profile name"), "{said}");
    assert_eq!(bin.run(&["top", "--port", "1", "--once"]).status.code(), Some(2));
    assert_eq!(bin.run(&["admin", "tunnels", "list"]).status.code(), Some(1));
    // Flags that only the other program knows may stand before their command as well.
    let early = bin.run(&["--admin-key", "env:ABSENT", "admin", "tunnels", "get", "tunnel_x"]);
    let said = String::from_utf8(early.stderr).unwrap();
    assert!(said.contains("--admin-key") && said.contains("ABSENT"), "{said}");
    let early = bin.run(&["dev", "--duration", "-1s", "proxy"]);
    assert!(String::from_utf8(early.stderr).unwrap().contains("must not be negative"));
}

#[test]
fn help_finds_the_commands_of_both_programs() {
    let bin = Bin::whole("help");
    let listed = printed(&bin.run(&["-h"]));
    let elsewhere = listed.split_once("Commands of mcp-tunnel-ctl:").expect("a list of its own").1;
    for command in ["top", "profiles", "admin", "runtimes", "admin-profiles"] {
        assert!(elsewhere.contains(&format!("\n  {command} ")), "{command}: {listed}");
    }
    let usage = "Usage: mcp-tunnel admin tunnels list";
    for args in [&["help", "admin", "tunnels", "list"][..], &["admin", "tunnels", "list", "-h"]] {
        assert!(printed(&bin.run(args)).contains(usage), "{args:?}");
    }
    assert!(printed(&bin.run(&["help", "dev", "proxy"])).contains("--readiness-timeout"));
    let version = ran(&bin.path("mcp-tunnel-ctl"), &["--version"]);
    assert_eq!(printed(&version), format!("mcp-tunnel-ctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_ctl_one_line_says_what_to_install() {
    let bin = Bin::new("alone");
    bin.refuses("install the package mcp-tunnel-ctl");
    for args in [&["help", "admin"][..], &["dev", "proxy"], &["top"]] {
        assert_eq!(bin.run(args).status.code(), Some(2), "{args:?}");
    }
    // Everything else needs one file.
    let script = printed(&bin.run(&["help", "quickstart"]));
    assert!(script.contains("mcp-tunnel run"));
    assert!(printed(&bin.run(&["dev", "mcp-stub", "--help"])).contains("--listen"));
}

#[test]
fn ctl_is_found_beside_the_file_itself_not_beside_a_link_to_it() {
    let bin = Bin::whole("linked");
    let links = Bin::new("links");
    fs::remove_file(links.path("mcp-tunnel")).unwrap();
    symlink(bin.path("mcp-tunnel"), links.path("mcp-tunnel")).unwrap();
    fs::write(links.path("mcp-tunnel-ctl"), "foreign").unwrap();
    let args = ["profiles", "samples", "list"];
    assert_eq!(printed(&links.run(&args)), printed(&bin.run(&args)));
    // A link that has another name changes nothing either.
    symlink(bin.path("mcp-tunnel"), links.path("tunnel")).unwrap();
    assert_eq!(printed(&ran(&links.path("tunnel"), &args)), printed(&bin.run(&args)));
}

#[test]
fn a_foreign_ctl_is_not_executed() {
    let bin = Bin::new("foreign");
    let trap = bin.path("executed");
    let script = format!("#!/bin/sh\ntouch {}\n", trap.display());
    fs::write(bin.path("mcp-tunnel-ctl"), script).unwrap();
    fs::set_permissions(bin.path("mcp-tunnel-ctl"), PermissionsExt::from_mode(0o755)).unwrap();
    bin.refuses("is not mcp-tunnel-ctl");
    assert!(!trap.exists());
    // Not even itself, again and again.
    bin.put(crate::support::programs::tunnel(), "mcp-tunnel-ctl");
    bin.refuses("is not mcp-tunnel-ctl");
    bin.put(crate::support::programs::relay(), "mcp-tunnel-ctl");
    bin.refuses("is not mcp-tunnel-ctl");
    fs::remove_file(bin.path("mcp-tunnel-ctl")).unwrap();
    fs::create_dir(bin.path("mcp-tunnel-ctl")).unwrap();
    bin.refuses("is no regular file");
}

#[test]
fn a_ctl_of_another_version_is_not_executed() {
    let bin = Bin::whole("version");
    let path = bin.path("mcp-tunnel-ctl");
    let mut bytes = fs::read(&path).unwrap();
    // The program holds its name and version backwards.
    let line = format!("mcp-tunnel-ctl {}\n", env!("CARGO_PKG_VERSION"));
    let mark: Vec<u8> = line.bytes().rev().collect();
    let places: Vec<usize> = memmem::find_iter(&bytes, &mark).collect();
    assert_eq!(places.len(), 1);
    bytes[places[0] + 1] = b'9';
    fs::write(&path, bytes).unwrap();
    bin.refuses(&format!("is not mcp-tunnel-ctl {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_ctl_that_others_can_change_is_not_executed() {
    let bin = Bin::whole("modes");
    let (own, ctl) = (bin.path("mcp-tunnel"), bin.path("mcp-tunnel-ctl"));
    let set = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    for mode in [0o757, 0o775] {
        set(&ctl, mode);
        bin.refuses("can be changed by others");
    }
    // What the group of both may write, it could have replaced anyway.
    set(&own, 0o775);
    printed(&bin.run(&["profiles", "samples", "list"]));
    set(&ctl, 0o644);
    bin.refuses("cannot be executed");
    set(&ctl, 0o755);
    // Root can give the file away; another user has none to give.
    if fs::metadata(&own).unwrap().uid() == 0 {
        std::os::unix::fs::chown(&ctl, Some(65534), Some(65534)).unwrap();
        bin.refuses("can be changed by others");
        std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
        printed(&bin.run(&["profiles", "samples", "list"]));
        std::os::unix::fs::chown(&ctl, Some(0), Some(0)).unwrap();
        printed(&bin.run(&["profiles", "samples", "list"]));
    }
    let moved = bin.path("moved");
    fs::rename(&ctl, &moved).unwrap();
    symlink(&moved, &ctl).unwrap();
    bin.refuses("is a symbolic link");
}

/// Texts that only code that uses an admin key has: its calls and its errors.
const ADMIN_TEXTS: [&str; 3] =
    ["/v1/tunnels?", "the admin key cannot be sent as a header", "no admin key: set "];

/// The names of that code, as a program that is not stripped has them. Such a program may hold
/// texts of code that it does not have.
const ADMIN_NAMES: [&str; 2] = ["8operator5admin", "8operator7tunnels"];

#[test]
fn mcp_tunnel_holds_no_code_that_could_use_an_admin_key() {
    let (ctl, tunnel) = (
        fs::read(crate::support::programs::ctl()).unwrap(),
        fs::read(crate::support::programs::tunnel()).unwrap(),
    );
    let holds = |program: &[u8], text: &str| memmem::find(program, text.as_bytes()).is_some();
    let shipped = crate::support::programs::directory().is_some();
    for text in if shipped { &ADMIN_TEXTS[..] } else { &ADMIN_NAMES } {
        assert!(holds(&ctl, text), "{text:?} proves nothing: mcp-tunnel-ctl does not hold it");
        assert!(!holds(&tunnel, text), "mcp-tunnel holds {text:?}");
    }
}
