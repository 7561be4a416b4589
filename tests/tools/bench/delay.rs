//! A TCP proxy that makes the way to a server longer: every byte arrives a fixed time later.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

/// Pieces under way in one direction of one connection: more than the bench ever has.
const UNDER_WAY: usize = 1024;

/// Starts a proxy to `target` that runs as long as the process; returns its address.
pub fn start(target: SocketAddr, delay: Duration) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(target) else { continue };
            let ways = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
            for (from, to) in ways {
                if let (Ok(from), Ok(to)) = (from, to) {
                    carry(from, to, delay);
                }
            }
        }
    });
    Ok(address)
}

/// Carries one direction in two threads: one notes when bytes come, one sends them when due.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (came, due) = bounded::<(Instant, Vec<u8>)>(UNDER_WAY);
    thread::spawn(move || {
        let mut piece = [0; 64 * 1024];
        while let Ok(count) = from.read(&mut piece) {
            // An empty piece is the end, which takes its time as well.
            let sent = came.send((Instant::now() + delay, piece[..count].to_vec()));
            if count == 0 || sent.is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        let _ = to.set_nodelay(true);
        for (at, piece) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if piece.is_empty() || to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
