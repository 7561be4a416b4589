//! What must hold for any bytes: the properties that `make fuzz` searches against, tried here on
//! their seeds, every beginning of a seed, and bytes that are near them.

#[path = "fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Changed seeds for each property. The same in every run, so that a failure comes again.
const CHANGED: usize = 4_000;

/// Beginnings of longer seeds are not all tried.
const BEGINNINGS: usize = 400;

/// Pieces that readers of text trip over.
const PIECES: [&[u8]; 20] = [
    b"\0",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"1e400",
    b"-0",
    b"null",
    b"\xff",
    b"\xc3\xa9",
    b"99999999999999999999",
];

#[test]
fn every_property_holds_for_the_seeds_and_their_neighbours() {
    for (name, property) in fuzz::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let try_one = |bytes: &[u8]| {
            let held = catch_unwind(AssertUnwindSafe(|| property(bytes)));
            assert!(
                held.is_ok(),
                "{name} does not hold for {:?}",
                bytes.escape_ascii().to_string()
            );
        };
        for seed in &seeds {
            try_one(seed);
            (0..seed.len().min(BEGINNINGS)).for_each(|end| try_one(&seed[..end]));
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..CHANGED {
            try_one(&changed(&seeds, &mut random));
        }
    }
}

#[test]
fn every_fuzz_target_is_a_property_and_the_other_way_round() {
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    let mut targets: Vec<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    targets.sort_unstable();
    assert_eq!(targets, fuzz::ALL.map(|(name, _)| name));
    for name in targets {
        let target = fuzz_dir().join(format!("fuzz_targets/{name}.rs"));
        let target = fs::read_to_string(target).unwrap();
        assert!(target.contains(&format!("properties::{name}::check")), "{name}");
    }
}

fn fuzz_dir() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"))
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(fuzz_dir().join("seeds").join(name))
        .unwrap_or_else(|error| panic!("the seeds of {name}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A seed with a few pieces put in, taken out, doubled, or joined with another seed.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(8)).min(bytes.len());
        match random.below(5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..at, [random.below(256) as u8])),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
    }
    bytes
}

/// Numbers that look random: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
