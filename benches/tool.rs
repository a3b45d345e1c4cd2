//! The load tool as it is used: with the bench server as a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests may fail")]

use std::process::{Command, Output};

/// Cargo puts both programs into the directory in which the tool looks for the server.
fn load(line: &str) -> Output {
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_bench-server")).is_file());
    Command::new(env!("CARGO_BIN_EXE_load"))
        .args(line.split(' '))
        .output()
        .unwrap()
}

fn succeeds(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn hostile_peers_are_cut_by_their_limits() {
    let line = "hostile --seconds 1 --rate 200 --connections 5 --case claims --case churn";
    let text = succeeds(&load(line));
    assert!(text.contains("| claims | yes |"), "{text}");
    assert!(text.contains("| churn | yes |"), "{text}");
    assert!(text.contains("closed protocol"), "{text}");
    let unknown = load("hostile --case kindness");
    assert!(!unknown.status.success());
}
