//! The command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::run::Error;

pub(crate) const USAGE: &str = "\
usage: cargo xtask load SCENARIO [OPTIONS]

  requests   echo requests; closed loop, or with --rate open loop
  fanout     broadcasts to a channel that all connections have joined
  idle       connections that only send heartbeats
  storm      connect, handshake, request, close, again and again
  hostile    hostile peers beside others; has options of its own, see its --help

  --url URL          server, tcp://HOST:PORT or ws://HOST:PORT/PATH; without it
                     the bench server is started for this run
  --ws               WebSocket to the started bench server
  --workers N        threads of the started bench server
  --heartbeat S      interval of the started bench server's heartbeats
  --pid PID          process of the server at --url, for figures per CPU second
                     and memory; once for each process of the server
  --connections N    at the same time; default 50, in fanout the members
  --depth N          requests: in flight on each connection; default 1
                     fanout: broadcasts in flight; default 1
  --rate R           requests: this many each second, whether or not answers come
  --poll             requests with --rate: looks for answers all the time, and
                     yields the core between, in place of sleeping; for a server
                     on the same core, both with the same realtime priority
  --size BYTES       of the text echoed or pushed; default 64
  --seconds S        measured; default 10
  --warmup S         before that; default 2
  --method NAME      requests: the route's method, echo or one that answers the
                     like; default echo
  --stalled N        requests with --rate: beside N connections that join a
                     channel and never read; it gets 5 MiB within a second, to
                     fill the kernel's buffers, then 1 KiB a hundred times a second
  --sources N        source addresses 127.0.0.1 and up, for more than 28,000
                     connections; default 1
  --prefix ROUTE     what routes begin with; default connector.entryHandler
  --json FILE        the figures
  --svg FILE         a plot of the latencies";

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Requests,
    Fanout,
    Idle,
    Storm,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Fanout => "fanout",
            Self::Idle => "idle",
            Self::Storm => "storm",
        }
    }
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) websocket: bool,
    /// Of a WebSocket URL.
    pub(crate) path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Error> {
        let bad = || Error::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let websocket = match scheme {
            "tcp" => false,
            "ws" => true,
            _ => return Err(bad()),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let mut addresses = host.to_socket_addrs().map_err(|_| bad())?;
        Ok(Self {
            address: addresses.next().ok_or_else(bad)?,
            websocket,
            path: path.to_owned(),
        })
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.websocket { "ws" } else { "tcp" };
        format!("{scheme}://{}", self.address)
    }
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) scenario: Scenario,
    /// `None`: the bench server is started.
    pub(crate) target: Option<Target>,
    pub(crate) websocket: bool,
    /// What the bench server is told.
    pub(crate) bench_server: Vec<String>,
    pub(crate) pids: Vec<u32>,
    pub(crate) connections: usize,
    pub(crate) depth: usize,
    pub(crate) rate: Option<u32>,
    pub(crate) poll: bool,
    pub(crate) size: usize,
    pub(crate) measured: Duration,
    pub(crate) warmup: Duration,
    pub(crate) sources: u16,
    pub(crate) prefix: String,
    /// Of requests, the last part of the route.
    pub(crate) method: String,
    /// Receivers that never read.
    pub(crate) stalled: usize,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(scenario: &str, mut args: lexopt::Parser) -> Result<Option<Self>, Error> {
        use lexopt::prelude::{Long, Short, ValueExt as _};

        let scenario = match scenario {
            "requests" => Scenario::Requests,
            "fanout" => Scenario::Fanout,
            "idle" => Scenario::Idle,
            "storm" => Scenario::Storm,
            other => return Err(Error::Usage(format!("there is no scenario {other}"))),
        };
        let mut options = Self::new(scenario);
        while let Some(arg) = args.next()? {
            match arg {
                Long("url") => options.target = Some(Target::parse(&args.value()?.string()?)?),
                Long("ws") => options.websocket = true,
                Long(name @ ("workers" | "heartbeat")) => {
                    let name = format!("--{name}");
                    let number: u32 = args.value()?.parse()?;
                    options.bench_server.extend([name, number.to_string()]);
                }
                Long("pid") => options.pids.push(args.value()?.parse()?),
                Long("connections") => options.connections = args.value()?.parse()?,
                Long("depth") => options.depth = args.value()?.parse()?,
                Long("rate") => options.rate = Some(args.value()?.parse()?),
                Long("poll") => options.poll = true,
                Long("size") => options.size = args.value()?.parse()?,
                Long("seconds") => options.measured = seconds(args.value()?.parse()?)?,
                Long("warmup") => options.warmup = seconds(args.value()?.parse()?)?,
                Long("method") => options.method = args.value()?.string()?,
                Long("stalled") => options.stalled = args.value()?.parse()?,
                Long("sources") => options.sources = args.value()?.parse()?,
                Long("prefix") => options.prefix = args.value()?.string()?,
                Long("json") => options.json = Some(args.value()?.into()),
                Long("svg") => options.svg = Some(args.value()?.into()),
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        options.check()?;
        Ok(Some(options))
    }

    /// The defaults.
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            target: None,
            websocket: false,
            bench_server: Vec::new(),
            pids: Vec::new(),
            connections: 50,
            depth: 1,
            rate: None,
            poll: false,
            size: 64,
            measured: Duration::from_secs(10),
            warmup: Duration::from_secs(2),
            sources: 1,
            prefix: "connector.entryHandler".to_owned(),
            method: "echo".to_owned(),
            stalled: 0,
            json: None,
            svg: None,
        }
    }

    pub(crate) fn route(&self, method: &str) -> String {
        format!("{}.{method}", self.prefix)
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = if self.connections == 0 || self.depth == 0 || self.sources == 0 {
            "--connections, --depth and --sources are at least 1"
        } else if self.rate == Some(0) || self.measured.is_zero() {
            "--rate and --seconds are above 0"
        } else if self.rate.is_some() && self.scenario != Scenario::Requests {
            "--rate belongs to requests"
        } else if self.stalled > 0 && self.rate.is_none() {
            "--stalled goes with --rate"
        } else if self.poll && self.rate.is_none() {
            "--poll goes with --rate"
        } else if self.target.is_none() && !self.pids.is_empty() {
            "--pid belongs to the server at --url"
        } else if self.target.is_some() && (self.websocket || !self.bench_server.is_empty()) {
            "--ws, --workers and --heartbeat belong to the started bench server"
        } else {
            return Ok(());
        };
        Err(Error::Usage(wrong.to_owned()))
    }
}

