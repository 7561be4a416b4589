//! Dates on the wire, in the log and in messages, in UTC.

use std::num::NonZero;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use time::format_description::well_known::{Iso8601, Rfc3339};

/// RFC 3339 with this many digits of the second.
const fn digits(count: u8) -> EncodedConfig {
    let decimal_digits = NonZero::new(count);
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits }).encode()
}

/// A moment as RFC 3339 text, for instance `2026-02-03T04:05:06.789Z`.
pub fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let at = at.replace_millisecond(at.millisecond()).expect("a millisecond is below 1000");
    at.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

/// The same with exactly three digits of the second.
pub fn rfc3339_millis(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Iso8601::<{ digits(3) }>).unwrap_or_default()
}

/// The same with exactly nine digits of the second.
pub fn rfc3339_nanos(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Iso8601::<{ digits(9) }>).unwrap_or_default()
}

/// The moment that an RFC 3339 text names; `None` if it is malformed.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

/// The day of a moment, for instance `2026-02-03`.
pub fn day(at: SystemTime) -> String {
    OffsetDateTime::from(at).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_date_is_written_and_read_back() {
        let at = UNIX_EPOCH + Duration::from_millis(1_770_091_506_789);
        assert_eq!(rfc3339(at), "2026-02-03T04:05:06.789Z");
        assert_eq!(rfc3339_millis(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_nanos(at), "2026-02-03T04:05:06.789000000Z");
        assert_eq!(parse_rfc3339("2026-02-03T04:05:06.789Z"), Some(at));
        assert_eq!(parse_rfc3339("2026-02-03T05:05:06.789+01:00"), Some(at));
        assert_eq!(parse_rfc3339("2026-02-03 04:05"), None);
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
