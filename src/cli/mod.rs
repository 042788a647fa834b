//! The command line: parse, run one verb, render its outcome once, return its exit code.
//!
//! The only layer that prints. Owns the wording of results; verbs return values.

mod args;
mod dispatch;
mod progress;
mod render;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use crate::error::{Context, Error, Kind, Result};
use args::Cli;
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
        tokio::spawn(watch_signals(stop.clone()));
        dispatch::verb(cli, output, &stop).await
    });
    let interrupted = stop.is_cancelled();
    runtime.shutdown_timeout(GRACE);
    match result {
        // A verb that was interrupted may fail in any way; the cause is the signal.
        Err(_) if interrupted => Err(Error::new(Kind::Interrupted, "interrupted")
            .hint("older snapshots are untouched; what was uploaded is reused by the next backup")),
        other => other,
    }
}

/// Asks for a stop at the first signal and ends the process at the second.
async fn watch_signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    for again in [false, true] {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        if again {
            std::process::exit(i32::from(Kind::Interrupted.exit_code()));
        }
        stop.cancel();
    }
}

fn start_tracing(cli: &Cli) {
    let level = match cli.verbose {
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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call in one process (tests) keeps the first subscriber.
    if cli.json {
        drop(builder.json().try_init());
    } else {
        drop(builder.with_target(false).try_init());
    }
}
