//! Connections that are held by a process of their own, since a process may have only so many.

use std::io::{self, BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, str};

use crate::run::args::{Options, Scenario, Target};
use crate::run::fleet::{Fleet, Happening};
use crate::run::{Error, scenario};

/// How often somebody who asks is looked for.
const TURN: Duration = Duration::from_millis(50);

/// What a holder says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) lost: u64,
    pub(crate) heartbeats: u64,
}

/// `load hold --url URL --connections N --sources N`: connects and binds, says so, and then answers
/// each line of its input with what it holds, until the input ends.
pub(crate) fn hold(args: lexopt::Parser) -> Result<(), Error> {
    let Some(options) = Options::parse(Scenario::Idle.name(), args)? else {
        return Ok(());
    };
    let target = options.target.clone();
    let target = target.ok_or_else(|| Error::Usage("--url is missing".to_owned()))?;
    let mut fleet = Fleet::new(target, options.sources)?;
    scenario::connect(&mut fleet, &options)?;
    let mut held = Held::default();
    tell(held)?;
    let questions = lines();
    loop {
        fleet.turn(Instant::now() + TURN, |_, _, happening| {
            held.lost += u64::from(matches!(happening, Happening::Lost(_)));
            Ok(())
        })?;
        match questions.try_recv() {
            Ok(()) => {
                held.heartbeats = fleet.heartbeats();
                tell(held)?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

fn tell(held: Held) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} {}", held.lost, held.heartbeats)?;
    out.flush()
}

/// Something for each line of the input; it ends with the input.
fn lines() -> mpsc::Receiver<()> {
    let (asked, questions) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines() {
            if line.is_err() || asked.send(()).is_err() {
                break;
            }
        }
    });
    questions
}

/// Such a process, ended when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    child: Child,
    /// Closed, it tells the process to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    /// Begins to connect; the first answer to [`answer`](Self::answer) comes when all are bound.
    pub(crate) fn start(target: &Target, connections: usize, sources: u16) -> Result<Self, Error> {
        let mut child = Command::new(env::current_exe()?)
            .args(["hold", "--url", &target.url()])
            .args(["--connections", &connections.to_string()])
            .args(["--sources", &sources.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(Error::Holder)?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ask(&mut self) -> Result<(), Error> {
        let stdin = self.stdin.as_mut().ok_or(Error::Holder)?;
        stdin.write_all(b"\n").map_err(|_| Error::Holder)
    }

    pub(crate) fn answer(&mut self) -> Result<Held, Error> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        parse(&line).ok_or(Error::Holder)
    }
}

fn parse(line: &str) -> Option<Held> {
    let (lost, heartbeats) = line.trim().split_once(' ')?;
    Some(Held {
        lost: lost.parse().ok()?,
        heartbeats: heartbeats.parse().ok()?,
    })
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("a holder of connections cannot be ended: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let held = Held {
            lost: 3,
            heartbeats: 70_000,
        };
        assert_eq!(parse("3 70000\n"), Some(held));
        assert_eq!(parse(""), None);
    }
}
