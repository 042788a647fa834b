//! A command inside a container: its input, its output, its exit code.
//!
//! Promises: stdout and stderr never mix; the exit code is read after the output ended; a stream that breaks in
//! the middle is an error, never an early end. Does not promise to kill: Docker has no call for that. What must not
//! outlive its caller watches its stdin, which ends when both halves of an [`Exec`] are dropped, or the
//! process that held them dies.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{Docker, call, fault};
use crate::error::{Context, Error, Kind, Result};

/// How much of stderr is kept, in bytes: its end.
const STDERR_TAIL_BYTES: usize = 8 * 1024;

/// The daemon sends frames of at most 32 KiB; room for two.
const READ_BUFFER_BYTES: usize = 64 * 1024 + 16;

/// How long the daemon may take to notice that a process whose output ended has exited.
const EXIT_LIMIT: Duration = Duration::from_secs(60);

/// What to run. Neither `argv` nor `env` may hold a secret: both are shown by `docker inspect` and `ps`.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Environment variables besides the container's own.
    pub env: Vec<(String, String)>,
    /// `user`, `uid`, `user:group` or `uid:gid`; else the container's.
    pub user: Option<String>,
    /// The working directory; else the container's.
    pub workdir: Option<String>,
}

impl ExecSpec {
    /// Runs a program with arguments as the container's own user.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        ExecSpec { argv: argv.into_iter().map(Into::into).collect(), ..ExecSpec::default() }
    }

    /// Runs a script by `sh -c`, with arguments `$1`, `$2` and so on.
    pub fn script<S: Into<String>>(script: &str, arguments: impl IntoIterator<Item = S>) -> Self {
        let head = ["sh", "-c", script, "lifeboat"].map(str::to_owned);
        ExecSpec::new(head.into_iter().chain(arguments.into_iter().map(Into::into)))
    }

    /// Ends it inside the container, by force, after `limit`: for what may hang when nobody waits for it any more.
    #[must_use]
    pub fn ended_after(mut self, limit: Duration) -> Self {
        let head = ["timeout".to_owned(), "-s".into(), "KILL".into(), limit.as_secs().max(1).to_string()];
        self.argv.splice(0..0, head);
        self
    }

    /// Runs as this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }
}

/// A command that runs. Dropping both halves closes its stdin and discards its output.
#[derive(Debug)]
pub struct Exec {
    /// Its stdin.
    pub input: Input,
    /// Its stdout, stderr and exit.
    pub output: Output,
}

/// The stdin of a command; shutting it down is the end of file that the command sees.
pub struct Input(Pin<Box<dyn AsyncWrite + Send>>);

/// The stdout of a command, the end of its stderr, and then its exit.
pub struct Output {
    docker: Docker,
    id: String,
    what: String,
    frames: BoxStream<'static, std::result::Result<LogOutput, bollard::errors::Error>>,
    stderr: Tail,
    ended: bool,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n where signal n ended it.
    pub code: i64,
    /// The end of what it wrote to stderr, at most 8 KiB.
    pub stderr: String,
}

/// What a short command said.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its whole stdout.
    pub stdout: Bytes,
    /// How it ended.
    pub exit: Exit,
}

impl Docker {
    /// Starts a command in a running container, its stdin attached.
    pub async fn exec(&self, container: &str, spec: ExecSpec) -> Result<Exec> {
        let what = format!("container {container}");
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            env: Some(spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
            cmd: Some(spec.argv),
            user: spec.user,
            working_dir: spec.workdir,
            ..ExecConfig::default()
        };
        let id = call(&what, self.client.create_exec(container, config)).await?.id;
        let start = StartExecOptions { output_capacity: Some(READ_BUFFER_BYTES), ..Default::default() };
        match call(&what, self.client.start_exec(&id, Some(start))).await? {
            StartExecResults::Attached { output, input } => Ok(Exec {
                input: Input(input),
                output: Output {
                    docker: self.clone(),
                    id,
                    what,
                    frames: output,
                    stderr: Tail::default(),
                    ended: false,
                },
            }),
            StartExecResults::Detached => Err(Error::new(Kind::Bug, format!("{what}: exec came detached"))),
        }
    }

