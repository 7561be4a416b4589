//! What to do about a condition that does not hold: a sentence for whoever is paged, on the page
//! and in `top`. The conditions themselves say what is wrong.

use serde_json::{Value, json};

use crate::ops::readiness::{Finding, Report, Verdict};

/// `[{"condition":...,"text":...}]`, in the order of the conditions; what keeps commands from
/// being served comes first, and before it the proxy, which may be why.
pub(super) fn json(report: &Report) -> Value {
    let mut findings: Vec<&Finding> = report.conditions.iter().collect();
    findings.sort_by_key(|finding| match finding.verdict {
        _ if finding.name == "proxy" && !report.ready => 0,
        Verdict::NotReady(_) => 1,
        Verdict::ReadyBut(_) | Verdict::Ready => 2,
    });
    let told = findings.into_iter().filter_map(|finding| {
        finding.verdict.reason()?;
        if follows_from_another(finding, report) {
            return None;
        }
        Some(json!({"condition": finding.name, "text": text(finding)?}))
    });
    told.collect()
}

/// Whether the condition will hold again by itself once another one does, which has an advice of
/// its own.
fn follows_from_another(finding: &Finding, report: &Report) -> bool {
    let fails =
        |name| report.conditions.iter().any(|c| c.name == name && c.verdict.reason().is_some());
    match finding.name.as_str() {
        "control_plane" if fails("proxy") && is_at_the_proxy(finding) => true,
        name if name == "control_plane" || name.starts_with("mcp/") => {
            let has_expired = |reason: &str| reason.contains(" expired on ");
            fails("certificates") && finding.verdict.reason().is_some_and(has_expired)
        }
        _ => false,
    }
}

/// Whether the last poll did not get beyond its proxy.
fn is_at_the_proxy(finding: &Finding) -> bool {
    finding.verdict.reason().is_some_and(|reason| reason.contains("at the proxy "))
}

const PROXY: &str = "Check that the proxy runs, and that it lets this host through. `mcp-tunnel \
                     doctor` tries each hop.";

fn text(finding: &Finding) -> Option<&'static str> {
    let fact = |name| finding.facts.iter().find(|(known, _)| *known == name).map(|(_, v)| &**v);
    let is_failed = matches!(finding.verdict, Verdict::NotReady(_));
    Some(match finding.name.as_str() {
        "shutdown" => "The daemon is ending: calls in flight finish, new ones are not taken.",
        "control_plane" if !is_failed => {
            "Commands come faster than the MCP server answers: look at the times of the commands, \
             and at mcp.max_concurrent_requests."
        }
        "control_plane" if is_at_the_proxy(finding) => PROXY,
        "control_plane" => control_plane(fact("last_error_class").unwrap_or_default()),
        "oauth" => {
            "Look at what each address answered, under OAuth on the page or in /api/oauth, and \
             mend it at the MCP server. It is asked again by itself."
        }
        "daemons" => "Stop all daemons of this tunnel but one.",
        "certificates" if fact("soonest_expiry_seconds").is_some_and(|s| s.starts_with('-')) => {
            "A certificate has run out: whoever runs what shows it must renew it. If that is done, \
             check the clock of this host."
        }
        "certificates" => {
            "Replace the certificate before its day; a client certificate that is put at the same \
             path is taken over without a restart."
        }
        "proxy" => PROXY,
        "reload" => "What was read before stays in use. Mend the file: it is read again by itself.",
        name if name.starts_with("mcp/") => match fact("transport") {
            Some("\"stdio\"") => {
                "The MCP server's process does not serve: look for its own lines in the log, and \
                 run its command by hand to see what it says. A variable that it lacks belongs \
                 into mcp.pass_env. It is started again by itself."
            }
            _ => {
                "Check that the MCP server runs, and that its address in the settings is right. \
                 The tunnel notices by itself when it is back."
            }
        },
        _ => return None,
    })
}

