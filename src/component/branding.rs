//! How a site looks: logo, favicon, colours, login page and letter head.
//!
//! Owns which of Frappe's settings carry a look, and that only what differs is written. What an operator or the tenant has put into the
//! head of the site's pages besides stays: Lifeboat's part stands between two marks. All of it lives in the
//! database and in `public/files`, so a restored tenant has it already.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::component::bench::{Bench, Program};
use crate::error::{Context, Error, Kind, Result};

const SNIPPET: &str = include_str!("branding/settle.py");

/// The most that an image or a text may hold, in bytes.
const FILE_BYTES: u64 = 2 * 1024 * 1024;

/// How long Frappe may take: its start alone takes seconds.
const LIMIT: Duration = Duration::from_secs(180);

/// Between these stands Lifeboat's part of the pages' head.
const MARKS: [&str; 2] = ["<!-- lifeboat: branding -->", "<!-- lifeboat: end of branding -->"];

/// Where the looks come from; what is none is left as it is.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// What the app calls itself.
    pub app_name: Option<String>,
    /// The logo's file.
    pub logo: Option<PathBuf>,
    /// The favicon's file.
    pub favicon: Option<PathBuf>,
    /// The main colour, as style sheets write it.
    pub primary_color: Option<String>,
    /// A file of HTML for the head of each page of the website, the login page among them.
    pub head_html_file: Option<PathBuf>,
    /// A file of HTML or an image for the head of letters.
    pub letter_head: Option<PathBuf>,
    /// The letter head's name.
    pub letter_head_name: String,
}

/// The looks a site is to have, read and ready to be sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Looks {
    files: BTreeMap<String, Content>,
    singles: BTreeMap<&'static str, Map<String, Value>>,
    head: Option<Head>,
    letter_head: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Content {
    sha256: String,
    base64: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Head {
    marks: [&'static str; 2],
    html: String,
}

/// What a look or a change found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What is not as it is to be, or was not before the change.
    pub differs: Vec<String>,
    /// What was there before, so that it can be put back: settings by doctype, files and letter heads that were not.
    pub before: Before,
}

/// What was there before a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Values of settings that a change replaces, by doctype and field.
    pub singles: BTreeMap<String, BTreeMap<String, Value>>,
    /// Public files that a change makes.
    pub files: Vec<String>,
    /// The letter head that a change makes.
    pub letter_head: Option<String>,
}

impl Before {
    /// Tells whether a change replaced and made nothing.
    pub fn is_empty(&self) -> bool {
        *self == Before::default()
    }
}

impl Looks {
    /// Reads all sources. From a blocking thread.
    pub fn read(sources: &Sources) -> Result<Looks> {
        let mut looks =
            Looks { files: BTreeMap::new(), singles: BTreeMap::new(), head: None, letter_head: None };
        if let Some(name) = &sources.app_name {
            for doctype in ["Website Settings", "System Settings"] {
                looks.set(doctype, "app_name", name);
            }
        }
        if let Some(logo) = &sources.logo {
            let url = looks.image("logo", logo)?;
            for (doctype, field) in [
                ("Website Settings", "app_logo"),
                ("Website Settings", "splash_image"),
                ("Navbar Settings", "app_logo"),
            ] {
                looks.set(doctype, field, &url);
            }
        }
        if let Some(favicon) = &sources.favicon {
            let url = looks.image("favicon", favicon)?;
            looks.set("Website Settings", "favicon", &url);
        }
        looks.head = head(sources)?;
        if let Some(path) = &sources.letter_head {
            looks.letter_head = Some(looks.letter(&sources.letter_head_name, path)?);
        }
        Ok(looks)
    }

    fn set(&mut self, doctype: &'static str, field: &str, value: &str) {
        self.singles.entry(doctype).or_default().insert(field.to_owned(), value.into());
    }

    /// Adds a file under a name of its content, so that a browser that remembers the old one asks anew; returns its address.
    fn image(&mut self, what: &str, path: &Path) -> Result<String> {
        let bytes = bytes(path)?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        if !["png", "jpg", "jpeg", "svg", "gif", "webp", "ico"].contains(&ending.as_str()) {
            let what = format!("{} is not an image by its name", path.display());
            return Err(Error::new(Kind::Config, what).hint("give a png, jpg, svg, gif, webp or ico"));
        }
        let name = format!("brand-{what}-{}.{ending}", &digest[..12]);
        let url = format!("/files/{name}");
        self.files.insert(name, Content { sha256: digest, base64: STANDARD.encode(bytes) });
        Ok(url)
    }

    fn letter(&mut self, name: &str, path: &Path) -> Result<Map<String, Value>> {
        let html =
            path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"));
        let mut fields = Map::new();
        fields.insert("letter_head_name".to_owned(), name.into());
        fields.insert("is_default".to_owned(), 1.into());
        // Of an image, Frappe makes the content itself.
        let (source, field, value) = match html {
            true => ("HTML", "content", text(path)?),
            false => ("Image", "image", self.image("letter", path)?),
        };
        fields.insert("source".to_owned(), source.into());
        fields.insert(field.to_owned(), value.into());
        Ok(fields)
    }

