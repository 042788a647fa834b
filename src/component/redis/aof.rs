//! The stream `aof`: the append-only folder as a tar, of the very instant that was counted.
//!
//! How: the manifest is read; its files are opened and stay open; in one transaction the server tells its counts and how
//! much it has appended; the manifest is read again. Where it is the same and no rewrite runs, base and
//! increments up to that place are what was counted. Needs no right to change the server's configuration and leaves no links,
//! since an open file outlives its name. A place between two commands is found, not hoped for: a
//! server flushes several commands at once, and a size taken meanwhile may lie in the middle of one.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::Server;
use super::commands::Commands;
use super::dump::Sending;
use super::layout::Layout;
use super::look::{Look, Queue, commands};
use super::manifest::{MANIFEST_LIMIT_BYTES, Manifest};
use crate::component::archive::{END_BYTES, Entry, EntryKind, padding};
use crate::error::{Context, Error, Kind, Result};
use crate::host::{Exec, ExecSpec};

const HOLD: &str = include_str!("hold.sh");

/// How often a copy is tried before an RDB is taken instead.
const TRIES: u32 = 5;

/// The most files that are held open at once; a server has a base, an increment and what failed rewrites left.
const FILES_LIMIT: usize = 200;

/// The most text that the script writes before the files.
const TALK_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// How long a flush may take until the file has what the server counted.
const FLUSH_TRIES: u32 = 50;

const PAUSE: Duration = Duration::from_millis(200);

/// The longest one step of the conversation may take.
const TALK_LIMIT: Duration = Duration::from_secs(60);

/// Files held open in the container, and what was counted at their instant.
pub(super) struct Cut {
    pub look: Look,
    exec: Exec,
    folder: String,
    owner: (u32, u32),
    manifest_name: String,
    text: Bytes,
    manifest: Manifest,
    /// Name and size of each file, sorted by name.
    files: Vec<(String, u64)>,
}

/// What the script said until it was ready.
#[derive(Default)]
struct Said {
    owner: Option<(u32, u32)>,
    before: Vec<u64>,
    after: Vec<u64>,
    answers: String,
    manifest: String,
    edge: Option<String>,
}

/// Waits until no rewrite runs, then opens the files and finds the cut; tries again when a rewrite comes between.
pub(super) async fn cut(server: &Server, layout: &Layout, queues: &[Queue], limit: Duration) -> Result<Cut> {
    let mut last = None;
    for _ in 0..TRIES {
        wait_for_rewrite(server, limit).await?;
        match attempt(server, layout, queues).await {
            Ok(cut) => return Ok(cut),
            Err(e) if matches!(e.kind(), Kind::Denied | Kind::Host) => return Err(e),
            Err(e) => last = Some(e),
        }
        sleep(PAUSE).await;
    }
    Err(last.unwrap_or_else(|| Error::new(Kind::Bug, "no try was made")))
}

async fn wait_for_rewrite(server: &Server, limit: Duration) -> Result<()> {
    let waiting = async {
        while rewrites(&server.look(&[]).await?) {
            sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Timeout, format!("{server}: a rewrite of its append-only files does not end")))
    })
}

fn rewrites(look: &Look) -> bool {
    look.is("aof_rewrite_in_progress") || look.is("aof_rewrite_scheduled") || look.is("loading")
}

