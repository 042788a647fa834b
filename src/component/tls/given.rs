//! Certificates that an operator gives, handed to Traefik as a file of its dynamic configuration.
//!
//! Owns that file. Certificate and key stand in it as text (Traefik's `certFile` and `keyFile` take a path or the content
//! itself), so that one rename replaces both, no path has to be the same inside Traefik's container, and the watched folder
//! shows a change, as Traefik needs to read a certificate again. It holds a key, so its mode is 0600.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

use super::Chain;
use crate::component::files::OWN_PREFIX;
use crate::error::{Context, Error, Kind, Result};

/// The most that a certificate, a key or the file of both may hold, in bytes.
const PEM_BYTES: u64 = 1024 * 1024;

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Given {
    /// The certificate with its chain.
    pub chain: Chain,
    pem: String,
    key: SecretString,
}

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.expose_secret().trim() == other.key.expose_secret().trim()
    }
}

/// Reads `DOMAIN.crt` and `DOMAIN.key` from the folder of given certificates.
///
/// [`Kind::NotFound`] where one is not there, [`Kind::Source`] where they do not belong together or do not serve the domain now.
pub fn read(folder: &Path, domain: &str, now: Timestamp) -> Result<Given> {
    let (crt, key) = (folder.join(format!("{domain}.crt")), folder.join(format!("{domain}.key")));
    let pem = text(&crt)?;
    let key_pem = SecretString::from(text(&key)?);
    let chain = Chain::of_pem(pem.as_bytes()).map_err(|e| e.in_context(crt.display()))?;
    if let Some(fault) = chain.fault(domain, now) {
        return Err(Error::new(Kind::Source, format!("{}: {fault}", crt.display())));
    }
    let matches = chain.matches(key_pem.expose_secret().as_bytes());
    if !matches.map_err(|e| e.in_context(key.display()))? {
        let what = format!("{} is not the key of {}", key.display(), crt.display());
        return Err(Error::new(Kind::Source, what));
    }
    Ok(Given { chain, pem, key: key_pem })
}

fn text(path: &Path) -> Result<String> {
    let what = || format!("given certificate {}", path.display());
    let file = File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::NotFound, format!("{} is not there", what())),
        _ => Error::new(Kind::Io, what()).caused_by(e),
    })?;
    let mut text = String::new();
    file.take(PEM_BYTES + 1).read_to_string(&mut text).context(Kind::Io, what())?;
    if text.len() as u64 > PEM_BYTES {
        return Err(Error::new(Kind::Source, format!("{} is longer than a certificate is", what())));
    }
    Ok(text)
}

/// Returns where the file of a domain lies in Traefik's dynamic folder.
pub fn file_of(dynamic: &Path, domain: &str) -> PathBuf {
    dynamic.join(format!("{domain}.yml"))
}

/// Returns what Lifeboat handed to Traefik for a domain; none where there is no such file, or another's.
pub fn look(dynamic: &Path, domain: &str) -> Result<Option<Given>> {
    let path = file_of(dynamic, domain);
    let yaml = match text(&path) {
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        other => other?,
    };
    if !is_ours(&yaml) {
        return Ok(None);
    }
    let lines: Vec<&str> = yaml.lines().map(str::trim).collect();
    let pem = lines.join("\n");
    let at = |e: Error| e.in_context(path.display());
    let chain = Chain::of_pem(pem.as_bytes()).map_err(at)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| at(Error::new(Kind::Source, "no private key in PEM that can be read")))?;
    drop(key);
    let of = |word: &str| block(&lines, word);
    Ok(Some(Given { chain, pem: of("CERTIFICATE"), key: SecretString::from(of("PRIVATE KEY")) }))
}

/// Returns the PEM blocks whose label ends in a word.
fn block(lines: &[&str], word: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in lines {
        inside |= line.starts_with("-----BEGIN ") && line.ends_with(&format!("{word}-----"));
        if inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= !line.starts_with("-----END ");
    }
    out
}

/// Puts a pair where Traefik reads it, as one file that is old or new at every moment. From a blocking thread.
///
/// [`Kind::Conflict`] where a file that Lifeboat did not write stands there.
pub fn put(dynamic: &Path, domain: &str, given: &Given) -> Result<()> {
    let path = file_of(dynamic, domain);
    if path.exists() && !is_ours(&text(&path)?) {
        let what = format!("{} is there, and Lifeboat did not write it", path.display());
        return Err(Error::new(Kind::Conflict, what).hint("give that file another name"));
    }
    let what = || format!("cannot write {}", path.display());
    let mut temp =
        tempfile::Builder::new().prefix(OWN_PREFIX).tempfile_in(dynamic).context(Kind::Io, what())?;
    temp.write_all(yaml(domain, given).as_bytes()).context(Kind::Io, what())?;
    if rustix::process::geteuid().is_root() {
        let of = fs::metadata(&path).or_else(|_| fs::metadata(dynamic)).context(Kind::Io, what())?;
        std::os::unix::fs::fchown(temp.as_file(), Some(of.uid()), Some(of.gid()))
            .context(Kind::Io, what())?;
    }
    temp.as_file().set_permissions(fs::Permissions::from_mode(0o600)).context(Kind::Io, what())?;
    temp.as_file().sync_all().context(Kind::Io, what())?;
    temp.persist(&path).map_err(|e| e.error).context(Kind::Io, what())?;
    File::open(dynamic).and_then(|f| f.sync_all()).context(Kind::Io, what())
}

