//! `cargo xtask soak`: whether anything stays behind.
//!
//! A server gets all kinds of load at once, then everybody goes, and its own counters must be
//! zero again; that several times, and its memory must not grow from one time to the next.

mod actors;
mod report;

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::run::Error;
use crate::run::args::{self, Target};
use crate::run::counters::Counters;
use crate::run::hostile::apart::Apart;
use crate::run::hostile::attack::{Attack, Group};
use crate::run::hostile::cases;
use crate::run::process::{BenchServer, resident};

use actors::{Crowd, Lives};
use report::Report;

const USAGE: &str = "\
usage: cargo xtask soak [OPTIONS]

Starts the bench server and lets clients over TCP and WebSocket connect, bind,
join, ask, talk to all, push, kick, leave and break off, hostile peers beside
them; then all of them go. Fails unless the server's sessions, bindings,
connections, channel members, running requests and queues are zero then, or if
its memory grows from the first half of these rounds to the second, which is
judged from four rounds on.

  --minutes M      of load; default 10
  --seconds S      the same in seconds
  --rounds N       the time is divided among these, at least 2; default 20
  --clients N      at the same time; default 300
  --workers N      threads of the bench server
  --seed N         of the clients' choices; default 1
  --json FILE      the figures";

/// After a round, until the server has seen all of its connections end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of each of the groups of `load hostile`, one peer out of so many.
const FEWER: usize = 10;

/// glibc is told to give memory back, in return for speed: otherwise what it keeps for the next
/// peak hides what the server keeps. Other allocators do not know these variables.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

const PREFIX: &str = "connector.entryHandler";

/// What must be zero when everybody is gone, and its name in the table.
const ZEROS: [(&str, &str); 7] = [
    ("pomelo_sessions", "sessions"),
    ("pomelo_sessions_bound", "bound"),
    ("pomelo_connections", "connections"),
    ("pomelo_channel_members", "members"),
    ("pomelo_requests_running", "running"),
    ("pomelo_queue_frames", "frames"),
    ("pomelo_queue_bytes", "bytes"),
];

#[derive(Debug)]
struct Options {
    time: Duration,
    rounds: u32,
    clients: usize,
    workers: Option<u32>,
    seed: u64,
    json: Option<PathBuf>,
}

/// What a round came to.
#[derive(Debug)]
struct Round {
    lives: [Lives; 2],
    hostile: u64,
    /// The most that was there meanwhile, and what is left of it, as in [`ZEROS`].
    most: [u64; ZEROS.len()],
    left: [u64; ZEROS.len()],
    /// The server's memory in bytes when all were gone.
    resident: u64,
}

/// Runs the command whose arguments these are.
pub(crate) fn main(args: lexopt::Parser) -> Result<(), Error> {
    let Some(options) = parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let mut args: Vec<_> = ["--limited", "--admin", "--heartbeat", "3"]
        .map(str::to_owned)
        .into();
    if let Some(workers) = options.workers {
        args.extend(["--workers".to_owned(), workers.to_string()]);
    }
    let server = BenchServer::start_in(&args, &ALLOCATOR)?;
    let begin = memory(&server)?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds {
        let round = round(&server, &options, u64::from(number))?;
        eprintln!("{}", report::line(number, &round));
        rounds.push(round);
    }
    let report = Report::new(&options, begin, &rounds);
    print!("{report}");
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if report.failed() {
        return Err(Error::Soaked);
    }
    Ok(())
}

fn parse(mut args: lexopt::Parser) -> Result<Option<Options>, Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};

    let mut options = Options {
        time: Duration::from_mins(10),
        rounds: 20,
        clients: 300,
        workers: None,
        seed: 1,
        json: None,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("minutes") => {
                let minutes: f64 = args.value()?.parse()?;
                options.time = args::seconds(minutes * 60.0)?;
            }
            Long("seconds") => options.time = args::seconds(args.value()?.parse()?)?,
            Long("rounds") => options.rounds = args.value()?.parse()?,
            Long("clients") => options.clients = args.value()?.parse()?,
            Long("workers") => options.workers = Some(args.value()?.parse()?),
            Long("seed") => options.seed = args.value()?.parse()?,
            Long("json") => options.json = Some(args.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if options.rounds < 2 || options.clients < 2 || options.time.is_zero() {
        let why = "--rounds and --clients are at least 2, --minutes and --seconds above 0";
        return Err(Error::Command(why.to_owned(), USAGE));
    }
    Ok(Some(options))
}

fn round(server: &BenchServer, options: &Options, number: u64) -> Result<Round, Error> {
    let metrics = server.metrics.ok_or(Error::Stalled)?;
    let until = Instant::now() + options.time / options.rounds;
    let crowds = [false, true].map(|websocket| Crowd {
        target: Target {
            address: server.address,
            websocket,
            path: "/".to_owned(),
        },
        size: options.clients / 2,
        prefix: PREFIX.to_owned(),
        seed: options.seed + 2 * number + u64::from(websocket),
    });
    let attack = Attack::start(server.address, hostile()?, Duration::ZERO, Apart::default());
    let mut most = [0; ZEROS.len()];
    let lives = thread::scope(|scope| {
        let living = crowds
            .each_ref()
            .map(|crowd| scope.spawn(move || actors::live(crowd, until)));
        while living.iter().any(|thread| !thread.is_finished()) {
            most = highest(most, zeros(&Counters::read(metrics)?));
            pause(Duration::from_millis(200));
        }
        let [tcp, websocket] = living.map(|thread| match thread.join() {
            Ok(lives) => lives,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        Ok::<_, Error>([tcp?, websocket?])
    })?;
    let hostile = attack.finish()?.opened;
    let patience = Instant::now() + PATIENCE;
    let left = loop {
        let left = zeros(&Counters::read(metrics)?);
        if left == [0; ZEROS.len()] || Instant::now() >= patience {
            break left;
        }
        pause(Duration::from_millis(50));
    };
    Ok(Round {
        lives,
        hostile,
        most,
        left,
        resident: memory(server)?,
    })
}

/// A few of everything there is, except those whose only point is to fill the machine.
fn hostile() -> Result<Vec<Group>, Error> {
    let cases = cases::all(PREFIX, false)?;
    let groups = cases.into_iter().flat_map(|case| case.groups);
    Ok(groups
        .map(|group| Group {
            count: group.count.div_ceil(FEWER),
            ..group
        })
        .collect())
}

fn memory(server: &BenchServer) -> Result<u64, Error> {
    Ok(resident(&[server.pid()])?.unwrap_or_default())
}

fn zeros(counters: &Counters) -> [u64; ZEROS.len()] {
    ZEROS.map(|(name, _)| counters.of(name))
}

fn highest(a: [u64; ZEROS.len()], b: [u64; ZEROS.len()]) -> [u64; ZEROS.len()] {
    let mut pairs = a.into_iter().zip(b);
    [(); ZEROS.len()].map(|()| pairs.next().map_or(0, |(a, b)| a.max(b)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread that keeps a pace, not a task"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}
