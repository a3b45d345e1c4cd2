//! `chat serve` and `chat talk` as people start them, on pipes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// No line takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program with some arguments; killed at the end of the test.
struct Chat {
    process: Child,
    lines: Receiver<String>,
}

impl Chat {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_chat"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines() {
                // A test that has seen enough listens no longer.
                let _ = sender.send(line.unwrap());
            }
        });
        Self { process, lines }
    }

    /// The servers, and the address of their gate over one of the transports.
    fn serve(scheme: &str) -> (Self, String) {
        let servers = Self::start(&["serve", "--free-ports"]);
        let gate = loop {
            let line = servers.line();
            if line.starts_with("gate-server-1 ") {
                let (_, port) = line.rsplit_once(':').expect("an address");
                break format!("{scheme}://127.0.0.1:{port}");
            }
        };
        (servers, gate)
    }

    fn talk(name: &str, room: &str, gate: &str) -> Self {
        Self::start(&["talk", name, room, "--gate", gate])
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    fn says(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.line(), *line);
        }
    }

    fn hear(&mut self, input: &[u8]) {
        self.process
            .stdin
            .as_mut()
            .unwrap()
            .write_all(input)
            .unwrap();
    }

    /// Ends the input; returns whether all went well, the rest of the output, and the errors.
    fn end(mut self) -> (bool, Vec<String>, String) {
        drop(self.process.stdin.take());
        let rest = self.lines.iter().collect();
        let mut errors = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        (self.process.wait().unwrap().success(), rest, errors)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn lines_arrive_in_the_order_they_were_typed() {
    let (_servers, gate) = Chat::serve("ws");
    let bob = Chat::talk("bob", "lobby", &gate);
    bob.says(&["* bob entered lobby; here are: bob"]);
    let mut ann = Chat::talk("ann", "lobby", &gate);
    ann.hear("hi 😀\n@bob psst\n@carl hey\n/dance\ncaf\u{e9}\r\n".as_bytes());
    ann.hear(b"caf\xe9\n");
    ann.hear(&[b'x'; 5000]);
    ann.hear(b"\n@ann note\nno line end");
    let (well, mut said, errors) = ann.end();
    assert!(well, "{errors}");

    // What is wrong is told at once, the rest when it has arrived.
    let problems: Vec<_> = said.extract_if(.., |line| line.starts_with('!')).collect();
    assert_eq!(
        problems,
        [
            "! nobody here is called \"carl\"",
            "! there is no /dance, only /quit",
            "! a line of 5000 bytes is too long and not sent, 4096 are allowed",
        ]
    );
    let greeting = said.remove(0);
    assert!(greeting.starts_with("* ann entered lobby; here are: "));
    assert_eq!(
        said,
        [
            "ann: hi 😀",
            "ann -> bob: psst",
            "ann: café",
            "ann: caf\u{fffd}",
            "ann -> ann: note",
            "ann: no line end",
        ]
    );
    bob.says(&[
        "* ann entered",
        "ann: hi 😀",
        "ann -> bob: psst",
        "ann: café",
        "ann: caf\u{fffd}",
        "ann: no line end",
        "* ann left",
    ]);
}

#[test]
fn a_name_is_taken_once_in_a_room() {
    let (_servers, gate) = Chat::serve("tcp");
    let bob = Chat::talk("bob", "lobby", &gate);
    bob.says(&["* bob entered lobby; here are: bob"]);
    let (well, _, errors) = Chat::talk("bob", "lobby", &gate).end();
    assert!(!well);
    assert_eq!(
        errors,
        "error: the name bob is taken in the room lobby, choose another\n"
    );
    let (well, output, errors) = Chat::talk("bob", "attic", &gate).end();
    assert!(well, "{errors}");
    assert_eq!(output, ["* bob entered attic; here are: bob"]);
}

#[test]
#[cfg(unix)]
fn an_interrupt_stops_the_servers_in_good_order() {
    let (servers, gate) = Chat::serve("tcp");
    let mut bob = Chat::talk("bob", "lobby", &gate);
    bob.says(&["* bob entered lobby; here are: bob"]);
    // Held, since `wait` would end the input, and with it the chat.
    let input = bob.process.stdin.take();
    let process = servers.process.id().to_string();
    let kill = Command::new("kill").args(["-INT", &process]).status();
    assert!(kill.unwrap().success());

    assert!(!bob.process.wait().unwrap().success());
    drop(input);
    let (_, _, errors) = bob.end();
    let lost = "error: the connection is lost\n  because: kicked: server stop\n";
    assert_eq!(errors, lost);
    let (well, output, _) = servers.end();
    assert!(well);
    assert_eq!(output.last().unwrap(), "stopped");
}

#[test]
fn mistakes_are_told_in_words() {
    let (_servers, gate) = Chat::serve("tcp");
    // Its gate would get the port that the gate of the first has.
    let port: u16 = gate.rsplit(':').next().unwrap().parse().unwrap();
    let offset = port.checked_sub(3014).unwrap().to_string();
    let (well, _, errors) = Chat::start(&["serve", "--port-offset", &offset]).end();
    assert!(!well);
    assert!(errors.contains("is the chat running already?"), "{errors}");

    let (well, _, errors) = Chat::start(&["serve", "--nope"]).end();
    assert!(!well);
    assert_eq!(
        errors,
        "error: bad arguments\n  because: invalid option '--nope'\n"
    );
}
