//! A private CA, made with the `openssl` command.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::Scratch;

/// A root and its intermediate, in a directory of their own.
pub struct Authority {
    pub scratch: Scratch,
}

/// A certificate with its key, as PEM files. The certificate's file begins with it and goes on
/// with the intermediate.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }

    pub fn key(&self) -> &str {
        self.key.to_str().unwrap()
    }
}

/// For a server of this name or address, valid for a year.
pub const SERVER: &str = "extendedKeyUsage=serverAuth\n";
/// For a client.
pub const CLIENT: &str = "extendedKeyUsage=clientAuth\n";

impl Authority {
    pub fn new() -> Authority {
        Authority::named("Test")
    }

    /// `NAME Root` and `NAME Intermediate`.
    pub fn named(name: &str) -> Authority {
        let authority = Authority { scratch: Scratch::new() };
        authority.scratch.file("index.txt", "");
        let folder = authority.scratch.path("");
        let config = format!(
            "[ca]\ndefault_ca=c\n[c]\ndatabase={0}index.txt\nnew_certs_dir={0}\nrand_serial=yes\n\
             default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n\
             [req]\ndistinguished_name=n\n[n]\n",
            folder.display()
        );
        authority.scratch.file("ca.cnf", &config);
        let ca = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n";
        let root = authority.self_signed("root", &format!("{name} Root"), ca);
        authority.request("intermediate", &format!("{name} Intermediate"));
        authority.sign("intermediate", "root", ca, "20250101000000Z", "20600101000000Z");
        assert!(root.cert.exists());
        authority
    }

    /// The bundle with the root alone.
    pub fn bundle(&self) -> String {
        self.scratch.path("root.pem").to_str().unwrap().to_owned()
    }

    /// For `localhost` and 127.0.0.1.
    pub fn server(&self, name: &str) -> Pair {
        self.leaf(name, &names("DNS:localhost,IP:127.0.0.1"), "20250101000000Z", "20600101000000Z")
    }

    pub fn client(&self, name: &str) -> Pair {
        self.leaf(name, CLIENT, "20250101000000Z", "20600101000000Z")
    }

    /// Signed by the intermediate, with these extensions and dates.
    pub fn leaf(&self, name: &str, extensions: &str, from: &str, to: &str) -> Pair {
        let pair = self.request(name, name);
        self.sign(name, "intermediate", extensions, from, to);
        let mut chain = std::fs::read_to_string(&pair.cert).unwrap();
        chain += &std::fs::read_to_string(self.scratch.path("intermediate.pem")).unwrap();
        std::fs::write(&pair.cert, chain).unwrap();
        pair
    }

    /// Signed by its own key.
    pub fn self_signed(&self, name: &str, subject: &str, extensions: &str) -> Pair {
        let pair = self.request(name, subject);
        self.sign_with(name, name, extensions, "20250101000000Z", "20600101000000Z", true);
        pair
    }

    /// Takes back what the intermediate has signed; [`Authority::revocation_list`] tells.
    pub fn revoke(&self, pair: &Pair) {
        self.as_issuer("intermediate", &["-revoke", pair.cert()]);
    }

    /// Writes the revocation lists of root and intermediate, as nginx reads them: both in one
    /// file, which always has the same name.
    pub fn revocation_list(&self) -> PathBuf {
        let lists = ["root", "intermediate"].map(|issuer| {
            let list = self.scratch.path(&format!("{issuer}.crl"));
            let out = list.to_str().unwrap();
            self.as_issuer(issuer, &["-gencrl", "-crldays", "30", "-out", out]);
            std::fs::read_to_string(list).unwrap()
        });
        self.scratch.file("crl.pem", &lists.concat())
    }

    fn as_issuer(&self, issuer: &str, what: &[&str]) {
        let (by, config) = (self.pair(issuer), self.scratch.path("ca.cnf"));
        let mut args = vec!["ca", "-config", config.to_str().unwrap()];
        args.extend(["-keyfile", by.key(), "-cert", by.cert()]);
        args.extend(what);
        openssl(&args);
    }

    fn pair(&self, name: &str) -> Pair {
        Pair {
            cert: self.scratch.path(&format!("{name}.pem")),
            key: self.scratch.path(&format!("{name}.key")),
        }
    }

    fn request(&self, name: &str, subject: &str) -> Pair {
        let pair = self.pair(name);
        let csr = self.scratch.path(&format!("{name}.csr"));
        openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pair.key()]);
        let config = self.scratch.path("ca.cnf");
        openssl(&[
            "req",
            "-new",
            "-config",
            config.to_str().unwrap(),
            "-key",
            pair.key(),
            "-subj",
            &format!("/CN={subject}"),
            "-out",
            csr.to_str().unwrap(),
        ]);
        pair
    }

    fn sign(&self, name: &str, issuer: &str, extensions: &str, from: &str, to: &str) {
        self.sign_with(name, issuer, extensions, from, to, false);
    }

    fn sign_with(
        &self,
        name: &str,
        issuer: &str,
        extensions: &str,
        from: &str,
        to: &str,
        selfsigned: bool,
    ) {
        let (pair, by) = (self.pair(name), self.pair(issuer));
        let extensions = self.scratch.file(&format!("{name}.ext"), extensions);
        let csr = self.scratch.path(&format!("{name}.csr"));
        let config = self.scratch.path("ca.cnf");
        let mut args = vec![
            "ca",
            "-config",
            config.to_str().unwrap(),
            "-batch",
            "-notext",
            "-keyfile",
            by.key(),
            "-in",
            csr.to_str().unwrap(),
            "-out",
            pair.cert(),
            "-extfile",
            extensions.to_str().unwrap(),
            "-startdate",
            from,
            "-enddate",
            to,
        ];
        match selfsigned {
            true => args.push("-selfsign"),
            false => args.extend(["-cert", by.cert()]),
        }
        openssl(&args);
    }
}

/// Extensions of a server's certificate.
pub fn names(names: &str) -> String {
    format!("{SERVER}subjectAltName={names}\n")
}

pub fn openssl(args: &[&str]) {
    let output = Command::new("openssl")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the openssl command");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {args:?}: {said}");
}
