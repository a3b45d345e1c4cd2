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
    let line = "hostile --ws --seconds 1 --rate 200 --connections 5 --case pings";
    let text = succeeds(&load(line));
    assert!(text.contains("| pings | yes |"), "{text}");
    assert!(text.contains("throttled"), "{text}");
    let unknown = load("hostile --case kindness");
    assert!(!unknown.status.success());
}

#[test]
fn nothing_stays_behind() {
    let text = succeeds(&load("soak --seconds 5 --rounds 2 --clients 60"));
    let row = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    // Of each there was something, so that zero means something.
    for name in [
        "| sessions |",
        "| bound |",
        "| connections |",
        "| members |",
    ] {
        assert!(row(name).ends_with(" | 0 |"), "{text}");
        assert!(!row(name).contains(" | 0 | 0 |"), "{text}");
    }
    for none in [
        " 0 answers",
        " 0 pushes",
        " 0 closed",
        " 0 reset",
        " 0 kicked",
        " 0 hostile",
    ] {
        assert!(!text.contains(none), "{text}");
    }
}

#[test]
fn connections_are_held_by_several_processes() {
    let line = "scale --connections 100 --per-process 40 --seconds 2 --settle 0 --heartbeat 1";
    let text = succeeds(&load(line));
    assert!(text.contains("to 3 server processes"), "{text}");
    assert!(text.contains("100 sessions, 100 bound, 0 lost"), "{text}");
    assert!(!text.contains("| heartbeats | 0 in"), "{text}");
}
