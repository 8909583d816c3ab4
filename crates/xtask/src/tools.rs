//! Tools that the steps need: found, or installed, or an error that names the fix.

use std::process::{Command, Stdio};

/// Makes sure that rustfmt, clippy and cargo-nextest answer.
pub(crate) fn make_sure_of_all() -> Result<(), String> {
    for (component, args) in [("rustfmt", ["fmt", "--version"]), ("clippy", ["clippy", "--version"])] {
        if !answers("cargo", &args) {
            install("rustup", &["component", "add", component])?;
        }
    }
    if !answers("cargo", &["nextest", "--version"]) {
        install("cargo", &["install", "--locked", "cargo-nextest"])?;
    }
    Ok(())
}

fn answers(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn install(program: &str, args: &[&str]) -> Result<(), String> {
    let line = format!("{program} {}", args.join(" "));
    println!("xtask: installing: {line}");
    match Command::new(program).args(args).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(format!(
            "`{line}` failed; the tests need it: run it by hand and see what it says"
        )),
        Err(error) => Err(format!("`{line}` could not be run ({error}); install {program} first")),
    }
}
