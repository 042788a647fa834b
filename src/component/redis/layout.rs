//! Where a server keeps its data, and the settings that decide what becomes of it.

use std::collections::BTreeMap;

use super::Server;
use super::look::{Answers, mark};
use super::manifest::check_name;
use crate::error::{Error, Kind, Result};

/// Settings that the record keeps.
const KEPT: [&str; 5] = ["maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save"];

/// Where a server keeps its data.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub dir: String,
    pub appenddirname: String,
    pub appendfilename: String,
    pub dbfilename: String,
    pub config: BTreeMap<String, String>,
}

impl Server {
    /// Asks the server for its settings.
    pub(super) async fn layout(&self) -> Result<Layout> {
        let wanted = ["dir", "appenddirname", "appendfilename", "dbfilename"];
        let commands: String =
            wanted.iter().chain(&KEPT).map(|name| format!("{}CONFIG GET {name}\n", mark(name))).collect();
        let answers = Answers::read(&self.query(&commands).await?);
        let value = |name: &str| -> Result<Option<String>> {
            // An unknown setting is an empty answer, which is none of the server's errors.
            match answers.get(name, self) {
                Ok(text) => Ok(Some(text.split_once('\n').map_or("", |(_, v)| v.trim()).to_owned())),
                Err(e) if e.kind() == Kind::Source && e.what().ends_with("no answer") => Ok(None),
                Err(e) => Err(e),
            }
        };
        let name = |setting: &str, default: &str| -> Result<String> {
            let name = value(setting)?.unwrap_or_else(|| default.to_owned());
            check_name(&name)?;
            Ok(name)
        };
        let dir = value("dir")?.filter(|d| d.starts_with('/') && !d.contains('\n'));
        let dir =
            dir.ok_or_else(|| Error::new(Kind::Source, format!("{self} does not say where its data is")))?;
        let mut config = BTreeMap::new();
        for setting in KEPT {
            config.extend(value(setting)?.map(|v| (setting.to_owned(), v)));
        }
        Ok(Layout {
            dir,
            appenddirname: name("appenddirname", "appendonlydir")?,
            // Redis 6 cannot be asked for it at all times; the default is what everybody has.
            appendfilename: name("appendfilename", "appendonly.aof")?,
            dbfilename: name("dbfilename", "dump.rdb")?,
            config,
        })
    }
}
