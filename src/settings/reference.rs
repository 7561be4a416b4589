//! `env:NAME` and `file:PATH` in values (config.md, section 7). What a prefix means depends on the
//! setting.
//!
//! Only values that count are resolved, not those that a higher layer overrides. Errors name the
//! variable or path, never its content (config-84).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::grammar::{self, Wrong};
use super::source::Env;
use super::url::{HttpUrl, ProxyUrl};
use crate::secret::Secret;

/// Largest file that a reference may name, in bytes. Keys and addresses are far smaller.
const MAX_CONTENTS: usize = 64 * 1024;

/// Spare room in a buffer, in bytes: with less, the standard library looks for the end of a file
/// with a buffer of its own.
const ROOM_TO_END: usize = 64;

/// Where the packages keep the secrets of the service.
const SECRETS: &str = "/etc/mcp-tunnel.d";

/// Resolves references, and collects warnings about the files.
pub struct References<'a> {
    env: &'a Env,
    /// Files that others can read (config-83), one line each.
    pub warnings: Vec<String>,
    /// Files that secrets were read from.
    pub secret_files: Vec<PathBuf>,
}

/// A value split at its prefix.
enum Form<'t> {
    Env(&'t str),
    File(&'t str),
    Literal(&'t str),
}

fn form(text: &str, any_case: bool) -> Form<'_> {
    let after = |prefix: &str| {
        let head = text.get(..prefix.len())?;
        let hit = if any_case { head.eq_ignore_ascii_case(prefix) } else { head == prefix };
        hit.then(|| &text[prefix.len()..])
    };
    if let Some(name) = after("env:") {
        Form::Env(name)
    } else if let Some(path) = after("file:") {
        Form::File(path)
    } else {
        Form::Literal(text)
    }
}

/// True if a text is a reference in any spelling.
pub fn is_reference(text: &str) -> bool {
    !matches!(form(text.trim(), true), Form::Literal(_))
}

impl<'a> References<'a> {
    /// Variables are looked up here.
    pub fn new(env: &'a Env) -> Self {
        Self { env, warnings: Vec::new(), secret_files: Vec::new() }
    }

    fn variable(&self, name: &str) -> Result<&'a str, Wrong> {
        match self.env.get(name) {
            None => Err(format!("`env:{name}`: the variable {name} is not set")),
            Some(value) if value.trim().is_empty() => {
                Err(format!("`env:{name}`: the variable {name} is empty"))
            }
            Some(value) => Ok(value),
        }
    }

    /// A bare name is looked for among the credentials of systemd, in the working directory, and
    /// where the packages keep secrets, so that `doctor` in a shell finds the same files as the
    /// service.
    fn locate(&self, path: &str) -> PathBuf {
        let plain = PathBuf::from(path);
        if path.contains('/') {
            return plain;
        }
        if let Some(dir) = self.env.non_blank("CREDENTIALS_DIRECTORY") {
            let credential = Path::new(dir).join(path);
            // An empty line means that the file did not exist (`SetCredential=` of the unit).
            if credential.metadata().is_ok_and(|m| m.len() > 1) {
                return credential;
            }
        }
        if plain.exists() { plain } else { Path::new(SECRETS).join(path) }
    }

    fn contents(&mut self, path: &str, secret: bool) -> Result<Zeroizing<String>, Wrong> {
        let located = self.locate(path);
        let shown = located.display().to_string();
        let wrong = |e: std::io::Error| match e.kind() {
            ErrorKind::NotFound if !path.contains('/') => {
                format!("`file:{path}`: no such file in {SECRETS} or the working directory")
            }
            _ => format!("`file:{path}`: cannot read {shown}: {}", text_of(&e)),
        };
        let file = File::open(&located).map_err(wrong)?;
        if secret {
            self.note_exposure(&located);
            self.secret_files.push(located.clone());
        }
        // Large enough from the start: a growing text leaves copies of a secret behind.
        let mut text = Zeroizing::new(String::with_capacity(MAX_CONTENTS + ROOM_TO_END));
        let read = file.take(MAX_CONTENTS as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
        if read > MAX_CONTENTS {
            return Err(format!("`file:{path}`: {shown} is larger than {MAX_CONTENTS} bytes"));
        }
        Ok(text)
    }

    /// Warns if a file with a secret can be read by others.
    pub fn note_exposure(&mut self, path: &Path) {
        if let Some(warning) = exposure(path)
            && !self.warnings.contains(&warning)
        {
            self.warnings.push(warning);
        }
    }

    /// Class A: the value of a variable or the contents of a file, trimmed.
    pub fn value(&mut self, text: &str) -> Result<String, Wrong> {
        let value = match form(text.trim(), true) {
            Form::Env(name) => self.variable(name.trim())?.trim().to_owned(),
            Form::File(path) => {
                let contents = self.contents(path.trim(), false)?;
                non_blank(contents.trim(), path)?.to_owned()
            }
            Form::Literal(text) => text.to_owned(),
        };
        if value.is_empty() { Err("the value is empty".into()) } else { Ok(value) }
    }

    /// Class B: a path, or a variable that holds one; `file:` is merely dropped.
    pub fn path(&self, text: &str) -> Result<PathBuf, Wrong> {
        let path = match form(text.trim(), true) {
            Form::Env(name) => self.variable(name.trim())?.trim(),
            Form::File(path) => return Ok(self.locate(not_empty(path.trim(), "a path")?)),
            Form::Literal(text) => text,
        };
        Ok(PathBuf::from(not_empty(path, "a path")?))
    }

    /// Class C1: the key flag refuses a literal key.
    pub fn key_of_flag(&mut self, text: &str) -> Result<Secret, Wrong> {
        match form(text, false) {
            Form::Env(name) => Ok(secret(self.variable(name)?)),
            Form::File(path) => Ok(secret(self.contents(path, true)?.trim())),
            Form::Literal(_) => Err("the key itself is refused here, because every user of the \
                                     host can read arguments: give `env:NAME` or `file:PATH`"
                .into()),
        }
    }

    /// Class C3: the key in the file may be literal.
    pub fn key_of_file(&mut self, text: &str) -> Result<Secret, Wrong> {
        match form(text.trim(), true) {
            Form::Env(name) => Ok(secret(self.variable(name.trim())?.trim())),
            Form::File(path) => Ok(secret(self.contents(path.trim(), true)?.trim())),
            Form::Literal(text) => Ok(secret(text)),
        }
    }

    /// Class D: the URL of a proxy, or a variable that holds one.
    pub fn proxy(&self, text: &str) -> Result<ProxyUrl, Wrong> {
        let text = text.trim();
        let url = match form(text, false) {
            Form::Env(name) => self.variable(name)?,
            Form::File(_) => return Err("a proxy is a URL or `env:NAME`".into()),
            Form::Literal(text) => not_empty(text, "a proxy URL")?,
        };
        HttpUrl::parse(url).map(ProxyUrl).map_err(Into::into)
    }

    /// Class E: the value of a header; a file loses one final line ending.
    pub fn header(&mut self, text: &str) -> Result<Secret, Wrong> {
        let value = match form(text, true) {
            Form::Env(name) => {
                let name = name.trim();
                let head =
                    name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
                if !head || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    return Err("`env:` needs the name of a variable".into());
                }
                secret(self.variable(name)?.trim())
            }
            Form::File(path) => {
                let contents = self.contents(path.trim(), true)?;
                let line = contents
                    .strip_suffix("\r\n")
                    .or_else(|| contents.strip_suffix(['\n', '\r']))
                    .unwrap_or(&contents);
                secret(non_blank(line, path)?)
            }
            Form::Literal(text) => secret(text),
        };
        grammar::header_value(value.expose())?;
        Ok(value)
    }

    /// Class F: the admin key flag refuses a literal key.
    pub fn admin_key(&mut self, text: &str) -> Result<Secret, Wrong> {
        let key = match form(text, false) {
            Form::Env(name) => secret(self.variable(name)?.trim()),
            Form::File(path) => secret(self.contents(path, true)?.trim()),
            Form::Literal(_) => {
                return Err("the key itself is refused here, because every user of the host can \
                            read arguments: give `env:NAME` or `file:PATH`"
                    .into());
            }
        };
        if key.expose().is_empty() { Err("the key is empty".into()) } else { Ok(key) }
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn not_empty<'t>(text: &'t str, what: &str) -> Result<&'t str, Wrong> {
    if text.trim().is_empty() { Err(format!("{what} is needed")) } else { Ok(text) }
}

