//! One search: the server's challenge, then its metadata, then that of its authorization server
//! (oauth.md, 1.2 to 1.5).

use std::time::{Duration, Instant, SystemTime};

use super::Discovery;
use super::ask::{Answer, Asker, Challenge, Refusal};
use super::candidates::{self, Candidate, IssuerCandidate};
use super::documents::{self, Resource};
use crate::mcp::headers::received;
use crate::net::{Cancel, Origin};
use crate::wire::Headers;

/// The limits of further attempts at each candidate, if all have timed out (oauth-18).
const RETRY_LIMITS: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// How much of a body is kept for the operator page, in bytes.
const SHOWN_MAX: usize = 16 * 1024;

/// Header fields that belong to one hop or one client, and are not passed on (oauth-29).
const NOT_PASSED_ON: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The outcome of one candidate for the server's metadata.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its URL.
    pub candidate: Candidate,
    /// True if it was asked.
    pub tried: bool,
    /// The status of its answer.
    pub status: Option<u16>,
    /// Why it was rejected.
    pub error: Option<String>,
    /// True if it was accepted.
    pub selected: bool,
}

/// The metadata of the server.
#[derive(Debug, Clone)]
pub struct Document {
    /// When it was fetched.
    pub at: SystemTime,
    /// The status of the answer, whatever it is (oauth-16).
    pub status: u16,
    /// Its headers, without those of the hop.
    pub headers: Headers,
    /// Its content.
    pub resource: Resource,
}

/// Why there is no metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One line, with origins for URLs (oauth-72).
    pub text: String,
    /// The server simply does not use OAuth (oauth-24).
    pub optional: bool,
}

/// Everything that was found out about the server.
#[derive(Debug, Clone)]
pub struct Search {
    /// The server's own answer.
    pub challenge: Challenge,
    /// The candidates, in order.
    pub attempts: Vec<Attempt>,
    /// The metadata.
    pub result: Result<Document, Failure>,
}

/// The outcome of one candidate for the authorization server's document.
#[derive(Debug, Clone)]
pub struct IssuerAttempt {
    /// Its URL.
    pub candidate: IssuerCandidate,
    /// True if it was asked.
    pub tried: bool,
    /// The status of its answer.
    pub status: Option<u16>,
    /// Why it was rejected.
    pub error: Option<String>,
    /// The issuer that the document names, if it is acceptable.
    pub issuer: Option<String>,
    /// The answer, if one came.
    pub answer: Option<Shown>,
}

/// Everything that was found out about the authorization server.
#[derive(Debug, Clone)]
pub struct IssuerSearch {
    /// The issuer that was looked for.
    pub issuer: String,
    /// The candidates, in order.
    pub attempts: Vec<IssuerAttempt>,
    /// Which of them was accepted.
    pub selected: Option<usize>,
}

/// An answer as far as it is kept for the operator page.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its headers, without those of the hop.
    pub headers: Headers,
    /// Its body, cut to a bound.
    pub body: String,
}

impl IssuerSearch {
    /// The issuer in the accepted document, if it is not the one looked for (oauth-21).
    pub fn mismatch(&self) -> Option<&str> {
        let named = self.attempts[self.selected?].issuer.as_deref()?;
        (named != self.issuer).then_some(named)
    }
}

/// The next step after a request.
enum Step<T> {
    /// End the search.
    Over(T),
    /// Try the next candidate.
    Next,
    /// Try the next candidate, and this one again later.
    TimedOut,
}

/// Asks the candidates in order. If all of them time out, each is asked again with other limits
/// (oauth-18).
fn go_through<T>(
    count: usize,
    limit: Instant,
    mut ask: impl FnMut(usize, Instant) -> Step<T>,
) -> Option<T> {
    let mut timed_out = 0;
    for at in 0..count {
        match ask(at, limit) {
            Step::Over(found) => return Some(found),
            Step::Next => {}
            Step::TimedOut => timed_out += 1,
        }
    }
    if timed_out < count {
        return None;
    }
    for at in 0..count {
        for own in RETRY_LIMITS {
            let now = Instant::now();
            if limit <= now {
                return None;
            }
            match ask(at, limit.min(now + own)) {
                Step::Over(found) => return Some(found),
                Step::Next => break,
                Step::TimedOut => {}
            }
        }
    }
    None
}

