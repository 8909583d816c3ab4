//! Where the server's programs are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Whether the server's programs are on this machine.
#[must_use]
pub fn is_installed() -> bool {
    find().is_some()
}

/// The folder with `initdb`, `pg_ctl` and `postgres`: from `PATH`, or the newest of Debian's.
pub(crate) fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_in(env::split_paths(&path).collect(), Path::new("/usr/lib/postgresql"))
}

fn find_in(mut folders: Vec<PathBuf>, debian: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(debian).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    folders.extend(versions.into_iter().rev().map(|(_, folder)| folder));
    // Homebrew, Fedora.
    folders.extend(["/opt/homebrew/bin", "/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
    folders.into_iter().find(|folder| is_there(folder))
}

fn is_there(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for program in ["initdb", "pg_ctl", "postgres"] {
            fs::write(folder.join(program), "").unwrap();
        }
    }

    #[test]
    fn the_path_comes_first_and_then_the_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let (own, debian) = (root.path().join("own"), root.path().join("debian"));
        let found = || find_in(vec![own.clone()], &debian);
        assert_eq!(found(), None);
        for version in ["9", "15", "13"] {
            install(&debian.join(version).join("bin"));
        }
        assert_eq!(found(), Some(debian.join("15/bin")));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("postgres"), "").unwrap();
        assert_eq!(found(), Some(debian.join("15/bin")), "half an installation is none");
        install(&own);
        assert_eq!(found(), Some(own));
    }
}
