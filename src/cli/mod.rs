//! The command line: parse, run one verb, render its outcome once, return its exit code.
//!
//! The only layer that prints. Owns the wording of results; verbs return values.

mod args;
mod ask;
mod dispatch;
mod progress;
mod render;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Context, Error, Kind, Result};
use args::{Cli, Verb};
use render::Output;

/// How long what was started may take to end after an interruption: aborts of uploads, removals.
const GRACE: Duration = Duration::from_secs(20);

/// Runs the command line and returns the process's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // clap prints help to stdout and errors to stderr; nothing can be done when that fails.
            drop(e.print());
            return if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    start_tracing(&cli);
    let output = Output::new(cli.json);
    match run_verb(&cli, &output) {
        Ok(0) if render::is_output_lost() => ExitCode::from(Kind::Io.exit_code()),
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            output.error(&e);
            ExitCode::from(e.kind().exit_code())
        }
    }
}

fn run_verb(cli: &Cli, output: &Output) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(Kind::Io, "cannot start the runtime")?;
    let stop = CancellationToken::new();
    let result = runtime.block_on(async {
        // Before anything else, so that no signal ends the program unheard.
        if let Some(signals) = Signals::listen() {
            tokio::spawn(signals.watch(stop.clone()));
        }
        dispatch::verb(cli, output, &stop).await
    });
    let interrupted = stop.is_cancelled();
    runtime.shutdown_timeout(GRACE);
    match result {
        // A verb that was interrupted may fail in any way; the signal is why.
        Err(e) if interrupted && e.kind() != Kind::Interrupted => Err(because_of_the_signal(e)),
        other => other,
    }
}

fn because_of_the_signal(error: Error) -> Error {
    let hint = error.hint_text().map(str::to_owned);
    let interrupted = Error::new(Kind::Interrupted, "interrupted").caused_by(error);
    match hint {
        Some(hint) => interrupted.hint(hint),
        None => interrupted,
    }
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Option<Signals> {
        let terminate = signal(SignalKind::terminate()).ok()?;
        Some(Signals { terminate, interrupt: signal(SignalKind::interrupt()).ok()? })
    }

    /// Asks for a stop at the first signal and ends the process at the second.
    async fn watch(mut self, stop: CancellationToken) {
        for again in [false, true] {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            if again {
                std::process::exit(i32::from(Kind::Interrupted.exit_code()));
            }
            stop.cancel();
        }
    }
}

fn start_tracing(cli: &Cli) {
    let level = match cli.verbose {
        // The log is all that a service says: how each run ended, and that it stopped.
        0 if matches!(cli.verb, Verb::Serve(_)) => {
            "warn,lifeboat::service=info,lifeboat::service::verbs=warn,lifeboat::cli::dispatch::service=info"
        }
        0 => "warn",
        1 => "lifeboat=info,warn",
        _ => "lifeboat=debug,info",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LIFEBOAT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    // bollard logs requests whole, environments with secrets among them, at debug level.
    let filter = match "bollard=info".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second call in one process (tests) keeps the first subscriber.
    if cli.json {
        drop(builder.json().try_init());
    } else {
        drop(builder.with_target(false).try_init());
    }
}
