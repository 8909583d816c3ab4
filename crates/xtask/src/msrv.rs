//! The minimum Rust version that the manifests state, checked without that toolchain.
//!
//! Our own code: clippy's `incompatible_msrv` (a workspace lint) knows since when each item of the standard library
//! is stable. Our users' build: no dependency of a published crate may ask for a newer Rust than we state.

use std::process::Command;

use serde_json::Value;

const PUBLISHED: [&str; 5] = [
    "session-process",
    "session-process-axum",
    "session-process-postgres",
    "session-process-sqlite",
    "session-process-tower-sessions",
];

pub(crate) fn check() -> Result<(), String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--locked", "--all-features"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = list(&metadata["packages"]);
    let nodes = list(&metadata["resolve"]["nodes"]);
    let package = |id: &Value| packages.iter().find(|package| package["id"] == *id);

    let mut reached: Vec<&Value> = packages
        .iter()
        .filter(|package| PUBLISHED.iter().any(|name| package["name"] == *name))
        .collect();
    let ours = reached
        .first()
        .and_then(|package| version(package))
        .ok_or("our manifests state no rust-version")?;
    let mut next = 0;
    while let Some(current) = reached.get(next).copied() {
        next += 1;
        let Some(node) = nodes.iter().find(|node| node["id"] == current["id"]) else {
            continue;
        };
        for dependency in list(&node["deps"]) {
            // `null` is a normal dependency; those of tests and build scripts are not our users'.
            let normal = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            if let Some(found) = package(&dependency["pkg"]).filter(|_| normal)
                && !reached.iter().any(|known| known["id"] == found["id"])
            {
                reached.push(found);
            }
        }
    }
    let newer: Vec<String> = reached
        .iter()
        .filter(|package| version(package).is_some_and(|theirs| theirs > ours))
        .map(|package| format!("{} needs Rust {}", package["name"], package["rust_version"]))
        .collect();
    if newer.is_empty() {
        println!(
            "Rust {}.{} is enough for all {} crates that our users build",
            ours.0,
            ours.1,
            reached.len()
        );
        Ok(())
    } else {
        Err(format!(
            "more than our rust-version {}.{}: {}",
            ours.0,
            ours.1,
            newer.join(", ")
        ))
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn version(package: &Value) -> Option<(u32, u32)> {
    let mut parts = package["rust_version"].as_str()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
