//! Programs of this machine that some rows need. Looked for before anything is measured: minutes of figures must not be lost
//! at the row that finds one missing.

use std::env;

/// A program, and how to come by it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    name: &'static str,
    package: &'static str,
    is_there: fn(&str) -> bool,
}

impl Part {
    /// The programs of the server.
    #[cfg(unix)]
    pub const POSTGRESQL: Self = Self {
        name: "PostgreSQL's programs",
        package: "postgresql",
        is_there: |_| private_postgres::is_installed(),
    };

    /// The server that tower-sessions' Redis store asks.
    pub const REDIS: Self = Self {
        name: "redis-server",
        package: "redis-server",
        is_there: on_path,
    };

    /// What asks a route over many connections.
    pub const WRK: Self = Self {
        name: "wrk",
        package: "wrk",
        is_there: on_path,
    };
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What to say of those that are missing.
///
/// # Errors
/// Names each once, with what installs it.
pub fn check(parts: impl IntoIterator<Item = Part>) -> Result<(), String> {
    let mut missing: Vec<Part> = Vec::new();
    for part in parts {
        let is_named = missing.iter().any(|named| named.name == part.name);
        if !is_named && !(part.is_there)(part.name) {
            missing.push(part);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = |of: fn(&Part) -> &'static str, between| missing.iter().map(of).collect::<Vec<_>>().join(between);
    Err(format!(
        "missing for these rows: {}. Install it with `apt-get install {}`, or choose other rows by `--only`.",
        list(|part| part.name, ", "),
        list(|part| part.package, " ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_missing_is_named_once_with_the_way_to_it() {
        let missing = Part {
            name: "no-such-program",
            package: "no-such-package",
            is_there: on_path,
        };
        let there = Part { name: "sh", ..missing };
        assert_eq!(check([there]), Ok(()));
        let said = check([missing, there, missing]).unwrap_err();
        assert_eq!(said.matches("no-such-program").count(), 1, "{said}");
        assert!(said.contains("apt-get install no-such-package`"), "{said}");
    }
}