async fn attempt(server: &Server, layout: &Layout, queues: &[Queue]) -> Result<Cut> {
    let folder = format!("{}/{}", layout.dir.trim_end_matches('/'), layout.appenddirname);
    let manifest_name = format!("{}.manifest", layout.appendfilename);
    let text = read_manifest(server, &format!("{folder}/{manifest_name}")).await?;
    let manifest = Manifest::parse(&text, &format!("{server}: {manifest_name}"))?;
    let mut names: Vec<String> = manifest.files.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    if names.len() > FILES_LIMIT || names.contains(&manifest_name) {
        return Err(Error::new(
            Kind::Source,
            format!("{server}: {manifest_name} names too many files, or itself"),
        )
        .hint("`redis-cli BGREWRITEAOF` makes one file of them"));
    }
    let mut exec = server.exec(HOLD, [folder.clone(), manifest_name.clone()]).await?;
    tell(&mut exec, &format!("{}\n\n{}\n", names.join("\n"), commands(queues)), server).await?;
    let said = hear(&mut exec, server).await?;
    if said.before.len() != names.len() || said.after.len() != names.len() {
        return Err(unexpected(server));
    }
    let look = Look::read(&said.answers, queues, server)?;
    if said.manifest != text || rewrites(&look) || !look.is("aof_enabled") {
        return Err(Error::new(Kind::Source, format!("{server}: a rewrite came between")));
    }
    if look.text("aof_last_write_status").is_some_and(|s| s != "ok") {
        return Err(Error::new(Kind::Source, format!("{server} cannot write its append-only file")));
    }
    let owner = said.owner.ok_or_else(|| unexpected(server))?;
    let growing = manifest.growing().and_then(|g| names.iter().position(|n| n == g));
    let base = manifest.base().and_then(|b| names.iter().position(|n| n == b));
    let mut sizes = said.after.clone();
    if let Some(growing) = growing {
        sizes[growing] = place(server, &mut exec, &look, said, growing, base).await?;
    }
    let files = names.into_iter().zip(sizes).collect();
    let folder = layout.appenddirname.clone();
    Ok(Cut { look, exec, folder, owner, manifest_name, text: text.into(), manifest, files })
}

/// Returns how many bytes of the growing file belong to what was counted.
async fn place(
    server: &Server,
    exec: &mut Exec,
    look: &Look,
    said: Said,
    growing: usize,
    base: Option<usize>,
) -> Result<u64> {
    let (before, mut after) = (said.before[growing], said.after[growing]);
    let pending = look.number("aof_buffer_length");
    if before == after && pending == 0 {
        return Ok(after);
    }
    let others: u64 = said.after.iter().enumerate().filter(|(i, _)| *i != growing).map(|(_, n)| n).sum();
    // What waits in the server's buffer was counted too. A server that started without data does not count the
    // empty base that it made itself, until its first rewrite.
    let uncounted = if look.number("aof_base_size") == 0 { base.map_or(0, |b| said.after[b]) } else { 0 };
    let appended = look.number("aof_current_size") + pending + uncounted;
    let nowhere = || Error::new(Kind::Source, format!("{server}: no place between two commands was found"));
    let place = appended.checked_sub(others).filter(|place| *place >= before).ok_or_else(nowhere)?;
    for _ in 0..FLUSH_TRIES {
        if after >= place {
            break;
        }
        sleep(PAUSE).await;
        tell(exec, "sizes\n", server).await?;
        after = hear(exec, server).await?.after.get(growing).copied().unwrap_or(after);
    }
    if after >= place && is_edge(server, exec, growing, place).await? { Ok(place) } else { Err(nowhere()) }
}

/// Tells whether a command ends at this place of a file, and another begins or the file ends.
async fn is_edge(server: &Server, exec: &mut Exec, file: usize, place: u64) -> Result<bool> {
    if place < 2 {
        return Ok(place == 0);
    }
    tell(exec, &format!("edge {} {}\n", file + 1, place - 2), server).await?;
    let around = hear(exec, server).await?.edge.unwrap_or_default();
    Ok(matches!(around.as_str(), "rn" | "rn*" | "rn#"))
}

async fn read_manifest(server: &Server, path: &str) -> Result<String> {
    let spec = ExecSpec::script("cat -- \"$1\"", [path]).user("0");
    let ran = server.docker.run(&server.container, spec, b"", MANIFEST_LIMIT_BYTES, TALK_LIMIT).await?;
    Ok(ran.text(format_args!("{server}: manifest of its append-only files"))?.to_owned())
}

async fn tell(exec: &mut Exec, words: &str, server: &Server) -> Result<()> {
    exec.input.write_all(words.as_bytes()).await.context(Kind::Source, server)?;
    exec.input.flush().await.context(Kind::Source, server)
}

/// Hears the script out until it is ready for the next word.
async fn hear(exec: &mut Exec, server: &Server) -> Result<Said> {
    let listening = async {
        let mut text = Vec::new();
        while !text.ends_with(b"\nready\n") && text != b"ready\n" {
            let Some(bytes) = exec.output.next().await? else {
                let said = exec.output.stderr();
                return Err(Error::new(
                    Kind::Source,
                    format!("{server}: its files cannot be held: {}", said.trim()),
                ));
            };
            text.extend_from_slice(&bytes);
            if text.len() > TALK_LIMIT_BYTES {
                return Err(unexpected(server));
            }
        }
        Ok(Said::read(&String::from_utf8_lossy(&text)))
    };
    tokio::time::timeout(TALK_LIMIT, listening)
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, format!("{server} does not answer"))))
}

