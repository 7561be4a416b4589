//! What a command waits for while its tunnel is between two polls: the control plane is a while
//! away, calls come at a steady rate, and latency counts from the moment a command is there.

use std::time::{Duration, Instant};

use super::report::{Binding, GapRow};
use super::{Bench, delay};

/// From the tunnel to the control plane, or back.
const ONE_WAY: Duration = Duration::from_millis(50);

/// Calls per second: some apart, and half of what the default number of workers can do.
const RATES: [u32; 2] = [10, 50];

/// How long each rate is kept up.
const LENGTH: Duration = Duration::from_secs(10);

impl Bench {
    /// One poll in flight beside several.
    pub fn gap(&self) -> Result<Vec<GapRow>, String> {
        let (_stub, url) = self.http_stub()?;
        let plane = self.plane.address().ok_or("the control plane has no address")?;
        let far = delay::start(plane, ONE_WAY).map_err(|e| format!("no delaying proxy: {e}"))?;
        let base = format!("http://{far}");
        let mut rows = Vec::new();
        for rate in RATES {
            for polls in [1, 2, 4] {
                let target = std::slice::from_ref(&url);
                let in_flight = polls.to_string();
                let more = [("MCP_TUNNEL_POLLS_IN_FLIGHT", in_flight.as_str())];
                let subject = self
                    .subject(|id| self.start_tunnel_to(&base, id, Binding::Http, target, &more))?;
                let session = subject.session.as_deref();
                let count = rate * LENGTH.as_secs() as u32;
                let mut random = 0x9e37_79b9_7f4a_7c15_u64;
                let mut next = Instant::now();
                for number in 0..count {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    let message = format!(
                        r#"{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"add","arguments":{{"a":{number},"b":1}}}}}}"#
                    );
                    self.plane.hand_out(
                        &subject.tunnel_id,
                        &format!("g{number}"),
                        session,
                        &message,
                    );
                    // Gaps of 0 to 2 of the mean, so that no rhythm meets that of the polls.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    next += Duration::from_micros(random % (2_000_000 / u64::from(rate)));
                }
                let mut latencies = Vec::new();
                for _ in 0..count {
                    latencies.push(self.answer(&subject)?.since_queued);
                }
                rows.push(GapRow { rate, polls, one_way: ONE_WAY, latencies });
            }
        }
        Ok(rows)
    }
}
