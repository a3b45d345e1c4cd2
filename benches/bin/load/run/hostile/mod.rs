//! `cargo xtask load hostile`: what hostile peers do to a server, and to those who play by the
//! rules beside them.

pub(crate) mod attack;
pub(crate) mod cases;
mod report;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::run::args::{self, Options as Healthy, Scenario, Target};
use crate::run::counters::Counters;
use crate::run::fleet::{Fleet, Happening};
use crate::run::process::{self, BenchServer, Priority};
use crate::run::{Error, scenario};

use attack::{Attack, Tally};
use cases::Case;
use report::{Outcome, Report};

const USAGE: &str = "\
usage: cargo xtask load hostile [OPTIONS]

Starts the bench server for each case, with the limits it ships with and a
heartbeat of 3 s, puts requests on a schedule on it, and then hostile peers
beside them.

  --case NAME        only this one; may be given several times
  --list             the cases, and ends
  --seconds S        undisturbed, and as long beside hostile peers; default 4
  --rounds N         of both, alternating; medians are told; default 1
  --connections N    that play by the rules; default 50
  --rate R           their requests each second; default 2000
  --ws               all over WebSocket, as far as a case is not about TCP
  --workers N        threads of the bench server
  --json FILE        the figures

Fails if a server does not survive, grows by more than 32 MiB, or does not stop
the peers by the limit that is there for it.";

/// The connections of a case go on for so long after it, unless the server ends them: longer than
/// its longest limit, the 10 s for a handshake.
const GRACE: Duration = Duration::from_secs(12);

/// Before a case: caches fill, buffers find their sizes.
const WARMUP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Options {
    cases: Vec<String>,
    rounds: usize,
    workers: Option<u32>,
    websocket: bool,
    rate: u32,
    healthy: Healthy,
    json: Option<PathBuf>,
}

