//! How long to wait before another attempt (wire-70 to wire-72).

use std::time::{Duration, SystemTime};

use crate::random;

/// The first wait, exactly (wire-70).
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait that is not asked for by the service (wire-70).
pub const CAP: Duration = Duration::from_secs(10);
/// The longest wait that the service can ask for (wire-71).
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);

/// Consecutive waits: uniform in [200 ms, 200 ms x 2^k), cut at 10 s.
#[derive(Debug, Default)]
pub struct Backoff {
    waits: u32,
}

impl Backoff {
    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.waits = 0;
    }

    /// The next wait: the greater of the backoff and what the service asked for (wire-71).
    pub fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let doublings = self.waits.min(20);
        self.waits = self.waits.saturating_add(1);
        let span = FIRST * ((1_u32 << doublings) - 1);
        let wait = (FIRST + span.mul_f64(random::fraction())).min(CAP);
        retry_after.map_or(wait, |asked| asked.max(wait))
    }
}

/// The wait that a `Retry-After` value asks for (wire-71): seconds, or one of the three date forms
/// of RFC 9110; at most 60 s. Anything else is ignored.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = value.parse::<u64>().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_CAP));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(now).ok().filter(|wait| !wait.is_zero())?;
    Some(wait.min(RETRY_AFTER_CAP))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test] // wire-70
    fn waits_grow_from_exactly_200_ms_to_10_s() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(None), FIRST);
        for k in 1..6 {
            let wait = backoff.next(None);
            assert!((FIRST..FIRST * (1 << k)).contains(&wait), "{k}: {wait:?}");
        }
        for _ in 0..100 {
            assert!((FIRST..=CAP).contains(&backoff.next(None)));
        }
        backoff.reset();
        assert_eq!(backoff.next(None), FIRST);
    }

    #[test] // wire-71
    fn the_greater_of_backoff_and_retry_after_counts() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(3))), Duration::from_secs(3));
        backoff.reset();
        assert_eq!(backoff.next(Some(Duration::ZERO)), FIRST);
    }

    #[test] // wire-71
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let after = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(after(" 7 "), Some(7));
        assert_eq!(after("0"), Some(0));
        assert_eq!(after("61"), Some(60));
        assert_eq!(after("99999999999999999999999"), Some(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3));
        assert_eq!(after("Sunday, 06-Nov-94 08:49:40 GMT"), Some(3));
        assert_eq!(after("Sun Nov  6 08:49:40 1994"), Some(3));
        assert_eq!(after("Sun, 06 Nov 1994 09:49:40 GMT"), Some(60));
        for ignored in ["Sun, 06 Nov 1994 08:49:37 GMT", "-1", "1.5", "soon", ""] {
            assert_eq!(after(ignored), None, "{ignored}");
        }
    }
}
