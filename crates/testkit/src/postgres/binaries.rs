//! Where the server's programs are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folder with `initdb`, `pg_ctl` and `postgres`: from `PATH`, or the newest of Debian's.
pub(super) fn find() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    debian.sort();
    folders.extend(debian.into_iter().rev().map(|(_, folder)| folder));
    // Homebrew, Fedora.
    folders.extend(["/opt/homebrew/bin", "/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
    folders.into_iter().find(|folder| is_there(folder)).ok_or_else(|| {
        "its programs (initdb, pg_ctl, postgres) are neither in PATH nor in /usr/lib/postgresql; `cargo xtask test` \
         installs them on Debian as root, `apt-get install postgresql` by hand, or set DATABASE_URL to a server \
         where databases may be created"
            .to_owned()
    })
}

fn is_there(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}
