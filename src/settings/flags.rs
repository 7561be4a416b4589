//! The flags of settings, collected from the command line.

use std::collections::BTreeMap;

use super::table::{Id, Kind, Setting, TABLE};

/// The values given for each setting. They are not checked here.
#[derive(Debug, Clone, Default)]
pub struct Flags(BTreeMap<Id, Given>);

#[derive(Debug, Clone)]
struct Given {
    /// The spelling that counts, with dashes.
    flag: String,
    /// True if that is the dotted one (cli-3).
    dotted: bool,
    /// One value for each time it was given.
    values: Vec<String>,
}

/// The setting of a long flag in either spelling, and whether it is the main one.
pub fn lookup(name: &str) -> Option<(&'static Setting, bool)> {
    let dotted = TABLE.iter().find(|s| !s.flag.is_empty() && s.flag == name);
    dotted.map(|s| (s, true)).or_else(|| {
        TABLE.iter().find(|s| s.dashed_flag().as_deref() == Some(name)).map(|s| (s, false))
    })
}

impl Flags {
    /// Takes a flag if it belongs to a setting: its value is the attached one, or for anything
    /// but a boolean the next word (cli-1, cli-2). `false` if no setting has this flag.
    ///
    /// # Errors
    /// If the value is missing or not UTF-8.
    pub fn accept(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, String> {
        let Some((setting, dotted)) = lookup(name) else { return Ok(false) };
        let value = if setting.kind == Kind::Bool {
            parser.optional_value().unwrap_or_else(|| "true".into())
        } else {
            parser.value().map_err(|_| format!("--{name} needs a value: {}", setting.metavar()))?
        };
        let value = value.into_string().map_err(|_| format!("--{name}: the value is not UTF-8"))?;
        self.add(setting, format!("--{name}"), dotted, value);
        Ok(true)
    }

    /// Sets a value as if its flag had been given, for a command that sets something itself.
    pub fn add(&mut self, setting: &Setting, flag: String, dotted: bool, value: String) {
        let given = self.0.entry(setting.id).or_insert_with(|| Given {
            flag: flag.clone(),
            dotted,
            values: Vec::new(),
        });
        if dotted && !given.dotted {
            *given = Given { flag, dotted, values: vec![value] };
        } else if dotted == given.dotted {
            if !setting.is_list() {
                given.values.clear();
            }
            given.values.push(value);
        }
    }

    /// The last value of a flag and its spelling.
    pub fn last(&self, id: Id) -> Option<(&str, String)> {
        let given = self.0.get(&id)?;
        given.values.last().map(|value| (value.as_str(), given.flag.clone()))
    }

    /// All values of a flag and its spelling.
    pub fn all(&self, id: Id) -> Option<(&[String], &str)> {
        self.0.get(&id).map(|given| (given.values.as_slice(), given.flag.as_str()))
    }

    #[cfg(test)]
    pub(super) fn of(args: &[&str]) -> Self {
        let mut flags = Self::default();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next().unwrap() {
            let lexopt::Arg::Long(name) = arg else { panic!("{arg:?}") };
            let name = name.to_owned();
            assert!(flags.accept(&name, &mut parser).unwrap(), "--{name}");
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // cli-1, cli-5
    fn values_are_attached_or_the_next_word_and_lists_are_not_split() {
        let flags = Flags::of(&[
            "--mcp.command",
            "-x",
            "--mcp.command=a,b",
            "--log.level",
            "debug",
            "--log.level=warn",
        ]);
        assert_eq!(flags.all(Id::Commands).unwrap().0, ["-x", "a,b"]);
        assert_eq!(flags.all(Id::LogLevel).unwrap().0, ["warn"]);
    }

    #[test] // cli-2
    fn a_boolean_never_takes_the_next_word() {
        let mut parser = lexopt::Parser::from_args(["--allow-remote-ui", "false"]);
        let mut flags = Flags::default();
        assert!(matches!(parser.next(), Ok(Some(lexopt::Arg::Long(_)))));
        flags.accept("allow-remote-ui", &mut parser).unwrap();
        assert_eq!(flags.last(Id::AllowRemoteUi).unwrap().0, "true");
        assert!(matches!(parser.next(), Ok(Some(lexopt::Arg::Value(v))) if v == "false"));
    }

    #[test] // cli-3
    fn the_dotted_spelling_wins_over_its_alias() {
        for args in [
            ["--mcp-server-url=a", "--mcp.server-url=b"],
            ["--mcp.server-url=b", "--mcp-server-url=a"],
        ] {
            assert_eq!(Flags::of(&args).all(Id::ServerUrls).unwrap().0, ["b"]);
        }
        assert_eq!(Flags::of(&["--mcp-server-url=a"]).all(Id::ServerUrls).unwrap().0, ["a"]);
        assert!(lookup("mcp-http-proxy").is_none());
    }

    #[test] // cli-6
    fn a_missing_value_is_an_error() {
        let mut parser = lexopt::Parser::from_args(["--log.level"]);
        assert!(matches!(parser.next(), Ok(Some(_))));
        assert!(Flags::default().accept("log.level", &mut parser).unwrap_err().contains("LEVEL"));
    }
}