    /// Runs a short command: gives it `stdin`, then the end of file, and collects at most `limit_bytes` of output.
    ///
    /// The exit code is returned, not judged. Fails with [`Kind::Timeout`] after `limit`.
    pub async fn run(
        &self,
        container: &str,
        spec: ExecSpec,
        stdin: &[u8],
        limit_bytes: usize,
        limit: Duration,
    ) -> Result<Ran> {
        let program = spec.argv.first().cloned().unwrap_or_default();
        let work = async {
            let Exec { mut input, mut output } = self.exec(container, spec).await?;
            let feed = async {
                // A command may end without reading its input: its exit code tells, not the broken pipe.
                if input.write_all(stdin).await.is_ok() {
                    input.shutdown().await.ok();
                }
                Ok(())
            };
            let (stdout, ()) = futures::try_join!(output.collect(limit_bytes), feed)?;
            Ok(Ran { stdout, exit: output.exit().await? })
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Timeout,
                format!("container {container}: `{program}` took longer than {} s", limit.as_secs()),
            ))
        })
    }
}

impl Output {
    /// Returns the next bytes of stdout, or nothing when all output has ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.frames.next().await {
            match frame.map_err(|e| fault::of(e, &self.what))? {
                LogOutput::StdOut { message } if message.is_empty() => {}
                LogOutput::StdOut { message } => return Ok(Some(message)),
                LogOutput::StdErr { message } => self.stderr.push(&message),
                // The client library turns what stands behind the last whole frame into this.
                LogOutput::Console { .. } | LogOutput::StdIn { .. } => {
                    return Err(Error::new(Kind::Host, format!("{}: its output broke off", self.what)));
                }
            }
        }
        self.ended = true;
        Ok(None)
    }

    /// Discards what is left of the output, then returns how the command ended.
    pub async fn exit(mut self) -> Result<Exit> {
        while !self.ended {
            self.next().await?;
        }
        let mut pause = Duration::from_millis(5);
        let deadline = tokio::time::Instant::now() + EXIT_LIMIT;
        loop {
            let state = call(&self.what, self.docker.client.inspect_exec(&self.id)).await?;
            if let (Some(false), Some(code)) = (state.running, state.exit_code) {
                return Ok(Exit { code, stderr: self.stderr.text() });
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::new(
                    Kind::Timeout,
                    format!("{}: a command closed its output but does not exit", self.what),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    /// Returns the end of stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    async fn collect(&mut self, limit_bytes: usize) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > limit_bytes {
                return Err(Error::new(
                    Kind::Source,
                    format!("{}: a command wrote more than {limit_bytes} bytes", self.what),
                ));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

impl Ran {
    /// Returns stdout as text where the command succeeded; its exit code and stderr else.
    pub fn text(&self, what: impl fmt::Display) -> Result<&str> {
        if self.exit.code != 0 {
            return Err(Error::new(Kind::Source, format!("{what}: {}", self.exit)));
        }
        std::str::from_utf8(&self.stdout).context(Kind::Source, what)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        match self.stderr.trim() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", self.what)
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}

/// The last [`STDERR_TAIL_BYTES`] of a stream.
#[derive(Debug, Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(STDERR_TAIL_BYTES);
        self.0.drain(..excess);
        self.0.extend(bytes);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_stderr_is_kept() {
        let mut tail = Tail::default();
        for i in 0..1000 {
            tail.push(format!("line {i:04}: {}\n", "x".repeat(40)).as_bytes());
        }
        assert_eq!(tail.0.len(), STDERR_TAIL_BYTES);
        assert!(tail.text().contains("line 0999"));
        assert!(!tail.text().contains("line 0000"));
        tail.push(&[b'y'; 3 * STDERR_TAIL_BYTES]);
        assert_eq!(tail.text(), "y".repeat(STDERR_TAIL_BYTES));
    }

    #[test]
    fn a_script_gets_its_arguments_behind_its_name() {
        let spec = ExecSpec::script("echo \"$1\"", ["a b"]);
        assert_eq!(spec.argv, ["sh", "-c", "echo \"$1\"", "lifeboat", "a b"]);
    }
}