/// A number of seconds.
pub(crate) fn seconds(seconds: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::Usage(format!("{seconds} is no number of seconds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, Error> {
        let (scenario, rest) = line.split_once(' ').unwrap_or((line, ""));
        Options::parse(scenario, lexopt::Parser::from_args(rest.split_whitespace()))
    }

    #[test]
    fn a_whole_line() {
        let line = "requests --url ws://127.0.0.1:3010/game --pid 7 --pid 8 --connections 1000 \
                    --depth 16 --rate 20000 --seconds 0.5 --sources 3 --json a.json";
        let options = parse(line).unwrap().unwrap();
        let target = options.target.as_ref().unwrap();
        assert_eq!(target.address, "127.0.0.1:3010".parse().unwrap());
        assert!(target.websocket);
        assert_eq!(target.path, "/game");
        assert_eq!(options.pids, [7, 8]);
        assert_eq!((options.connections, options.depth), (1000, 16));
        assert_eq!(options.rate, Some(20_000));
        assert_eq!(options.measured, Duration::from_millis(500));
        assert_eq!(options.route("echo"), "connector.entryHandler.echo");
    }

    #[test]
    fn mistakes_are_told() {
        for line in [
            "",
            "swarm",
            "requests --url http://127.0.0.1:1",
            "requests --url tcp://127.0.0.1",
            "requests --connections 0",
            "requests --seconds -1",
            "requests --pid 1",
            "fanout --rate 5",
            "requests --stalled 1",
            "requests --poll",
            "idle --url tcp://127.0.0.1:1 --workers 2",
            "idle --workers many",
            "idle --nonsense",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("storm --help").unwrap().is_none());
    }
}
