//! `cargo xtask scale`: very many connections, and what they cost.
//!
//! A process may have only so many files open, so there are several servers and as many processes
//! that hold connections to one of them each.

mod hold;
mod report;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};

use crate::run::Error;
use crate::run::args::{self, Target};
use crate::run::counters::Counters;
use crate::run::process::{self, BenchServer, Meter, Window};

pub(crate) use hold::hold;

use hold::{Held, Holder};
use report::Report;

const USAGE: &str = "\
usage: cargo xtask scale [OPTIONS]

Starts bench servers and processes that hold connections to them, all bound to
a uid and sending heartbeats, and tells what they cost. Fails unless every
connection stays.

  --connections N   in all; default 100000
  --per-process N   at most so many in a process; default 18000, or what the
                    limit of open files allows
  --seconds S       held and measured; default 60
  --settle S        before that; default 10
  --heartbeat S     interval; default 30
  --sources N       source addresses 127.0.0.1 and up; default 64
  --ws              over WebSocket
  --workers N       threads of each bench server; default 1
  --json FILE       the figures
  --markdown FILE   the table";

/// Files that a process needs besides its connections.
const OTHER_FILES: u64 = 500;

#[derive(Debug)]
struct Options {
    connections: usize,
    per_process: usize,
    hold: Duration,
    settle: Duration,
    heartbeat: u32,
    sources: u16,
    websocket: bool,
    workers: u32,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
}

/// Memory in bytes at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Of the servers: resident, and proportional.
    resident: u64,
    proportional: u64,
    /// Of the processes that hold the other ends.
    holders: u64,
    /// Of the kernel: slabs, and what sockets have queued.
    slab: u64,
    sockets: u64,
    available: u64,
}

/// What a run came to.
#[derive(Debug)]
struct Outcome {
    processes: usize,
    connecting: Duration,
    before: Memory,
    after: Memory,
    servers: Window,
    heartbeats: u64,
    lost: u64,
    /// As the servers count them at the end of the held time.
    sessions: u64,
    bound: u64,
}

/// Runs the command whose arguments these are.
pub(crate) fn main(args: lexopt::Parser) -> Result<(), Error> {
    let Some(options) = parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let outcome = run(&options)?;
    let report = Report::new(&options, &outcome);
    print!("{report}");
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, report.to_string())?;
    }
    let all = options.connections as u64;
    let there = outcome.sessions.min(outcome.bound);
    match outcome.lost.max(all.saturating_sub(there)) {
        0 => Ok(()),
        gone => Err(Error::Gone(gone)),
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Option<Options>, Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};

    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let files = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let mut options = Options {
        connections: 100_000,
        per_process: files.min(18_000),
        hold: Duration::from_secs(60),
        settle: Duration::from_secs(10),
        heartbeat: 30,
        sources: 64,
        websocket: false,
        workers: 1,
        json: None,
        markdown: None,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("connections") => options.connections = args.value()?.parse()?,
            Long("per-process") => options.per_process = args.value()?.parse()?,
            Long("seconds") => options.hold = args::seconds(args.value()?.parse()?)?,
            Long("settle") => options.settle = args::seconds(args.value()?.parse()?)?,
            Long("heartbeat") => options.heartbeat = args.value()?.parse()?,
            Long("sources") => options.sources = args.value()?.parse()?,
            Long("ws") => options.websocket = true,
            Long("workers") => options.workers = args.value()?.parse()?,
            Long("json") => options.json = Some(args.value()?.into()),
            Long("markdown") => options.markdown = Some(args.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let zero = options.connections == 0
        || options.per_process == 0
        || options.sources == 0
        || options.workers == 0
        || options.heartbeat == 0
        || options.hold.is_zero();
    if zero {
        let why = "only --settle may be 0";
        return Err(Error::Command(why.to_owned(), USAGE));
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<Outcome, Error> {
    let processes = options.connections.div_ceil(options.per_process);
    let servers = servers(options, processes)?;
    let pids: Vec<_> = servers.iter().map(BenchServer::pid).collect();
    let before = memory(&pids, &[])?;
    let begun = Instant::now();
    let mut holders = Vec::new();
    for (server, connections) in servers.iter().zip(shares(options.connections, processes)) {
        let target = Target {
            address: server.address,
            websocket: options.websocket,
            path: "/".to_owned(),
        };
        holders.push(Holder::start(&target, connections, options.sources)?);
    }
    for holder in &mut holders {
        holder.answer()?;
    }
    let connecting = begun.elapsed();
    eprintln!(
        "{} connections in {processes} servers after {:.1} s",
        options.connections,
        connecting.as_secs_f64()
    );
    pause(options.settle);
    let earlier = ask(&mut holders)?;
    let meter = Meter::start(&pids)?;
    pause(options.hold);
    let window = meter.stop()?;
    let later = ask(&mut holders)?;
    let holding: Vec<_> = holders.iter().map(Holder::pid).collect();
    let after = memory(&pids, &holding)?;
    let (mut sessions, mut bound) = (0, 0);
    for server in &servers {
        let counters = Counters::read(server.metrics.ok_or(Error::Holder)?)?;
        sessions += counters.of("pomelo_sessions");
        bound += counters.of("pomelo_sessions_bound");
    }
    Ok(Outcome {
        processes,
        connecting,
        before,
        after,
        servers: window,
        heartbeats: later.heartbeats.saturating_sub(earlier.heartbeats),
        lost: later.lost,
        sessions,
        bound,
    })
}

fn servers(options: &Options, processes: usize) -> Result<Vec<BenchServer>, Error> {
    let args: Vec<_> = [
        "--limited".to_owned(),
        "--admin".to_owned(),
        "--heartbeat".to_owned(),
        options.heartbeat.to_string(),
        "--workers".to_owned(),
        options.workers.to_string(),
    ]
    .into();
    (0..processes).map(|_| BenchServer::start(&args)).collect()
}

/// How many connections each of the processes has.
fn shares(connections: usize, processes: usize) -> impl Iterator<Item = usize> {
    let (each, rest) = (connections / processes, connections % processes);
    (0..processes).map(move |place| each + usize::from(place < rest))
}

/// What all holders have to say together.
fn ask(holders: &mut [Holder]) -> Result<Held, Error> {
    for holder in &mut *holders {
        holder.ask()?;
    }
    let mut all = Held::default();
    for holder in holders {
        let held = holder.answer()?;
        all.lost += held.lost;
        all.heartbeats += held.heartbeats;
    }
    Ok(all)
}

fn memory(servers: &[u32], holders: &[u32]) -> Result<Memory, Error> {
    Ok(Memory {
        resident: process::resident(servers)?.unwrap_or_default(),
        proportional: process::proportional(servers)?,
        holders: process::resident(holders)?.unwrap_or_default(),
        slab: process::meminfo("Slab:")?,
        sockets: process::socket_memory()?,
        available: process::meminfo("MemAvailable:")?,
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread that keeps a pace, not a task"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_out() {
        assert_eq!(shares(100_000, 6).sum::<usize>(), 100_000);
        assert_eq!(shares(7, 3).collect::<Vec<_>>(), [3, 2, 2]);
        assert_eq!(shares(1, 1).collect::<Vec<_>>(), [1]);
    }
}
