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
    postgresql()
}

/// The programs of a PostgreSQL server, which `testkit` starts as it needs. A missing one is an error, never a skipped
/// test.
fn postgresql() -> Result<(), String> {
    if std::env::var_os("DATABASE_URL").is_some() || has_postgresql() {
        return Ok(());
    }
    let by_hand = "the tests need the programs of a PostgreSQL server (initdb, pg_ctl, postgres): install them \
                   (`apt-get install postgresql` on Debian), or set DATABASE_URL to a server where databases may be \
                   created";
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root || !answers("apt-get", &["--version"]) {
        return Err(by_hand.to_owned());
    }
    // Debian makes and starts a cluster of the system's with the package, unless it is told not to.
    let settings = std::path::Path::new("/etc/postgresql-common");
    let told = std::fs::create_dir_all(settings).and_then(|()| {
        let file = settings.join("createcluster.conf");
        if file.exists() {
            Ok(())
        } else {
            std::fs::write(file, "create_main_cluster = false\n")
        }
    });
    told.map_err(|error| format!("{}: {error}", settings.display()))?;
    install("apt-get", &["update", "-q"])?;
    install(
        "apt-get",
        &[
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            "Dpkg::Options::=--force-confold",
            "postgresql",
        ],
    )?;
    if has_postgresql() {
        Ok(())
    } else {
        Err(by_hand.to_owned())
    }
}

/// Where `testkit` looks too.
fn has_postgresql() -> bool {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).chain(debian).collect();
    folders.iter().any(|folder| {
        ["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|program| folder.join(program).is_file())
    })
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
