//! Small random draws: names that must not collide, and jitter. Keys and tokens are made elsewhere.

use ring::rand::{SecureRandom, SystemRandom};

/// A name for this process: 16 random bytes as 32 hex digits, made once (wire-4).
///
/// # Errors
/// If the system gives no random bytes; the text says so.
pub fn instance_id() -> Result<String, &'static str> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random bytes")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A number in [0, 1). Jitter needs no quality: without random bytes it is a half.
pub fn fraction() -> f64 {
    let mut bytes = [0_u8; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / 4_294_967_296.0,
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // wire-4
    fn an_instance_id_is_new_for_each_process() {
        let (a, b) = (instance_id().unwrap(), instance_id().unwrap());
        assert_eq!(a.len(), 32);
        assert!(a.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
        assert_ne!(a, b);
    }

    #[test]
    fn fractions_differ_and_are_below_one() {
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..1.0).contains(drawn)));
        assert!(drawn.iter().any(|other| *other != drawn[0]));
    }
}
