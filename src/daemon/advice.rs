//! Advice for a condition that does not hold: one sentence for the person on call, on the page and
//! in `top`. The conditions themselves state the fault. The advice depends on the cause that the
//! rooms report, never on the wording of a reason.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::poll_state::FailureClass;
use super::shared::Shared;
use crate::hops::certificates;
use crate::net::Cause;
use crate::ops::readiness::{Finding, Report, Verdict};

/// The causes that the rooms report.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// While polls fail, the class and the cause of the last failure.
    poll: Option<(FailureClass, Option<Cause>)>,
    /// The channels whose server is a child process.
    children: Vec<String>,
    /// The hops with an expired certificate, and its owner: `client` or `server`.
    expired: Vec<(String, &'static str)>,
}

impl Causes {
    pub(super) fn of(shared: &Shared) -> Self {
        let now = SystemTime::now();
        let expired = shared.hops.all().flat_map(|hop| {
            let expired =
                certificates::of(hop).into_iter().filter(|(_, facts)| facts.seconds_left(now) < 0);
            expired.map(|(whose, _)| (hop.name.clone(), whose))
        });
        Self {
            poll: shared.poll.failing().map(|failing| (failing.class, failing.cause)),
            children: shared.children().map(|(name, _)| name.as_str().to_owned()).collect(),
            expired: expired.collect(),
        }
    }

    fn poll_is_at_the_proxy(&self) -> bool {
        matches!(self.poll, Some((_, Some(Cause::AtProxy))))
    }

    /// True if calls fail because the server of this channel presents an expired certificate.
    fn server_has_expired(&self, channel: &str) -> bool {
        self.expired.iter().any(|(hop, whose)| hop == channel && *whose == "server")
    }
}

/// `[{"condition":...,"text":...}]`, in the order of the conditions. Conditions that keep commands
/// from being served come first, and the proxy before them, since it may be the cause.
pub(super) fn json(report: &Report, causes: &Causes) -> Value {
    let mut findings: Vec<&Finding> = report.conditions.iter().collect();
    findings.sort_by_key(|finding| match finding.verdict {
        _ if finding.name == "proxy" && !report.ready => 0,
        Verdict::NotReady(_) => 1,
        Verdict::ReadyBut(_) | Verdict::Ready => 2,
    });
    let told = findings.into_iter().filter_map(|finding| {
        finding.verdict.reason()?;
        if follows_from_another(finding, report, causes) {
            return None;
        }
        Some(json!({"condition": finding.name, "text": text(finding, causes)?}))
    });
    told.collect()
}

/// True if the condition will hold again by itself once another one does, which has advice of its
/// own.
fn follows_from_another(finding: &Finding, report: &Report, causes: &Causes) -> bool {
    let fails =
        |name| report.conditions.iter().any(|c| c.name == name && c.verdict.reason().is_some());
    match finding.name.as_str() {
        "control_plane" => match causes.poll {
            Some((_, Some(Cause::AtProxy))) => fails("proxy"),
            Some((_, Some(Cause::Expired))) => fails("certificates"),
            _ => false,
        },
        name => name
            .strip_prefix("mcp/")
            .is_some_and(|channel| fails("certificates") && causes.server_has_expired(channel)),
    }
}

const PROXY: &str = "Check that the proxy runs, and that it lets this host through. `mcp-tunnel \
                     doctor` tries each hop.";

fn text(finding: &Finding, causes: &Causes) -> Option<&'static str> {
    let is_failed = matches!(finding.verdict, Verdict::NotReady(_));
    Some(match finding.name.as_str() {
        "shutdown" => "The daemon is ending: calls in flight finish, new ones are not taken.",
        "control_plane" if !is_failed => {
            "Commands come faster than the MCP server answers: look at the times of the commands, \
             and at mcp.max_concurrent_requests."
        }
        "control_plane" if causes.poll_is_at_the_proxy() => PROXY,
        "control_plane" => control_plane(causes.poll.map(|(class, _)| class)),
        "oauth" => {
            "Look at what each address answered, under OAuth on the page or in /api/oauth, and \
             mend it at the MCP server. It is asked again by itself."
        }
        "daemons" => "Stop all daemons of this tunnel but one.",
        "certificates" if !causes.expired.is_empty() => {
            "A certificate has expired: whoever runs the server that shows it must renew it. If \
             that is done, check the clock of this host."
        }
        "certificates" => {
            "Replace the certificate before its day; a client certificate that is put at the same \
             path is taken over without a restart."
        }
        "proxy" => PROXY,
        "reload" => "What was read before stays in use. Mend the file: it is read again by itself.",
        name => {
            let channel = name.strip_prefix("mcp/")?;
            match causes.children.iter().any(|child| child == channel) {
                true => {
                    "The MCP server's process does not serve: look for its own lines in the log, and \
                 run its command by hand to see what it says. A variable that it lacks belongs \
                 into mcp.pass_env. It is started again by itself."
                }
                false => {
                    "Check that the MCP server runs, and that its address in the settings is right. \
                 The tunnel notices by itself when it is back."
                }
            }
        }
    })
}

