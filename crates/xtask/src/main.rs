//! The project's own commands. `cargo xtask test` is what a contributor runs before a commit, and all that CI runs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "commands: they talk to a person"
)]

mod msrv;
mod steps;
mod tools;

use std::{env, process::ExitCode};

const HELP: &str = "\
The project's own commands.

usage: cargo xtask test [FILTER …]   check and test everything; with filters, only the tests whose name has them
       cargo xtask help

test: format, clippy, documentation without warnings, the minimum Rust version, all tests (unit, integration, models,
documentation examples). Installs cargo-nextest, rustfmt, clippy and, as root on Debian, PostgreSQL's server where they
are missing.
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["test"] => steps::everything(),
        ["test", ref filters @ ..] if filters.iter().all(|filter| !filter.starts_with('-')) => steps::only(filters),
        ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("\nxtask: {wrong}");
            ExitCode::FAILURE
        }
    }
}
