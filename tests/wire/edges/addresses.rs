//! Hosts with an IPv6 address, alone or beside another one.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};

use crate::edges::leak::pass_on;
use crate::edges::{mounts, skipped, towards};
use crate::support::{BlackHole, ControlPlane, Scratch};

fn no_ipv6() -> Option<&'static str> {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    bound.is_err().then_some("this machine has no IPv6")
}

#[test] // wire-6
fn a_control_plane_is_reached_at_an_ipv6_address() {
    if let Some(reason) = no_ipv6() {
        return skipped("the IPv6 address", reason);
    }
    let control_plane = ControlPlane::start();
    let url = format!("http://[::1]:{}", pass_on("::1", control_plane.port()));
    let _tunnel = towards(&url).start();
    assert_eq!(control_plane.next_poll().header("Host"), url.strip_prefix("http://"));
}

#[test] // wire-17
fn an_address_that_does_not_answer_does_not_cost_a_full_timeout() {
    if let Some(reason) = no_ipv6().or_else(mounts::missing) {
        return skipped("the host with two addresses", reason);
    }
    let control_plane = ControlPlane::start();
    let port = control_plane.port();
    // The address that resolvers name first.
    let _hole = BlackHole::at(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    let scratch = Scratch::new();
    let hosts = scratch.file("hosts", "::1 both.example\n127.0.0.1 both.example\n");
    let nsswitch = scratch.file("nsswitch.conf", "hosts: files\n");
    let files = [(hosts.as_path(), "/etc/hosts"), (&nsswitch, "/etc/nsswitch.conf")];
    let _tunnel = towards(&format!("http://both.example:{port}"))
        .env("CONTROL_PLANE_POLL_TIMEOUT", "5s")
        .started_by(mounts::in_place_of(&files))
        .start();
    // The first one: a dial that waits for the IPv6 address alone fails with its poll.
    let poll = control_plane.next_poll();
    assert_eq!(poll.header("Host"), Some(format!("both.example:{port}").as_str()));
}