    /// Says how a site's looks differ from these; changes nothing.
    pub async fn look(&self, bench: &Bench) -> Result<Found> {
        self.run(bench, false).await
    }

    /// Brings a site's looks to these; returns what differed, and what to put back in order to undo it.
    pub async fn settle(&self, bench: &Bench) -> Result<Found> {
        self.run(bench, true).await
    }

    async fn run(&self, bench: &Bench, write: bool) -> Result<Found> {
        let mut values = serde_json::to_value(self).context(Kind::Bug, "looks")?;
        values["write"] = write.into();
        send(bench, &values).await
    }
}

/// Puts back what was there before a change.
pub async fn put_back(bench: &Bench, before: &Before) -> Result<()> {
    let values = json!({
        "write": true, "files": {}, "singles": before.singles, "head": null, "letter_head": null,
        "gone": { "files": before.files, "letter_head": before.letter_head },
    });
    send(bench, &values).await.map(|_| ())
}

async fn send(bench: &Bench, values: &Value) -> Result<Found> {
    let (args, secrets) = (values.clone(), Value::Null);
    let answer =
        bench.python(Program { what: "branding", text: SNIPPET, args, secrets, limit: LIMIT }).await?;
    serde_json::from_value(answer).context(Kind::Source, format!("site {}: answer on branding", bench.site()))
}

/// Makes Lifeboat's part of the pages' head: the colour as the variables that Frappe's pages use, then the operator's file.
fn head(sources: &Sources) -> Result<Option<Head>> {
    let mut html = String::new();
    if let Some(color) = &sources.primary_color {
        html.push_str(&format!(
            "<style>:root {{ --primary: {color}; --primary-color: {color}; --btn-primary: {color}; --brand-color: {color}; }} \
             .btn-primary, .btn-login {{ background-color: {color}; border-color: {color}; }}</style>\n"
        ));
    }
    if let Some(path) = &sources.head_html_file {
        html.push_str(text(path)?.trim_end());
        html.push('\n');
    }
    Ok((!html.is_empty()).then_some(Head { marks: MARKS, html }))
}

fn text(path: &Path) -> Result<String> {
    String::from_utf8(bytes(path)?).context(Kind::Config, format!("{} is no text", path.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let what = || format!("branding file {}", path.display());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(FILE_BYTES + 1).read_to_end(&mut bytes));
    read.context(Kind::Config, what())?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(Error::new(Kind::Config, format!("{} is longer than 2 MiB", what())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_by_their_content_and_stand_where_frappe_shows_them() {
        let dir = tempfile::tempdir().unwrap();
        let logo = dir.path().join("Logo.PNG");
        std::fs::write(&logo, "one").unwrap();
        let sources =
            Sources { logo: Some(logo.clone()), app_name: Some("Acme".into()), ..Sources::default() };
        let one = Looks::read(&sources).unwrap();
        let url = one.singles["Navbar Settings"]["app_logo"].as_str().unwrap().to_owned();
        assert!(url.starts_with("/files/brand-logo-") && url.ends_with(".png"), "{url}");
        assert_eq!(one.singles["Website Settings"]["app_logo"], url.as_str());
        assert_eq!(one.singles["System Settings"]["app_name"], "Acme");
        assert!(one.head.is_none() && one.letter_head.is_none());
        std::fs::write(&logo, "two").unwrap();
        assert_ne!(Looks::read(&sources).unwrap().singles["Navbar Settings"]["app_logo"], url.as_str());
    }

    #[test]
    fn a_letter_head_is_html_or_an_image_and_the_head_holds_colour_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let (html, image) = (dir.path().join("l.html"), dir.path().join("l.svg"));
        std::fs::write(&html, "<b>Acme</b>").unwrap();
        std::fs::write(&image, "<svg/>").unwrap();
        let of = |path: &Path| Sources {
            letter_head: Some(path.to_owned()),
            letter_head_name: "Acme".into(),
            primary_color: Some("#123456".into()),
            head_html_file: Some(html.clone()),
            ..Sources::default()
        };
        let looks = Looks::read(&of(&html)).unwrap();
        let letter = looks.letter_head.unwrap();
        assert_eq!((&letter["source"], &letter["content"]), (&json!("HTML"), &json!("<b>Acme</b>")));
        let head = looks.head.unwrap().html;
        assert!(head.contains("--primary: #123456") && head.ends_with("<b>Acme</b>\n"), "{head}");
        let letter = Looks::read(&of(&image)).unwrap().letter_head.unwrap();
        assert_eq!(letter["source"], "Image");
        assert!(letter["image"].as_str().unwrap().starts_with("/files/brand-letter-"));
    }

    #[test]
    fn a_file_that_is_no_image_too_long_or_not_there_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logo.exe");
        std::fs::write(&path, "x").unwrap();
        let read = |path: &Path| {
            Looks::read(&Sources { logo: Some(path.to_owned()), ..Sources::default() })
                .unwrap_err()
                .to_string()
        };
        assert!(read(&path).contains("logo.exe is not an image"));
        assert!(read(&dir.path().join("gone.png")).contains("gone.png"));
        let long = dir.path().join("long.png");
        File::create(&long).unwrap().set_len(FILE_BYTES + 1).unwrap();
        assert!(read(&long).contains("longer than 2 MiB"));
    }
}
