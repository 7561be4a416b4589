//! A control plane that hands out commands at a steady pace and is out of order now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ledger::{Ledger, Verdict};
use crate::random::Random;
use crate::support::Gate;
use crate::support::Request;
use crate::support::control_plane::TUNNEL_ID;
use crate::support::http::{Answer, Peer, Server};
use crate::traffic::Traffic;

/// The mean time between two commands.
const PACE: Duration = Duration::from_millis(20);

/// Commands in work beyond which none is handed out.
const MOST: usize = 60;

pub struct Plane {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    ledger: Ledger,
    chance: Mutex<Random>,
    traffic: Mutex<Traffic>,
    next_at: Mutex<Instant>,
    quiet: AtomicBool,
    away: AtomicBool,
}

impl Plane {
    pub fn start(seed: u64) -> Plane {
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            chance: Mutex::new(Random::new(seed)),
            traffic: Mutex::new(Traffic::new(seed + 1)),
            next_at: Mutex::new(Instant::now()),
            quiet: AtomicBool::new(false),
            away: AtomicBool::new(false),
        });
        let handler = shared.clone();
        let server = Server::start(move |request, peer| handler.answer(request, peer));
        Plane { shared, server }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// While it is quiet, no command is handed out and nothing is out of order.
    pub fn be_quiet(&self, quiet: bool) {
        self.shared.quiet.store(quiet, Ordering::SeqCst);
    }

    /// Goes away, as for a restart: connections end when their request is answered, and new ones
    /// are refused.
    pub fn go_away(&self) {
        self.shared.away.store(true, Ordering::SeqCst);
        self.server.refuse();
    }

    /// Can be reached again.
    pub fn come_back(&self) {
        self.shared.away.store(false, Ordering::SeqCst);
        self.server.accept();
    }
}

impl Shared {
    fn is_away(&self) -> bool {
        self.away.load(Ordering::SeqCst)
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    fn one_in(&self, count: u64) -> bool {
        !self.is_quiet() && self.chance.lock().unwrap().one_in(count)
    }

    fn pick<T: Copy>(&self, from: &[(u64, T)]) -> T {
        self.chance.lock().unwrap().weighted(from)
    }

    fn answer(&self, request: Request, peer: &Peer) -> Answer {
        let answer = self.answer_to(request, peer);
        match self.is_away() {
            // A client that is told does not try the connection again.
            true => answer.header("Connection", "close"),
            false => answer,
        }
    }

    fn answer_to(&self, request: Request, peer: &Peer) -> Answer {
        if request.path().ends_with("/poll") {
            return self.poll(&request, peer);
        }
        if request.path().ends_with("/response") {
            return self.response(request);
        }
        Answer::json(200, format!(r#"{{"id":"{TUNNEL_ID}","name":"soak","description":""}}"#))
    }

    fn poll(&self, request: &Request, peer: &Peer) -> Answer {
        let number = |name| request.query(name)[0].parse::<u64>().unwrap();
        let end = Instant::now() + Duration::from_millis(number("timeout_ms"));
        if self.one_in(12) {
            return self.out_of_order();
        }
        loop {
            if peer.is_gone() {
                return Answer::status(204).close();
            }
            if Instant::now() >= end || self.is_away() {
                return Answer::status(204);
            }
            if !self.is_quiet() && self.ledger.in_work() < MOST {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let most = number("limit").min(8);
        let mut count = 1 + self.chance.lock().unwrap().below(most);
        if self.one_in(30) {
            count = number("limit") + 3;
        }
        let at = {
            let mut next_at = self.next_at.lock().unwrap();
            let at = (*next_at).max(Instant::now());
            *next_at = at + PACE * count as u32;
            at
        };
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if peer.is_gone() {
            return Answer::status(204).close();
        }
        self.hand_out(count)
    }

    fn hand_out(&self, count: u64) -> Answer {
        let mut traffic = self.traffic.lock().unwrap();
        let mut texts = Vec::new();
        let mut batch = Vec::new();
        for _ in 0..count {
            if self.one_in(50) {
                texts.push(traffic.malformed());
            } else {
                let issued = traffic.command();
                texts.push(issued.text.clone());
                batch.push(issued);
            }
        }
        drop(traffic);
        let malformed = texts.len() - batch.len();
        let body = format!(r#"{{"commands":[{}]}}"#, texts.join(","));
        let (first, rest) = body.split_at(body.len() / 2);
        let answer = Answer::status(200).header("Content-Type", "application/json");
        let answer = match self.pick(&[(20, "whole"), (2, "slow"), (1, "cut"), (1, "half")]) {
            // Nobody can have got these commands.
            "cut" => return answer.body(first).close().body(rest),
            "half" => return answer.body(first),
            "slow" => answer.body(first).pause(Duration::from_millis(100)).body(rest),
            _ => answer.body(body),
        };
        for issued in batch {
            self.ledger.hand_out(issued);
        }
        self.ledger.books().malformed += malformed as u64;
        answer
    }

    fn response(&self, request: Request) -> Answer {
        let wish = match self.is_quiet() {
            true => Verdict::Taken,
            false => self.pick(&[
                (88, Verdict::Taken),
                (10, Verdict::Refused),
                (1, Verdict::Gone),
                (1, Verdict::Failed),
            ]),
        };
        match self.ledger.take(request, wish) {
            Verdict::Taken => Answer::json(200, r#"{"status":"ok"}"#),
            Verdict::Gone => Answer::status(404),
            Verdict::Failed => Answer::status(500).body("<h1>sorry</h1>"),
            Verdict::Refused => self.out_of_order(),
        }
    }

    /// A failure that passes.
    fn out_of_order(&self) -> Answer {
        let json = |status| Answer::json(status, r#"{"error":{"message":"soon","type":"t"}}"#);
        match self.pick(&[
            (4, "429"),
            (2, "429 at once"),
            (4, "503"),
            (3, "502"),
            (3, "reset"),
            (3, "close"),
            (1, "half open"),
        ]) {
            "429" => json(429).header("Retry-After", "1"),
            "429 at once" => json(429).header("Retry-After", "0"),
            "503" => json(503),
            "502" => Answer::status(502).header("Retry-After", "nonsense").body("<html>"),
            "reset" => Answer::reset_at_once(),
            "close" => Answer::status(200).body("{").close().body("}"),
            _ => Answer::silence(&Gate::new()),
        }
    }
}