/// Advice by the class of the last poll's failure; `None` if no poll has failed yet.
fn control_plane(class: Option<FailureClass>) -> &'static str {
    let Some(class) = class else {
        return "The first poll is on its way. `mcp-tunnel doctor` looks closer.";
    };
    match class {
        FailureClass::KeyRefused => {
            "Put the runtime key right, or its permissions at the control plane. A new key is \
             taken over from its file, or with a restart; new permissions are noticed by \
             themselves."
        }
        FailureClass::Unreachable => {
            "Nothing answers at the control plane's address: check network, DNS, firewall, and \
             control_plane.base_url."
        }
        FailureClass::Timeout => {
            "Answers come too late or not at all: check the network, and any proxy on the hop to \
             the control plane."
        }
        FailureClass::Tls => {
            "TLS was not agreed on: check ca_bundle, the clock of this host, and whether a proxy \
             opens TLS. `mcp-tunnel doctor` shows the chain."
        }
        FailureClass::Connection => {
            "Connections break: check the proxy and the firewall on the hop, and how long they \
             keep a quiet connection."
        }
        FailureClass::RateLimited => {
            "Too many requests: check that no other daemon uses this tunnel. It mends itself."
        }
        FailureClass::ServerError => {
            "The control plane has trouble of its own; the daemon keeps trying."
        }
        FailureClass::UnexpectedStatus | FailureClass::BadAnswer => {
            "What answers does not speak the tunnel protocol: check control_plane.base_url, \
             control_plane.url_path and the tunnel id."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, verdict: Verdict) -> Finding {
        Finding { name: name.to_owned(), verdict, facts: Vec::new() }
    }

    fn failed() -> Verdict {
        Verdict::NotReady("why".to_owned())
    }

    fn attention() -> Verdict {
        Verdict::ReadyBut("why".to_owned())
    }

    /// The conditions that get advice, and the advice.
    fn told(conditions: Vec<Finding>, causes: &Causes) -> Vec<(String, String)> {
        let advice = json(&Report { ready: false, line: String::new(), conditions }, causes);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let pair = |a: &Value| (text(&a["condition"]), text(&a["text"]));
        advice.as_array().unwrap().iter().map(pair).collect()
    }

    #[test]
    fn one_cause_has_one_advice() {
        let names = |told: Vec<(String, String)>| told.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let poll = |class, cause| Causes { poll: Some((class, Some(cause))), ..Causes::default() };
        let at_the_proxy = poll(FailureClass::Unreachable, Cause::AtProxy);
        let both = |proxy| vec![finding("control_plane", failed()), finding("proxy", proxy)];
        let (conditions, _) = names(told(both(attention()), &at_the_proxy));
        assert_eq!(conditions, ["proxy"]);
        let (conditions, texts) = names(told(both(Verdict::Ready), &at_the_proxy));
        assert_eq!((&*conditions[0], &*texts[0]), ("control_plane", PROXY));

        let mut expired = poll(FailureClass::Tls, Cause::Expired);
        expired.expired = vec![("files".to_owned(), "server"), ("main".to_owned(), "client")];
        let conditions = vec![
            finding("control_plane", failed()),
            finding("mcp/files", failed()),
            finding("mcp/main", failed()),
            finding("certificates", attention()),
        ];
        let (conditions, texts) = names(told(conditions, &expired));
        assert_eq!(conditions, ["mcp/main", "certificates"]);
        assert!(texts[1].contains("renew"), "{texts:?}");
    }

    #[test]
    fn what_stops_all_commands_comes_first() {
        let conditions = vec![
            finding("certificates", attention()),
            finding("proxy", attention()),
            finding("mcp/files", failed()),
            finding("mcp/main", failed()),
            finding("control_plane", failed()),
            finding("reload", Verdict::Ready),
        ];
        let causes = Causes {
            poll: Some((FailureClass::KeyRefused, None)),
            children: vec!["files".to_owned()],
            ..Causes::default()
        };
        let advice = told(conditions, &causes);
        let names: Vec<&str> = advice.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["proxy", "mcp/files", "mcp/main", "control_plane", "certificates"]);
        assert!(advice[1].1.contains("mcp.pass_env"), "{advice:?}");
        assert!(advice[2].1.contains("address"), "{advice:?}");
        assert!(advice[3].1.contains("runtime key"), "{advice:?}");
    }

    #[test]
    fn each_class_of_failure_has_an_advice_of_its_own() {
        let first = control_plane(None);
        for class in FailureClass::ALL {
            assert_ne!(control_plane(Some(class)), first, "{class:?}");
        }
    }
}
