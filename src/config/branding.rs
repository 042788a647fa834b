//! How a tenant looks: `[platform.branding]` of the host and `[branding]` of a tenant.
//!
//! Owns which looks there are and that a tenant's word counts before the host's.

use std::path::PathBuf;

use super::check::{Checker, absolute, not_empty};
use super::raw;
use crate::error::{Error, Kind, Result};

/// How a tenant looks; what is none stays as the app makes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branding {
    /// What the app calls itself.
    pub app_name: Option<String>,
    /// The logo's file on this host.
    pub logo: Option<PathBuf>,
    /// The favicon's file on this host.
    pub favicon: Option<PathBuf>,
    /// The main colour, `#1a2b3c`.
    pub primary_color: Option<String>,
    /// A file of HTML for the head of each page of the website and of the login page.
    pub head_html_file: Option<PathBuf>,
    /// A file of HTML, or an image, for the head of printed letters.
    pub letter_head: Option<PathBuf>,
}

impl Branding {
    /// Returns these looks, with those of the host where nothing is said.
    #[must_use]
    pub fn over(&self, host: Option<&Branding>) -> Branding {
        let none = Branding::default();
        let host = host.unwrap_or(&none);
        Branding {
            app_name: self.app_name.clone().or_else(|| host.app_name.clone()),
            logo: self.logo.clone().or_else(|| host.logo.clone()),
            favicon: self.favicon.clone().or_else(|| host.favicon.clone()),
            primary_color: self.primary_color.clone().or_else(|| host.primary_color.clone()),
            head_html_file: self.head_html_file.clone().or_else(|| host.head_html_file.clone()),
            letter_head: self.letter_head.clone().or_else(|| host.letter_head.clone()),
        }
    }

    /// Tells whether nothing at all is said.
    pub fn is_empty(&self) -> bool {
        *self == Branding::default()
    }
}

/// Checks the looks of `section`, leaving out faulty ones.
pub(super) fn looks(section: &str, raw: &raw::Branding, c: &mut Checker<'_>) -> Branding {
    let key = |name: &str| format!("{section}.{name}");
    Branding {
        app_name: c.parse(&key("app_name"), &raw.app_name, not_empty),
        logo: c.parse(&key("logo"), &raw.logo, absolute),
        favicon: c.parse(&key("favicon"), &raw.favicon, absolute),
        primary_color: c.parse(&key("primary_color"), &raw.primary_color, color),
        head_html_file: c.parse(&key("head_html_file"), &raw.head_html_file, absolute),
        letter_head: c.parse(&key("letter_head"), &raw.letter_head, absolute),
    }
}

/// Accepts a colour as style sheets write it, and nothing that could end a style sheet's rule.
fn color(text: &str) -> Result<String> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    if !matches!(digits.len(), 3 | 6) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::new(Kind::Config, format!("{text:?} is not a colour")).hint("write it as #1a2b3c"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_look_counts_before_the_hosts_and_only_where_it_says_something() {
        let host = Branding {
            logo: Some("/host/logo.png".into()),
            primary_color: Some("#000".into()),
            ..Branding::default()
        };
        let tenant = Branding { logo: Some("/own/logo.png".into()), ..Branding::default() };
        let both = tenant.over(Some(&host));
        assert_eq!(both.logo, tenant.logo);
        assert_eq!(both.primary_color, host.primary_color);
        assert_eq!(tenant.over(None), tenant);
        assert!(Branding::default().is_empty() && !both.is_empty());
    }

    #[test]
    fn a_colour_cannot_end_a_rule() {
        assert!(color("#1a2b3c").is_ok() && color("#FFF").is_ok());
        for bad in ["red", "#12", "#1a2b3g", "#fff}</style>", ""] {
            assert!(color(bad).is_err(), "{bad:?}");
        }
    }
}