fn unexpected(server: &Server) -> Error {
    Error::new(Kind::Source, format!("{server} answered what was not asked for"))
}

impl Said {
    fn read(text: &str) -> Said {
        let mut said = Said::default();
        for (word, rest) in text.lines().filter_map(|l| l.split_once(' ')) {
            match word {
                "before" => said.before.extend(rest.parse::<u64>()),
                "after" => said.after.extend(rest.parse::<u64>()),
                "answer" => said.answers.extend([rest, "\n"]),
                "manifest" => said.manifest.extend([rest, "\n"]),
                "edge" => said.edge = Some(rest.to_owned()),
                "owner" => {
                    said.owner =
                        rest.split_once(' ').and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
                }
                _ => {}
            }
        }
        said
    }
}

impl Cut {
    /// Sends the tar, reads the script's end, and is content only when every byte came.
    pub(super) async fn send(mut self, server: &Server, to: &mut Sending) -> Result<()> {
        let sizes: Vec<String> = self.files.iter().map(|(_, size)| size.to_string()).collect();
        tell(&mut self.exec, &format!("send {}\n", sizes.join(" ")), server).await?;
        let Exec { input, output } = self.exec;
        let mut from = Incoming { output, rest: Bytes::new() };
        let entry = |path: String, kind, mode| {
            let (uid, gid) = self.owner;
            Entry { path: path.into_bytes(), kind, mode, uid, gid, mtime: 0 }.head()
        };
        to.bytes(&entry(self.folder.clone(), EntryKind::Folder, 0o755)?).await?;
        let mut all: Vec<(&str, u64, Option<&Bytes>)> =
            self.files.iter().map(|(name, size)| (name.as_str(), *size, None)).collect();
        all.push((&self.manifest_name, self.text.len() as u64, Some(&self.text)));
        all.sort_by_key(|(name, ..)| *name);
        for (name, size_bytes, content) in all {
            let path = format!("{}/{name}", self.folder);
            to.bytes(&entry(path, EntryKind::File { size_bytes }, 0o644)?).await?;
            match content {
                Some(content) => to.bytes(content).await?,
                None => {
                    let commands = self.manifest.is_increment(name).then(Commands::new);
                    from.pass(size_bytes, commands, to, server, name).await?;
                }
            }
            to.bytes(&vec![0; padding(size_bytes)]).await?;
        }
        to.bytes(&[0; END_BYTES]).await?;
        if from.next(to).await?.is_some() {
            return Err(Error::new(Kind::Source, format!("{server}: more bytes came than were announced")));
        }
        let exit = from.output.exit().await?;
        // The script watched its stdin until here.
        drop(input);
        if exit.code == 0 { Ok(()) } else { Err(server.fault(&exit)) }
    }
}

/// The bytes of the files, one after the other.
struct Incoming {
    output: crate::host::Output,
    rest: Bytes,
}

impl Incoming {
    async fn next(&mut self, to: &Sending) -> Result<Option<Bytes>> {
        if !self.rest.is_empty() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        to.watch(self.output.next()).await
    }

    /// Passes a file on; an increment is looked at on its way.
    async fn pass(
        &mut self,
        mut left: u64,
        mut commands: Option<Commands>,
        to: &mut Sending,
        server: &Server,
        name: &str,
    ) -> Result<()> {
        while left > 0 {
            let Some(mut bytes) = self.next(to).await? else {
                let said = self.output.stderr();
                let what = format!("{server}: {name} ended {left} bytes early: {}", said.trim());
                return Err(Error::new(Kind::Source, what));
            };
            let take = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            let now = bytes.split_to(take);
            self.rest = bytes;
            if let Some(commands) = &mut commands {
                commands.push(&now);
            }
            to.bytes(&now).await?;
            left -= take as u64;
        }
        match commands.and_then(|c| c.broken_at()) {
            Some(at) => {
                Err(Error::new(Kind::Source, format!("{server}: {name} has no whole command at byte {at}"))
                    .hint("`redis-cli BGREWRITEAOF` makes the server write its append-only files anew"))
            }
            None => Ok(()),
        }
    }
}
