//! The bare servers answer every route of the load tool, over TCP and WebSocket.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// A server on a free port; dropped, it is gone.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        Self {
            address: address.to_owned(),
            child,
        }
    }

    fn load(&self, scheme: &str, arguments: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(arguments)
            .args(["--url", &format!("{scheme}://{}", self.address)])
            .args(["--pid", &self.child.id().to_string()])
            .args(["--seconds", "0.1", "--warmup", "0"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert!(!text.contains("lost"), "{text}");
        assert!(!text.contains("not answered"), "{text}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

fn answers_everything(program: &str, arguments: &[&str]) {
    let server = Server::start(program, arguments);
    for scheme in ["tcp", "ws"] {
        for load in [
            &["requests", "--connections", "3", "--depth", "4"][..],
            &[
                "requests",
                "--method",
                "raw",
                "--size",
                "100000",
                "--connections",
                "2",
            ],
            &["requests", "--rate", "500", "--stalled", "1"],
            &["fanout", "--connections", "5", "--depth", "3"],
            &["fanout", "--connections", "2", "--size", "500000"],
            &["storm", "--connections", "3"],
            &["idle", "--connections", "3"],
        ] {
            server.load(scheme, load);
        }
    }
}

#[test]
fn on_epoll() {
    answers_everything(env!("CARGO_BIN_EXE_bare-epoll"), &[]);
    answers_everything(env!("CARGO_BIN_EXE_bare-epoll"), &["--gather"]);
}

#[test]
fn on_tokio() {
    answers_everything(env!("CARGO_BIN_EXE_bare-tokio"), &[]);
    answers_everything(env!("CARGO_BIN_EXE_bare-tokio"), &["--gather"]);
}