fn non_blank<'t>(text: &'t str, path: &str) -> Result<&'t str, Wrong> {
    if text.trim().is_empty() { Err(format!("`file:{path}`: the file is empty")) } else { Ok(text) }
}

/// Largest PEM file that is read, in bytes: a system's whole trust store is a tenth of it.
const MAX_PEM: u64 = 4 * 1024 * 1024;

/// The bytes of a PEM file.
///
/// # Errors
/// If it cannot be read or is too large.
pub fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PEM + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM {
        return Err(std::io::Error::other(format!("it is larger than {MAX_PEM} bytes")));
    }
    Ok(bytes)
}

/// An I/O error in plain words, without the number.
pub fn text_of(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

/// The warning for a file with a secret that others can read (config-83). A group may read it if
/// root owns the file: that is how a service gets its secrets.
pub fn exposure(path: &Path) -> Option<String> {
    let meta = path.metadata().ok()?;
    let others = meta.mode() & 0o007 != 0;
    let group = meta.mode() & 0o070 != 0 && meta.uid() != 0;
    let who = match (others, group) {
        (true, _) => "every user",
        (false, true) => "its group",
        (false, false) => return None,
    };
    Some(format!(
        "{} holds a secret and is open to {who} (mode {:04o}): chmod 600 it",
        path.display(),
        meta.mode() & 0o7777
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn env() -> Env {
        Env::of([("PLAIN", " v \n"), ("EMPTY", ""), ("P", "/p"), ("PROXY", "http://u:p@proxy:1")])
    }

    /// A file in a directory of its own; both are gone when it is dropped.
    struct TestFile(PathBuf);

    impl Drop for TestFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    impl std::ops::Deref for TestFile {
        type Target = Path;

        fn deref(&self) -> &Path {
            &self.0
        }
    }

    fn file(name: &str, contents: &str) -> TestFile {
        let dir = format!("mcp-tunnel-ref-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        TestFile(path)
    }

    #[test] // config.md, section 7, class A
    fn a_value_reference_is_the_trimmed_value_or_contents() {
        let env = env();
        let mut refs = References::new(&env);
        let path = file("a", "\n https://h \n");
        assert_eq!(refs.value(" ENV:PLAIN ").unwrap(), "v");
        assert_eq!(refs.value(&format!("File:{}", path.display())).unwrap(), "https://h");
        assert_eq!(refs.value(" lit ").unwrap(), "lit");
        for bad in ["", "env:EMPTY", "env:ABSENT", "file:/nonexistent", "env:"] {
            assert!(refs.value(bad).is_err(), "{bad}");
        }
    }

    #[test] // config.md, section 7, class B; config-35, config-81
    fn a_path_reference_is_a_path_and_never_read() {
        let env = env();
        let refs = References::new(&env);
        assert_eq!(refs.path("env:P"), Ok("/p".into()));
        assert_eq!(refs.path("file:/nonexistent/x"), Ok("/nonexistent/x".into()));
        assert_eq!(refs.path(" ~/x "), Ok("~/x".into()));
        assert!(refs.path("env:ABSENT").is_err());
    }

    #[test] // config.md, section 7, classes C1, C3, F; config-84
    fn keys_are_read_and_never_shown() {
        let env = env();
        let mut refs = References::new(&env);
        let path = file("key", "sk-1\n");
        let reference = format!("file:{}", path.display());
        assert_eq!(refs.key_of_flag(&reference).unwrap().expose(), "sk-1");
        assert_eq!(refs.key_of_flag("env:PLAIN").unwrap().expose(), " v \n");
        let literal = refs.key_of_flag("sk-literal").unwrap_err();
        assert!(!literal.contains("sk-literal"));
        assert!(refs.key_of_flag("ENV:PLAIN").is_err());
        assert_eq!(refs.key_of_file("ENV:PLAIN").unwrap().expose(), "v");
        assert_eq!(refs.key_of_file("sk-literal").unwrap().expose(), "sk-literal");
        assert_eq!(refs.admin_key(&reference).unwrap().expose(), "sk-1");
        assert!(refs.admin_key("sk-literal").is_err());
    }

    #[test] // config.md, section 7, class D; config-34
    fn a_proxy_is_a_url_or_a_variable_and_never_a_file() {
        let env = env();
        let refs = References::new(&env);
        assert_eq!(refs.proxy("env:PROXY").unwrap().to_string(), "http://proxy:1");
        assert_eq!(refs.proxy(" https://h ").unwrap().to_string(), "https://h");
        for bad in ["ENV:PROXY", "file:/x", "socks5://h", "h:3128", "", "env:EMPTY"] {
            assert!(refs.proxy(bad).is_err(), "{bad}");
        }
    }

    #[test] // config.md, section 7, class E
    fn a_header_loses_one_final_line_ending_and_may_have_no_other() {
        let env = env();
        let mut refs = References::new(&env);
        let mut read = |name, contents| {
            let path = file(name, contents);
            refs.header(&format!("FILE:{}", path.display()))
        };
        assert_eq!(read("h1", " a \r\n").unwrap().expose(), " a ");
        assert_eq!(read("h2", "a\r").unwrap().expose(), "a");
        assert!(read("h3", "a\n\n").is_err());
        assert!(read("h4", " \n").is_err());
        assert_eq!(refs.header("env:PLAIN").unwrap().expose(), "v");
        assert!(refs.header("env:NOT-A-NAME").is_err());
        assert_eq!(refs.header("Bearer x").unwrap().expose(), "Bearer x");
    }

    #[test]
    fn a_bare_name_is_a_systemd_credential_if_there_is_one() {
        let path = file("cred-api-key", "sk-cred\n");
        let dir = path.parent().unwrap().to_str().unwrap().to_owned();
        let env = Env::of([("CREDENTIALS_DIRECTORY", dir.as_str())]);
        let mut refs = References::new(&env);
        assert_eq!(refs.key_of_file("file:cred-api-key").unwrap().expose(), "sk-cred");
        assert_eq!(refs.path("file:cred-api-key"), Ok(path.to_path_buf()));
        assert!(refs.key_of_file("file:./cred-api-key").is_err());
    }

    #[test]
    fn a_bare_name_that_is_nowhere_is_told_with_the_places() {
        // An empty line is no credential: the unit puts it where the file is missing.
        let path = file("cred-missing", "\n");
        let dir = path.parent().unwrap().to_str().unwrap().to_owned();
        let env = Env::of([("CREDENTIALS_DIRECTORY", dir.as_str())]);
        let wrong = References::new(&env).key_of_file("file:cred-missing").unwrap_err();
        assert_eq!(
            wrong,
            "`file:cred-missing`: no such file in /etc/mcp-tunnel.d or the working directory"
        );
    }

    #[test] // config-83
    fn a_secret_that_others_can_read_is_reported_once() {
        let path = file("open", "sk-1\n");
        std::fs::set_permissions(&*path, PermissionsExt::from_mode(0o644)).unwrap();
        let env = env();
        let mut refs = References::new(&env);
        let reference = format!("file:{}", path.display());
        refs.key_of_file(&reference).unwrap();
        refs.key_of_file(&reference).unwrap();
        assert_eq!(refs.warnings.len(), 1);
        assert!(refs.warnings[0].contains("0644"), "{}", refs.warnings[0]);
        std::fs::set_permissions(&*path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(exposure(&path), None);
    }
}