impl Discovery {
    /// Searches for the server's metadata until `limit`.
    pub fn search(&self, limit: Instant, cancel: &Cancel) -> Search {
        let asker = Asker::new(self, cancel);
        let challenge = asker.challenge(limit);
        let candidates = candidates::protected_resource(self.binding.url(), challenge.url.as_ref());
        let untried = |candidate| Attempt {
            candidate,
            tried: false,
            status: None,
            error: None,
            selected: false,
        };
        let mut attempts: Vec<Attempt> = candidates.into_iter().map(untried).collect();
        let count = attempts.len();
        let found = go_through(count, limit, |at, limit| {
            let attempt = &mut attempts[at];
            attempt.tried |= Instant::now() < limit;
            let asked = asker.resource(&attempt.candidate.url, limit);
            attempt.judge(asked, at + 1 == count)
        });
        let result = match found {
            Some(Some(document)) => Ok(document),
            Some(None) | None => Err(failure(&challenge, &attempts)),
        };
        Search { challenge, attempts, result }
    }

    /// Searches for the document of the first authorization server until `limit` (oauth-19 to
    /// oauth-22).
    pub fn search_issuer(
        &self,
        resource: &Resource,
        limit: Instant,
        cancel: &Cancel,
    ) -> Option<IssuerSearch> {
        let issuer = resource.authorization_servers.first()?;
        let candidates = candidates::authorization_server(issuer);
        if candidates.is_empty() {
            return None;
        }
        let asker = Asker::new(self, cancel);
        let untried = |candidate| IssuerAttempt {
            candidate,
            tried: false,
            status: None,
            error: None,
            issuer: None,
            answer: None,
        };
        let mut attempts: Vec<IssuerAttempt> = candidates.into_iter().map(untried).collect();
        let exact = go_through(attempts.len(), limit, |at, limit| {
            let attempt = &mut attempts[at];
            attempt.tried |= Instant::now() < limit;
            let asked = asker.issuer(&attempt.candidate.url, limit);
            match attempt.judge(asked) {
                Step::Over(named) if named == *issuer => Step::Over(at),
                Step::Over(_) | Step::Next => Step::Next,
                Step::TimedOut => Step::TimedOut,
            }
        });
        let selected = exact.or_else(|| attempts.iter().position(|a| a.issuer.is_some()));
        Some(IssuerSearch { issuer: issuer.clone(), attempts, selected })
    }
}

impl Attempt {
    /// oauth-16. With a document, or with `None`, the search is over.
    fn judge(&mut self, asked: Result<Answer, Refusal>, is_last: bool) -> Step<Option<Document>> {
        let falls_back = |status: u16| (status == 404 || status >= 500) && !is_last;
        let (status, why) = match asked {
            Err(Refusal::TimedOut) => {
                self.error = Some("timed out".to_owned());
                return Step::TimedOut;
            }
            Err(Refusal::Unanswered(why)) => {
                self.error = Some(why);
                return Step::Next;
            }
            Err(Refusal::Unread(status, why)) => (status, why),
            Ok(answer) if answer.body.is_empty() || falls_back(answer.status) => {
                let body = if answer.body.is_empty() { " with an empty body" } else { "" };
                (answer.status, format!("HTTP {}{body}", answer.status))
            }
            Ok(answer) => match Resource::parse(&answer.body) {
                Ok(resource) => {
                    (self.status, self.error, self.selected) = (Some(answer.status), None, true);
                    return Step::Over(Some(Document {
                        at: SystemTime::now(),
                        status: answer.status,
                        headers: passed_on(&answer),
                        resource,
                    }));
                }
                Err(why) => {
                    (answer.status, format!("HTTP {} without metadata: {why}", answer.status))
                }
            },
        };
        (self.status, self.error) = (Some(status), Some(why));
        if falls_back(status) { Step::Next } else { Step::Over(None) }
    }
}

