//! `cargo run --release -p bench -- quick`: the table of our engine beside its peers. What is where: `src/lib.rs`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command: the table on stdout, progress on stderr"
)]

use std::{env, process::ExitCode};

use bench::{
    child, parts,
    report::Report,
    rows::{self, Measure},
    setting::{Mode, Setting},
};

const HELP: &str = "\
Session processes beside kameo, ractor, actix and plain tokio tasks.

usage: bench quick|full [--only ROW,ROW] [--rounds N]

  quick       the engine's rows, some 20 seconds; always exits with 0
  full        all rows, some minutes, 8 GB of memory; exits with 1 if a target is missed
  --only      these rows only, in the order of the table; with `quick` any but those of a million sessions
  --rounds N  measure each side N times; the figure is the median

A line of the table: name, ours, unit, peer, theirs, ratio (above 1 is better for ours), with tabs between.
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["-h" | "--help"] => {
            println!("{HELP}\nrows: {}", names(&rows::all(Mode::Full)));
            Ok(true)
        }
        [child::MEASURE, ref what @ ..] => rows::measure_in_child(what).map(|()| true),
        #[cfg(unix)]
        [rows::SERVE, url] => {
            rows::serve(url);
            Ok(true)
        }
        ["quick", ref options @ ..] => run(Mode::Quick, options),
        ["full", ref options @ ..] => run(Mode::Full, options),
        _ => Err("`quick` or `full`?".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Measures and prints. `Ok(false)`: a target is missed, and it matters.
fn run(mode: Mode, options: &[&str]) -> Result<bool, String> {
    let all = rows::all(mode);
    let (mut only, mut rounds) = (None, None);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = options.next().ok_or_else(|| format!("{option} what?"))?;
        match *option {
            "--only" => only = Some(chosen(&all, value)?),
            "--rounds" => {
                let count = value.parse().ok().filter(|count| *count > 0);
                rounds = Some(count.ok_or_else(|| format!("not a number of rounds: {value}"))?);
            }
            _ => return Err(format!("unknown option {option}")),
        }
    }

    if mode == Mode::Quick && only.is_none() {
        only = Some(rows::engine().iter().flat_map(|measure| measure.names()).collect());
    }
    let wanted = |name: &&'static str| only.as_ref().is_none_or(|only| only.contains(name));
    let chosen = all.iter().filter(|measure| measure.names().iter().any(wanted));
    parts::check(chosen.flat_map(|measure| measure.needs()))?;
    let setting = Setting::new(mode, rounds);
    let mut report = Report::begin();
    for measure in all {
        if !measure.names().iter().any(wanted) {
            continue;
        }
        for figures in measure.measure(&setting) {
            if wanted(&figures.name()) {
                report.add(&figures);
            }
        }
    }
    let all_hold = report.end();
    Ok(all_hold || mode == Mode::Quick)
}

/// The rows that `--only` names.
fn chosen<'a>(all: &[Box<dyn Measure>], value: &'a str) -> Result<Vec<&'a str>, String> {
    let chosen: Vec<&str> = value.split(',').collect();
    let unknown = |name: &&&str| !all.iter().any(|measure| measure.names().contains(*name));
    match chosen.iter().find(unknown) {
        Some(name) => Err(format!("no row {name} here; there are {}", names(all))),
        None => Ok(chosen),
    }
}

fn names(all: &[Box<dyn Measure>]) -> String {
    all.iter()
        .flat_map(|measure| measure.names())
        .collect::<Vec<_>>()
        .join(", ")
}
