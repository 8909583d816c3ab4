//! Tools that the steps need: found, or installed, or an error that names the fix.

use std::process::{Command, Stdio};

/// Makes sure that rustfmt, clippy, cargo-nextest, a PostgreSQL server, PgBouncer, Node, npm and a browser are there.
pub(crate) fn make_sure_of_all() -> Result<(), String> {
    for (component, args) in [("rustfmt", ["fmt", "--version"]), ("clippy", ["clippy", "--version"])] {
        if !answers("cargo", &args) {
            install("rustup", &["component", "add", component])?;
        }
    }
    if !answers("cargo", &["nextest", "--version"]) {
        install("cargo", &["install", "--locked", "cargo-nextest"])?;
    }
    postgresql()?;
    pgbouncer()?;
    node()?;
    npm()?;
    browser()
}

/// For the tests of the browser's client. Node's own test runner is all they need.
fn node() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output();
    let version = version.ok().and_then(|version| String::from_utf8(version.stdout).ok());
    let major = version
        .as_deref()
        .and_then(|text| text.trim().strip_prefix('v')?.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(20..) => Ok(()),
        Some(old) => Err(format!("the tests of the browser's client need Node 20 or newer, and this is {old}: install it from https://nodejs.org")),
        None => Err("the tests of the browser's client need `node`, version 20 or newer: install it (`apt-get install nodejs` on Debian 13, or from https://nodejs.org)".to_owned()),
    }
}

/// For the client as a package, and TypeScript to check its types with.
fn npm() -> Result<(), String> {
    if answers("npm", &["--version"]) {
        return Ok(());
    }
    Err("the browser's client is packed and installed with `npm`: install it (it comes with Node from https://nodejs.org; `apt-get install npm` on Debian)".to_owned())
}

/// Chromium and its driver, for the tests of the shop in a browser. A missing one is an error, never a skipped test.
fn browser() -> Result<(), String> {
    let is_there = || {
        answers("chromedriver", &["--version"])
            && (answers("chromium", &["--version"]) || answers("google-chrome", &["--version"]))
    };
    if is_there() {
        return Ok(());
    }
    let by_hand = "the tests in a browser need `chromium` and `chromedriver`: install them (`apt-get install chromium chromium-driver` on Debian)";
    if !may_install() {
        return Err(by_hand.to_owned());
    }
    install("apt-get", &["update", "-q"])?;
    install(
        "apt-get",
        &[
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "chromium",
            "chromium-driver",
        ],
    )?;
    if is_there() { Ok(()) } else { Err(by_hand.to_owned()) }
}

/// Root on Debian or the like.
fn may_install() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    root && answers("apt-get", &["--version"])
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
    if !may_install() {
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

/// The pooler that PostgreSQL is reached through in some tests, which `testkit` starts as they need it.
fn pgbouncer() -> Result<(), String> {
    // Where `testkit` looks too: Debian's folder is not in everybody's path.
    let is_there = || {
        ["pgbouncer", "/usr/sbin/pgbouncer"]
            .iter()
            .any(|program| answers(program, &["--version"]))
    };
    if is_there() {
        return Ok(());
    }
    let by_hand = "the tests need `pgbouncer`: install it (`apt-get install pgbouncer` on Debian)";
    if !may_install() {
        return Err(by_hand.to_owned());
    }
    install("apt-get", &["update", "-q"])?;
    install(
        "apt-get",
        &["install", "-q", "-y", "--no-install-recommends", "pgbouncer"],
    )?;
    if is_there() { Ok(()) } else { Err(by_hand.to_owned()) }
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
