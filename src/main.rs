//! Parses, starts tracing, runs, and turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lifeboat::cli::run(std::env::args_os())
}
