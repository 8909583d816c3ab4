//! Running another process: this program once more, or the other binary.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The hidden subcommand of a child that measures one thing and prints a number.
pub const MEASURE: &str = "measure";

/// Runs this program again as a child with the arguments `what`, and returns the number that it prints.
///
/// # Panics
/// If the child fails.
#[must_use]
pub fn measure(what: &[&str]) -> f64 {
    let this = env::current_exe().expect("the path of this program");
    let printed = output(Command::new(this).arg(MEASURE).args(what));
    printed.trim().parse().expect("the child prints a number")
}

/// The binary `name` of this package, where it was built beside this one.
///
/// `cargo run` builds one binary only; started by it, this has cargo see to the other one as well.
#[must_use]
pub fn sibling(name: &str) -> Option<PathBuf> {
    if let Some(cargo) = env::var_os("CARGO") {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        output(Command::new(cargo).args([
            "build",
            "--quiet",
            "--package",
            "bench",
            "--bin",
            name,
            "--profile",
            profile,
        ]));
    }
    let path = env::current_exe().ok()?.with_file_name(name);
    path.exists().then_some(path)
}

/// Runs `command` to its end and returns what it printed.
///
/// # Panics
/// If it fails.
pub fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("the child starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("the child prints text")
}