impl IssuerAttempt {
    /// oauth-20: the issuer that an acceptable document names.
    fn judge(&mut self, asked: Result<Answer, Refusal>) -> Step<String> {
        let why = match asked {
            Err(Refusal::TimedOut) => {
                self.error = Some("timed out".to_owned());
                return Step::TimedOut;
            }
            Err(Refusal::Unanswered(why)) => why,
            Err(Refusal::Unread(status, why)) => {
                self.status = Some(status);
                why
            }
            Ok(answer) => {
                self.status = Some(answer.status);
                let headers = passed_on(&answer);
                let media = headers.get("Content-Type").and_then(|value| value.split(';').next());
                let is_json =
                    media.is_some_and(|m| m.trim().eq_ignore_ascii_case("application/json"));
                self.answer = Some(Shown { headers, body: cut(&answer.body) });
                match documents::issuer(&answer.body) {
                    _ if answer.status != 200 => format!("HTTP {}", answer.status),
                    _ if !is_json => "the answer is not application/json".to_owned(),
                    Err(why) => why,
                    Ok(issuer) => {
                        (self.error, self.issuer) = (None, Some(issuer.clone()));
                        return Step::Over(issuer);
                    }
                }
            }
        };
        self.error = Some(why);
        Step::Next
    }
}

/// The verdict of all attempts together (oauth-24).
fn failure(challenge: &Challenge, attempts: &[Attempt]) -> Failure {
    let is_absent = |a: &Attempt| a.tried && a.status == Some(404) && !a.selected;
    let optional =
        challenge.url.is_none() && !attempts.is_empty() && attempts.iter().all(is_absent);
    let mut reasons: Vec<String> = Vec::new();
    for attempt in attempts {
        let Some(error) = &attempt.error else { continue };
        let reason = format!("{}: {error}", Origin::of(&attempt.candidate.url));
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    Failure { text: reasons.join("; "), optional }
}

fn passed_on(answer: &Answer) -> Headers {
    let mut headers = received(&answer.headers);
    let nominated = headers.nominated_by_connection();
    headers.retain(|name| {
        let name = name.to_ascii_lowercase();
        !NOT_PASSED_ON.contains(&name.as_str()) && !nominated.contains(&name)
    });
    headers
}

/// The beginning of a body as text.
pub(super) fn cut(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let end = (0..=text.len().min(SHOWN_MAX)).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which candidates are asked, with how many seconds each, if these time out.
    fn asked(
        count: usize,
        limit: Duration,
        times_out: impl Fn(usize) -> bool,
    ) -> Vec<(usize, u64)> {
        let mut asked = Vec::new();
        let begin = Instant::now();
        let over: Option<()> = go_through(count, begin + limit, |at, limit| {
            let left = limit.saturating_duration_since(Instant::now()).as_secs_f64();
            asked.push((at, left.round() as u64));
            if times_out(at) { Step::TimedOut } else { Step::Next }
        });
        assert!(over.is_none());
        asked
    }

    #[test] // oauth-18
    fn only_if_all_candidates_time_out_each_is_asked_again_with_growing_limits() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            asked(2, minute, |_| true),
            [(0, 60), (1, 60), (0, 2), (0, 4), (0, 8), (1, 2), (1, 4), (1, 8)]
        );
        assert_eq!(asked(2, minute, |at| at == 0), [(0, 60), (1, 60)]);
        assert_eq!(asked(1, Duration::ZERO, |_| true), [(0, 0)]);
        assert_eq!(asked(1, Duration::from_secs(3), |_| true), [(0, 3), (0, 2), (0, 3), (0, 3)]);
        assert_eq!(asked(0, minute, |_| true), []);
    }

    #[test] // oauth-18
    fn an_answer_in_the_second_pass_is_taken() {
        let mut asked = 0;
        let found = go_through(2, Instant::now() + Duration::from_secs(60), |at, _| {
            asked += 1;
            if asked == 4 { Step::Over(at) } else { Step::TimedOut }
        });
        assert_eq!((found, asked), (Some(0), 4));
    }
}
