//! Writes a `.tar.gz` of a few small texts.
//!
//! The gzip stream holds stored blocks: a few hundred KiB need no compressor in the daemon.

use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of one stored block (RFC 1951, 3.2.4).
const BLOCK: usize = 65_535;
/// The unit of a tar archive, in bytes.
const RECORD: usize = 512;

/// An archive of these files, in this order, each with mode 0600.
pub fn tar_gz(files: &[(&str, String)], at: SystemTime) -> Vec<u8> {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
    let mut tar = Vec::new();
    for (name, content) in files {
        tar.extend_from_slice(&header(name, content.len(), seconds));
        tar.extend_from_slice(content.as_bytes());
        tar.resize(tar.len().next_multiple_of(RECORD), 0);
    }
    tar.resize(tar.len() + 2 * RECORD, 0);
    gzip(&tar)
}

/// One header in the `ustar` format (POSIX 1003.1). Names are ours and short.
fn header(name: &str, size: usize, seconds: u64) -> [u8; RECORD] {
    let mut header = [0_u8; RECORD];
    let mut put = |at: usize, text: &str| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(0, name);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, &format!("{seconds:011o}\0"));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A gzip stream without compression (RFC 1952).
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = data.len().div_ceil(BLOCK).max(1);
    for number in 0..blocks {
        let block = &data[number * BLOCK..data.len().min((number + 1) * BLOCK)];
        let length = u16::try_from(block.len()).expect("a block is at most 65535 bytes");
        out.push(u8::from(number + 1 == blocks));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(data).to_le_bytes());
    let length = u32::try_from(data.len() % (1 << 32)).unwrap_or_default();
    out.extend_from_slice(&length.to_le_bytes());
    out
}

fn crc32(data: &[u8]) -> u32 {
    let step = |mut crc: u32, byte: &u8| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
        crc
    };
    !data.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_checksum_is_that_of_gzip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test] // operations-137
    fn the_tar_of_the_system_reads_what_is_written() {
        let long = "line\n".repeat(30_000);
        let files = [("a.json", "{}".to_owned()), ("admin/b.txt", long.clone())];
        let archive = tar_gz(&files, UNIX_EPOCH);
        let tar = |args: &[&str]| {
            let mut child = Command::new("tar")
                .args(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let bytes = archive.clone();
            let writer = std::thread::spawn(move || {
                let _ = stdin.write_all(&bytes);
            });
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        let list = tar(&["-tvzf", "-"]);
        assert_eq!(list.matches("-rw-------").count(), 2, "{list}");
        assert_eq!(tar(&["-xOzf", "-", "admin/b.txt"]), long);
    }
}
