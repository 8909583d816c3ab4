//! The browser's client as npm packs it: it installs, is imported, and its types are what they say.

use std::{env, fs, path::Path, process::Command};

use serde_json::Value;

const CLIENT: &str = "crates/session-process-axum/client";

/// Packs the client, installs that in a folder of its own beside TypeScript, and uses both there.
pub(crate) fn check() -> Result<(), String> {
    let root = env::current_dir().map_err(|error| format!("no folder to work in: {error}"))?;
    let folder = root.join("target/npm-package");
    copy_user(&root.join(CLIENT).join("test/package"), &folder)?;
    // TypeScript, of the version and with the hash that the lock file says.
    npm(&folder, &["ci", "--prefer-offline", "--ignore-scripts"])?;
    let client = root.join(CLIENT);
    let client = client.to_str().ok_or("the path of this folder is no text")?;
    npm(&folder, &["pack", client, "--pack-destination", "."])?;
    let version = version(&root.join(CLIENT).join("package.json"))?;
    let tarball = format!("./session-process-live-{version}.tgz");
    npm(
        &folder,
        &[
            "install",
            "--no-save",
            "--no-package-lock",
            "--prefer-offline",
            "--ignore-scripts",
            &tarball,
        ],
    )?;
    run(Command::new("node")
        .args(["--test", "import.test.mjs"])
        .env("EXPECTED_VERSION", env!("CARGO_PKG_VERSION"))
        .env("EXPECTED_LICENSE", root.join("LICENSE"))
        .current_dir(&folder))?;
    let tsc = "node_modules/typescript/bin/tsc";
    run(Command::new("node").args([tsc, "--project", "."]).current_dir(&folder))
}

/// A copy of the package's user: what is installed must not lie among the sources.
fn copy_user(from: &Path, to: &Path) -> Result<(), String> {
    let copy = || {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        fs::create_dir_all(to)?;
        for file in fs::read_dir(from)? {
            let file = file?;
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
        Ok(())
    };
    copy().map_err(|error: std::io::Error| format!("{} could not be made: {error}", to.display()))
}

fn version(package: &Path) -> Result<String, String> {
    let text = fs::read_to_string(package).map_err(|error| format!("{}: {error}", package.display()))?;
    let package: Value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", package.display()))?;
    let version = package["version"]
        .as_str()
        .ok_or("the client's package has no version")?;
    Ok(version.to_owned())
}

fn npm(folder: &Path, args: &[&str]) -> Result<(), String> {
    let quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
    run(Command::new("npm").args(args).args(quiet).current_dir(folder))
}

fn run(command: &mut Command) -> Result<(), String> {
    let line = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{line}: {status}")),
        Err(error) => Err(format!("{line} could not be run: {error}")),
    }
}