/// By the class of the last poll's failure, as JSON.
fn control_plane(class: &str) -> &'static str {
    match class.trim_matches('"') {
        "key_refused" => {
            "Put the runtime key right, or its permissions at the control plane. A new key is \
             taken over from its file, or with a restart; new permissions are noticed by \
             themselves."
        }
        "unreachable" => {
            "Nothing answers at the control plane's address: check network, DNS, firewall, and \
             control_plane.base_url."
        }
        "timeout" => {
            "Answers come too late or not at all: check the network, and any proxy on the hop to \
             the control plane."
        }
        "tls" => {
            "TLS was not agreed on: check ca_bundle, the clock of this host, and whether a proxy \
             opens TLS. `mcp-tunnel doctor` shows the chain."
        }
        "connection" => {
            "Connections break: check the proxy and the firewall on the hop, and how long they \
             keep a quiet connection."
        }
        "rate_limited" => {
            "Too many requests: check that no other daemon uses this tunnel. It mends itself."
        }
        "server_error" => "The control plane has trouble of its own; the daemon keeps trying.",
        "unexpected_status" | "bad_answer" => {
            "What answers does not speak the tunnel protocol: check control_plane.base_url, \
             control_plane.url_path and the tunnel id."
        }
        _ => "The first poll is on its way. `mcp-tunnel doctor` looks closer.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, verdict: Verdict, fact: (&'static str, &str)) -> Finding {
        Finding { name: name.to_owned(), verdict, facts: vec![(fact.0, fact.1.to_owned())] }
    }

    #[test]
    fn one_cause_has_one_advice() {
        let failed = |why: &str| Verdict::NotReady(why.to_owned());
        let names = |conditions| {
            let advice = json(&Report { ready: false, line: String::new(), conditions });
            let advice = advice.as_array().unwrap().clone();
            advice.into_iter().map(|a| (a["condition"].clone(), a["text"].clone())).unzip()
        };
        let refused = || {
            let why = failed("connection refused (at the proxy http://p:3128)");
            finding("control_plane", why, ("last_error_class", "\"unreachable\""))
        };
        let proxy = |verdict| finding("proxy", verdict, ("x", "1"));
        let attention = Verdict::ReadyBut("no connection".to_owned());
        let (told, _): (Vec<_>, Vec<_>) = names(vec![refused(), proxy(attention)]);
        assert_eq!(told, ["proxy"]);
        let expired = "TLS failed (the certificate `x` expired on 2026-11-01)";
        let tls = finding("control_plane", failed(expired), ("last_error_class", "\"tls\""));
        let attention = Verdict::ReadyBut(expired.to_owned());
        let certificates = finding("certificates", attention, ("soonest_expiry_seconds", "-9"));
        let (told, texts): (Vec<_>, Vec<_>) = names(vec![tls, certificates]);
        assert_eq!(told, ["certificates"]);
        assert!(texts[0].as_str().unwrap().contains("renew"), "{texts:?}");
        let (told, texts): (Vec<_>, Vec<_>) = names(vec![refused(), proxy(Verdict::Ready)]);
        assert_eq!((told, texts), (vec!["control_plane".into()], vec![PROXY.into()]));
    }

    #[test]
    fn each_class_of_failure_has_its_own_advice_and_what_stops_all_comes_first() {
        let failed = || Verdict::NotReady("why".to_owned());
        let attention = Verdict::ReadyBut("why".to_owned());
        let conditions = vec![
            finding("certificates", attention.clone(), ("x", "1")),
            finding("proxy", attention, ("x", "1")),
            finding("mcp/files", failed(), ("transport", "\"stdio\"")),
            finding("control_plane", failed(), ("last_error_class", "\"key_refused\"")),
            finding("reload", Verdict::Ready, ("x", "1")),
        ];
        let report = Report { ready: false, line: String::new(), conditions };
        let advice = json(&report);
        let names: Vec<_> = advice.as_array().unwrap().iter().map(|a| &a["condition"]).collect();
        assert_eq!(names, ["proxy", "mcp/files", "control_plane", "certificates"]);
        assert!(advice[2]["text"].as_str().unwrap().contains("runtime key"), "{advice}");
        let otherwise = control_plane("null");
        for class in crate::daemon::poll_state::FailureClass::ALL.map(|class| class.as_str()) {
            assert_ne!(control_plane(&format!("\"{class}\"")), otherwise, "{class}");
        }
    }
}
