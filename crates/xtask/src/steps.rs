//! The steps of `cargo xtask test`, each with its time, and a summary at the end.

use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use crate::{Length, msrv, package, tools};

/// The tests that ask `testkit::long_or` how much to do, by their modules.
const LONG: &str = "test(/^(totals|crash|faults|network)::/)";

/// Everything, to the end also when a step fails: one run tells all that is wrong.
pub(crate) fn everything(length: Length) -> Result<(), String> {
    tools::make_sure_of_all()?;
    let mut steps = Steps::default();
    steps.cargo("format", &["fmt", "--all", "--check"]);
    steps.cargo(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    );
    // As our users build them: without the features that tests turn on.
    for package in [
        "session-process",
        "session-process-axum",
        "session-process-postgres",
        "session-process-sqlite",
        "session-process-tower-sessions",
    ] {
        steps.cargo(
            &format!("clippy, {package} alone"),
            &["clippy", "-p", package, "--locked", "--", "-D", "warnings"],
        );
    }
    steps.run("minimum Rust version", msrv::check);
    steps.documentation();
    steps.client();
    steps.run("client as an npm package", package::check);
    steps.tests(&[]);
    steps.cargo(
        "documentation examples",
        &["test", "--workspace", "--doc", "--all-features", "--locked", "--quiet"],
    );
    if length == Length::Long {
        steps.long(&[]);
    }
    steps.summary()
}

/// The tests whose names have one of `filters`, and nothing else.
pub(crate) fn only(filters: &[&str], length: Length) -> Result<(), String> {
    tools::make_sure_of_all()?;
    let mut steps = Steps::default();
    match length {
        Length::Normal => steps.tests(filters),
        Length::Long => steps.long(filters),
    }
    steps.summary()
}

#[derive(Default)]
struct Steps {
    done: Vec<(String, Duration, Result<(), String>)>,
}

impl Steps {
    fn cargo(&mut self, name: &str, args: &[&str]) {
        self.command(name, Command::new("cargo").args(args));
    }

    fn tests(&mut self, filters: &[&str]) {
        let mut command = Command::new("cargo");
        command.args([
            "nextest",
            "run",
            "--workspace",
            "--all-features",
            "--locked",
            "--profile",
        ]);
        command.arg(if env::var_os("CI").is_some() { "ci" } else { "default" });
        self.command("tests", command.args(filters));
    }

    /// Those that can be long, one after the other and with all they say: how far they are.
    fn long(&mut self, filters: &[&str]) {
        let mut command = Command::new("cargo");
        command.args([
            "nextest",
            "run",
            "-p",
            "session-process-postgres",
            "--all-features",
            "--locked",
        ]);
        command
            .args(["--profile", "long", "--no-capture", "-E", LONG])
            .args(filters);
        // The tests look for it: `testkit::long_or`.
        self.command("long tests", command.env("LONG_TESTS", "1"));
    }

    /// The browser's client, without a browser.
    fn client(&mut self) {
        let tests = "crates/session-process-axum/client/test/live.test.mjs";
        self.command("client in Node", Command::new("node").args(["--test", tests]));
    }

    fn documentation(&mut self) {
        self.command(
            "documentation",
            Command::new("cargo")
                .args([
                    "doc",
                    "--workspace",
                    "--no-deps",
                    "--all-features",
                    "--locked",
                    "--quiet",
                ])
                .env("RUSTDOCFLAGS", "-D warnings"),
        );
    }

    fn command(&mut self, name: &str, command: &mut Command) {
        self.run(name, || match command.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(format!("cargo could not be run: {error}")),
        });
    }

    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<(), String>) {
        println!("\n==> {name}");
        let begun = Instant::now();
        let result = step();
        if let Err(wrong) = &result {
            eprintln!("{name}: {wrong}");
        }
        self.done.push((name.to_owned(), begun.elapsed(), result));
    }

    fn summary(self) -> Result<(), String> {
        println!("\n==> summary");
        for (name, took, result) in &self.done {
            let verdict = if result.is_ok() { "ok    " } else { "FAILED" };
            println!("{verdict} {:6.1} s  {name}", took.as_secs_f64());
        }
        let failed = self.done.iter().filter(|(_, _, result)| result.is_err()).count();
        // The line that a machine looks for.
        println!("steps: {} passed, {failed} failed", self.done.len() - failed);
        match failed {
            0 => Ok(()),
            failed => Err(format!("{failed} steps failed")),
        }
    }
}
