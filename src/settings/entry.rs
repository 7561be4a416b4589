//! The entries of list settings in their text form (config.md, section 8): split here, checked
//! later.

use super::grammar::Wrong;

/// The fields of a server entry, by their names in the file.
pub const SERVER_FIELDS: [&str; 6] =
    ["channel", "url", "unix_socket", "http_proxy", "client_cert", "client_key"];
/// The fields of a Harpoon target, by their names in the file.
pub const TARGET_FIELDS: [&str; 4] = ["label", "url", "unix_socket", "description"];

/// Field names with their texts.
pub type Fields = Vec<(&'static str, String)>;

/// True if a text is `key=value,...` and not a whole URL or command (config-51).
fn is_qualified(text: &str) -> bool {
    const KEYS: [&str; 7] = [
        "url=",
        "command=",
        "channel=",
        "unix-socket=",
        "http-proxy=",
        "client-cert=",
        "client-key=",
    ];
    let lower = text.trim().to_ascii_lowercase();
    KEYS.iter().any(|key| lower.starts_with(key))
}

/// A server URL (config-52).
///
/// # Errors
/// Unknown keys, blank keys or values, no URL.
pub fn server(text: &str) -> Result<Fields, Wrong> {
    let text = text.trim();
    if !is_qualified(text) {
        return Ok(vec![("url", text.to_owned())]);
    }
    let fields = pairs(text, |key| match key {
        "url" | "channel" => SERVER_FIELDS.into_iter().find(|field| *field == key),
        "unix-socket" => Some("unix_socket"),
        "http-proxy" => Some("http_proxy"),
        "client-cert" => Some("client_cert"),
        "client-key" => Some("client_key"),
        _ => None,
    })
    .map_err(|unknown| {
        format!(
            "{unknown}; an entry is a URL, or `channel=NAME,url=URL` with `unix-socket`, \
             `http-proxy`, `client-cert` or `client-key`"
        )
    })?;
    if fields.iter().any(|(field, _)| *field == "url") {
        Ok(fields)
    } else {
        Err("the entry has no `url=`".into())
    }
}

/// A command (config-54).
///
/// # Errors
/// A qualified entry without command, or with options that commands do not have.
pub fn command(text: &str) -> Result<Fields, Wrong> {
    let text = text.trim();
    if !is_qualified(text) {
        return Ok(vec![("command", text.to_owned())]);
    }
    let (channel, command) = if let Some(rest) = text.strip_prefix("command=") {
        match rest.rsplit_once(",channel=") {
            Some((command, channel)) => (channel, command),
            None => ("", rest),
        }
    } else if let Some((channel, command)) =
        text.strip_prefix("channel=").and_then(|rest| rest.split_once(",command="))
    {
        (channel, command)
    } else {
        return Err("an entry is a command line, or `channel=NAME,command=COMMAND`".into());
    };
    let lower = command.to_ascii_lowercase();
    for option in [",http-proxy=", ",url=", ",unix-socket=", ",client-cert=", ",client-key="] {
        if lower.contains(option) {
            let name = option.trim_matches([',', '=']);
            return Err(format!("a command has no `{name}`"));
        }
    }
    Ok(vec![("channel", channel.trim().to_owned()), ("command", command.trim().to_owned())])
}

/// A Harpoon target (config-56).
///
/// # Errors
/// Unknown keys, blank keys or values.
pub fn target(text: &str) -> Result<Fields, Wrong> {
    let fields = pairs(text, |key| match key.to_ascii_lowercase().as_str() {
        "label" => Some("label"),
        "url" => Some("url"),
        "unix-socket" => Some("unix_socket"),
        "desc" => Some("description"),
        _ => None,
    })
    .map_err(|unknown| {
        format!("{unknown}; a target is `label=NAME,url=URL` with `unix-socket` or `desc`")
    })?;
    let unquoted = |text: String| text.trim_matches(['"', '\'']).to_owned();
    Ok(fields.into_iter().map(|(field, value)| (field, unquoted(value))).collect())
}

/// Splits `key=value,key=value`; a repeated key keeps its last value.
fn pairs(text: &str, known: impl Fn(&str) -> Option<&'static str>) -> Result<Fields, Wrong> {
    let mut fields: Fields = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err("a part of the entry is not `key=value`".into());
        };
        let (key, value) = (key.trim(), value.trim());
        let Some(field) = known(key) else { return Err(format!("unknown key `{key}`")) };
        if value.is_empty() {
            return Err(format!("`{key}=` has no value"));
        }
        fields.retain(|(earlier, _)| *earlier != field);
        fields.push((field, value.to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: Result<Fields, Wrong>) -> String {
        match fields {
            Ok(fields) => {
                fields.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
            }
            Err(wrong) => format!("! {wrong}"),
        }
    }

    #[test] // config-51, config-52
    fn a_server_entry_is_a_url_or_a_list_of_pairs() {
        assert_eq!(shown(server(" https://h/a,b=c ")), "url=https://h/a,b=c");
        assert_eq!(
            shown(server("channel=a, url=https://h ,,unix-socket=/s,url=https://i")),
            "channel=a unix_socket=/s url=https://i"
        );
        for bad in ["channel=a", "url=", "url=h,x=1", "URL=https://h", "url=h,y"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test] // config-54
    fn a_command_entry_keeps_its_commas() {
        assert_eq!(shown(command("srv --a,b=c")), "command=srv --a,b=c");
        assert_eq!(shown(command("channel=x,command=a b, c")), "channel=x command=a b, c");
        assert_eq!(
            shown(command("command=a ,channel=z b,channel=x")),
            "channel=x command=a ,channel=z b"
        );
        assert_eq!(shown(command("command=a")), "channel= command=a");
        for bad in ["channel=x", "Command=a", "command=a,URL=h", "url=h"] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }

    #[test] // config-56
    fn a_target_loses_its_quotes_and_unknown_keys_are_refused() {
        assert_eq!(
            shown(target("LABEL=a,url='https://h',desc=\"x y\"")),
            "label=a url=https://h description=x y"
        );
        assert!(target("label=a,url=h,color=red").is_err());
    }
}