/// Removes such a file; one that is not there is no error, one that Lifeboat did not write stays. From a blocking thread.
pub fn remove(path: &Path) -> Result<()> {
    match text(path) {
        Err(e) if e.kind() == Kind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(yaml) if !is_ours(&yaml) => Ok(()),
        Ok(_) => fs::remove_file(path).context(Kind::Io, format!("cannot remove {}", path.display())),
    }
}

fn is_ours(yaml: &str) -> bool {
    yaml.lines().next().is_some_and(|line| line.ends_with(OURS))
}

/// How the first line of each such file ends.
const OURS: &str = "put here by lifeboat and replaced as a whole.";

fn yaml(domain: &str, given: &Given) -> String {
    // A private key that stands in the certificate's file too must not be written where a certificate is expected.
    let all: Vec<&str> = given.pem.lines().map(str::trim).collect();
    let key: Vec<&str> = given.key.expose_secret().lines().map(str::trim).collect();
    let indented = |pem: String| pem.lines().map(|l| format!("        {l}\n")).collect::<String>();
    format!(
        "# Certificate and key of {domain}, {OURS}\ntls:\n  certificates:\n    - certFile: |\n{}      keyFile: |\n{}",
        indented(block(&all, "CERTIFICATE")),
        indented(block(&key, "PRIVATE KEY")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Authority, Made, day};
    use super::*;

    fn write(folder: &Path, domain: &str, made: &Made) {
        fs::write(folder.join(format!("{domain}.crt")), &made.chain).unwrap();
        fs::write(folder.join(format!("{domain}.key")), &made.key).unwrap();
    }

    #[test]
    fn a_given_pair_is_handed_over_read_back_and_replaced_as_one() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let authority = Authority::new();
        write(from.path(), "a.example", &authority.issue(&["a.example"], day(0), day(90)));
        let given = read(from.path(), "a.example", day(1)).unwrap();
        assert!(look(to.path(), "a.example").unwrap().is_none());
        put(to.path(), "a.example", &given).unwrap();
        let path = file_of(to.path(), "a.example");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(look(to.path(), "a.example").unwrap(), Some(given.clone()));
        write(from.path(), "a.example", &authority.issue(&["a.example"], day(60), day(150)));
        let renewed = read(from.path(), "a.example", day(61)).unwrap();
        assert_ne!(look(to.path(), "a.example").unwrap(), Some(renewed.clone()));
        put(to.path(), "a.example", &renewed).unwrap();
        assert_eq!(look(to.path(), "a.example").unwrap(), Some(renewed));
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_somebody_else_wrote_is_neither_replaced_nor_removed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(from.path(), "a.example", &Authority::new().issue(&["a.example"], day(0), day(90)));
        let given = read(from.path(), "a.example", day(1)).unwrap();
        let path = file_of(to.path(), "a.example");
        fs::write(&path, "http: {}\n").unwrap();
        assert!(look(to.path(), "a.example").unwrap().is_none());
        assert_eq!(put(to.path(), "a.example", &given).unwrap_err().kind(), Kind::Conflict);
        remove(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "http: {}\n");
        fs::remove_file(&path).unwrap();
        remove(&path).unwrap();
        put(to.path(), "a.example", &given).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_file_is_yaml_whose_texts_are_the_pem_blocks() {
        let from = tempfile::tempdir().unwrap();
        let made = Authority::new().issue(&["a.example"], day(0), day(90));
        write(from.path(), "a.example", &made);
        let text = yaml("a.example", &read(from.path(), "a.example", day(1)).unwrap());
        let (head, rest) = text.split_once("    - certFile: |\n").unwrap();
        assert!(head.ends_with("tls:\n  certificates:\n"));
        let (certificate, key) = rest.split_once("      keyFile: |\n").unwrap();
        let plain = |block: &str| {
            block.lines().map(|l| format!("{}\n", l.strip_prefix("        ").unwrap())).collect::<String>()
        };
        assert_eq!(plain(certificate), made.chain.replace("\r\n", "\n"));
        assert_eq!(plain(key), made.key.replace("\r\n", "\n"));
    }

    #[test]
    fn a_pair_that_does_not_serve_the_domain_is_refused() {
        let from = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (good, other) = (
            authority.issue(&["a.example"], day(0), day(90)),
            authority.issue(&["b.example"], day(0), day(90)),
        );
        assert_eq!(read(from.path(), "a.example", day(1)).unwrap_err().kind(), Kind::NotFound);
        write(from.path(), "a.example", &other);
        assert!(
            read(from.path(), "a.example", day(1)).unwrap_err().to_string().contains("not for a.example")
        );
        write(from.path(), "a.example", &Made { chain: good.chain.clone(), key: other.key });
        assert!(
            read(from.path(), "a.example", day(1)).unwrap_err().to_string().contains("is not the key of")
        );
        write(from.path(), "a.example", &good);
        assert!(read(from.path(), "a.example", day(91)).unwrap_err().to_string().contains("ended"));
    }
}
