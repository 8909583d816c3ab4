//! The project's own commands. `cargo xtask test` is what a contributor runs before a commit, and all that CI runs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "commands: they talk to a person"
)]

mod msrv;
mod package;
mod steps;
mod tools;

use std::{env, process::ExitCode};

const HELP: &str = "\
The project's own commands.

usage: cargo xtask test [--long] [FILTER …]   check and test everything; with filters, only the tests whose name has them
       cargo xtask help

test: format, clippy, documentation without warnings, the minimum Rust version, all tests (unit, integration, models,
documentation examples, the browser's client in Node and as an npm package, the shop in Chromium). Installs
cargo-nextest, rustfmt, clippy and, as root on Debian, PostgreSQL's server, PgBouncer, chromium and chromium-driver where
they are missing. With --long, the tests that do some thousand of a thing also do millions, and the faults come again and
again; they say how far they are.
";

/// How much the tests do that are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Normal,
    Long,
}

fn are_filters(words: &[&str]) -> bool {
    words.iter().all(|word| !word.starts_with('-'))
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["test"] => steps::everything(Length::Normal),
        ["test", "--long"] => steps::everything(Length::Long),
        ["test", "--long", ref filters @ ..] if are_filters(filters) => steps::only(filters, Length::Long),
        ["test", ref filters @ ..] if are_filters(filters) => steps::only(filters, Length::Normal),
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