/// Runs the command whose arguments these are.
pub(crate) fn main(args: lexopt::Parser) -> Result<(), Error> {
    let Some(options) = parse(args)? else {
        return Ok(());
    };
    // Of this thread, which is all clients that play by the rules, and inherited by the servers. What
    // else runs on this machine is to disturb them less; programs of other sessions do all the same
    // where Linux groups those (sched_autogroup_enabled). The report tells whether it was allowed.
    let _ = rustix::process::setpriority_process(None, -10);
    let mut outcomes = Vec::new();
    for case in chosen(&options)? {
        eprintln!("{}: {}", case.name, case.about);
        outcomes.push(judge(&case, &options)?);
    }
    let report = Report::new(&options, outcomes);
    print!("{report}");
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    match report.failures() {
        0 => Ok(()),
        failures => Err(Error::Hostile(failures)),
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Option<Options>, Error> {
    use lexopt::prelude::{Long, Short, ValueExt as _};

    let mut options = Options {
        cases: Vec::new(),
        rounds: 1,
        workers: None,
        websocket: false,
        rate: 2000,
        healthy: Healthy {
            measured: Duration::from_secs(4),
            ..Healthy::new(Scenario::Requests)
        },
        json: None,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("case") => options.cases.push(args.value()?.string()?),
            Long("list") => {
                for case in cases::all(&options.healthy.prefix, options.websocket)? {
                    println!("{:11} {}", case.name, case.about);
                }
                return Ok(None);
            }
            Long("seconds") => {
                options.healthy.measured = args::seconds(args.value()?.parse()?)?;
            }
            Long("rounds") => options.rounds = args.value()?.parse()?,
            Long("connections") => options.healthy.connections = args.value()?.parse()?,
            Long("rate") => options.rate = args.value()?.parse()?,
            Long("ws") => options.websocket = true,
            Long("workers") => options.workers = Some(args.value()?.parse()?),
            Long("json") => options.json = Some(args.value()?.into()),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let zero = options.rounds == 0
        || options.healthy.connections == 0
        || options.rate == 0
        || options.healthy.measured.is_zero();
    if zero {
        return Err(misused(
            "--rounds, --connections, --rate and --seconds are above 0",
        ));
    }
    Ok(Some(options))
}

fn misused(why: impl Into<String>) -> Error {
    Error::Command(why.into(), USAGE)
}

fn chosen(options: &Options) -> Result<Vec<Case>, Error> {
    let mut all = cases::all(&options.healthy.prefix, options.websocket)?;
    if let Some(unknown) = options
        .cases
        .iter()
        .find(|name| all.iter().all(|case| case.name != *name))
    {
        return Err(misused(format!("there is no case {unknown}")));
    }
    all.retain(|case| {
        options.cases.is_empty() || options.cases.iter().any(|name| case.name == name)
    });
    Ok(all)
}

/// What the requests of one window came to, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    p50: u64,
    p99: u64,
    max: u64,
    /// Of the tool itself.
    lag_p99: u64,
    /// How many cores the server kept busy.
    cores: f64,
}

/// What was got of what is asked for, or what somebody has set from outside.
#[derive(Clone, Debug, Default, Serialize)]
struct Priorities {
    server: BTreeSet<Priority>,
    tool: BTreeSet<Priority>,
    peers: BTreeSet<Priority>,
}

impl Priorities {
    fn extend(&mut self, others: &Self) {
        self.server.extend(&others.server);
        self.tool.extend(&others.tool);
        self.peers.extend(&others.peers);
    }
}

/// What one round of a case came to.
#[derive(Clone, Debug)]
struct Round {
    priorities: Priorities,
    alone: Latency,
    beside: Latency,
    unanswered: u64,
    /// Bytes of the server's memory at its highest, above that before the attack.
    grown: u64,
    /// Bytes that all sockets of this machine held at the end of the attack, above that before.
    kernel: u64,
    tally: Tally,
}

/// Runs a case; a failure on the way is part of the outcome.
fn judge(case: &Case, options: &Options) -> Result<Outcome, Error> {
    let mut args: Vec<_> = ["--limited", "--admin", "--heartbeat", "3"]
        .map(str::to_owned)
        .into();
    if let Some(workers) = options.workers {
        args.extend(["--workers".to_owned(), workers.to_string()]);
    }
    let mut server = BenchServer::start(&args)?;
    let metrics = server.metrics.ok_or(Error::Stalled)?;
    let before = Counters::read(metrics)?;
    let mut rounds = Vec::new();
    let mut problem = None;
    match prepare(&server, options) {
        Ok(mut fleet) => {
            for _ in 0..options.rounds {
                match round(&mut fleet, case, &server, options) {
                    Ok(round) => rounds.push(round),
                    Err(error) => {
                        problem = Some(error.to_string());
                        break;
                    }
                }
            }
        }
        Err(error) => problem = Some(error.to_string()),
    }
    if server.has_ended()? {
        problem = Some("the server has ended".to_owned());
    }
    let after = match &problem {
        None => Counters::read(metrics)?,
        Some(_) => before.clone(),
    };
    Ok(Outcome::new(case, &rounds, problem, &before, &after))
}

fn prepare(server: &BenchServer, options: &Options) -> Result<Fleet, Error> {
    let target = Target {
        address: server.address,
        websocket: options.websocket,
        path: "/".to_owned(),
    };
    let mut fleet = Fleet::new(target, 1)?;
    scenario::connect(&mut fleet, &options.healthy)?;
    Ok(fleet)
}

fn round(
    fleet: &mut Fleet,
    case: &Case,
    server: &BenchServer,
    options: &Options,
) -> Result<Round, Error> {
    let pid = server.pid();
    let healthy = Healthy {
        warmup: WARMUP,
        ..options.healthy.clone()
    };
    let alone = scenario::paced(fleet, &healthy, options.rate, &[pid])?;
    let resident = process::resident(&[pid])?.unwrap_or_default();
    process::forget_peak(pid)?;
    let kernel = process::socket_memory()?;
    let attack = Attack::start(server.address, case.groups.clone(), GRACE);
    let healthy = Healthy {
        warmup: Duration::ZERO,
        ..options.healthy.clone()
    };
    let beside = scenario::paced(fleet, &healthy, options.rate, &[pid]);
    attack.cease();
    let kernel = process::socket_memory()?.saturating_sub(kernel);
    while !attack.is_over() {
        let soon = Instant::now() + Duration::from_millis(100);
        fleet.turn(soon, |_, _, happening| match happening {
            Happening::Lost(reason) => Err(Error::Lost(reason)),
            Happening::Ready | Happening::Response { .. } | Happening::Push { .. } => Ok(()),
        })?;
    }
    let tally = attack.finish()?;
    let beside = beside?;
    let priorities = Priorities {
        server: Priority::of(pid)?.into_iter().collect(),
        tool: [Priority::own()?].into(),
        peers: [tally.priority].into(),
    };
    Ok(Round {
        priorities,
        alone: latency(&alone),
        unanswered: alone.unanswered + beside.unanswered,
        beside: latency(&beside),
        grown: process::peak(pid)?.saturating_sub(resident),
        kernel,
        tally,
    })
}

fn latency(paced: &scenario::Paced) -> Latency {
    Latency {
        p50: paced.times.value_at_quantile(0.5),
        p99: paced.times.value_at_quantile(0.99),
        max: paced.times.max(),
        lag_p99: paced.lag.value_at_quantile(0.99),
        cores: paced.window.server.map_or(0.0, |cpu| {
            cpu.as_secs_f64() / paced.window.wall.as_secs_f64()
        }),
    }
}
