//! `cargo xtask compare`: ours beside the limits and the peers, all in one run, into
//! `docs/benchmarks.md`.

#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod goals;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
mod numbers;
#[cfg(target_os = "linux")]
mod page;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod servers;
#[cfg(target_os = "linux")]
mod versions;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub(crate) const USAGE: &str = "\
usage: cargo xtask compare [OPTIONS]

Builds and runs minimal applications with the same routes on pomelo-server, on
nano and pitaya (Go), pinus and pomelo (Node), and bare servers that do only
what the wire makes unavoidable. In each round every scenario goes over all
servers in turn, server and load tool on one core, and in a network of their own
if that is allowed here. What cannot be built or run here is left out, and said
so. Linux only.

A whole run takes up to 20 minutes and rewrites the figures in
docs/benchmarks.md and the plots beside it; what is written there by hand stays.
The raw figures go to target/compare/figures.json.

  --quick            one short round, about 5 minutes; the page stays as it is
  --only NAMES       these scenarios, such as echo,push* with commas; the page
                     stays as it is
  --servers NAMES    only these: ours, bare-epoll, bare-epoll-gather, bare-tokio,
                     nano, pitaya, pinus, pomelo; the page stays as it is
  --rounds N         default 3
  --minutes M        no further round begins that would end later, if it is as
                     long as the last; default 20
  --seconds S        of each measurement; default 1
  --core N           where all runs; default the last core there is
  --page             write the page all the same
  --list             what there is to choose from";

/// The comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cargo xtask compare needs Linux, for epoll and /proc")]
    #[cfg(not(target_os = "linux"))]
    System,
    #[error("bad arguments: {0}")]
    Arguments(#[from] lexopt::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{what} cannot be run: {error}")]
    Spawn {
        what: &'static str,
        error: io::Error,
    },
    #[error("{what} failed: {status}")]
    Failed {
        what: &'static str,
        status: ExitStatus,
    },
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error(
        "the page has no place for {0}: a line `<!-- begin {0} -->` and one `<!-- end {0} -->`"
    )]
    NoPlace(&'static str),
    #[error("not pinned to core {core}: {error}")]
    Pin { core: usize, error: io::Error },
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    only: Vec<String>,
    servers: Vec<String>,
    rounds: usize,
    minutes: f64,
    seconds: f64,
    /// Seconds before each measurement.
    warmup: f64,
    /// Connections that are idle while memory is measured.
    idle: usize,
    core: Option<usize>,
    page: bool,
    list: bool,
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, Error> {
        use lexopt::prelude::{Long, Short, ValueExt as _};

        let mut options = Self {
            only: Vec::new(),
            servers: Vec::new(),
            rounds: 3,
            minutes: 20.0,
            seconds: 1.0,
            warmup: 0.4,
            idle: 5_000,
            core: None,
            page: true,
            list: false,
        };
        let mut page = false;
        while let Some(arg) = args.next()? {
            match arg {
                Long("quick") => {
                    options.rounds = 1;
                    options.seconds = 0.6;
                    options.warmup = 0.3;
                    options.idle = 3_000;
                    options.page = false;
                }
                Long("only") => {
                    options.only = names(&args.value()?.string()?);
                    options.page = false;
                }
                Long("servers") => {
                    options.servers = names(&args.value()?.string()?);
                    options.page = false;
                }
                Long("rounds") => options.rounds = args.value()?.parse()?,
                Long("minutes") => options.minutes = args.value()?.parse()?,
                Long("seconds") => options.seconds = args.value()?.parse()?,
                Long("core") => options.core = Some(args.value()?.parse()?),
                Long("page") => page = true,
                Long("list") => options.list = true,
                Long("help") | Short('h') => return Ok(None),
                other => return Err(other.unexpected().into()),
            }
        }
        options.page |= page;
        if options.rounds == 0 || !(0.1..=600.0).contains(&options.seconds) {
            let wrong = "--rounds is at least 1, --seconds is from 0.1 to 600";
            return Err(Error::Usage(wrong.to_owned()));
        }
        Ok(Some(options))
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(str::to_owned).collect()
}

/// Measures, and writes what came of it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &Options) -> Result<(), Error> {
    Err(Error::System)
}

/// Measures, and writes what came of it.
#[cfg(target_os = "linux")]
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    use std::time::Instant;

    let scenarios = scenarios::chosen(&options.only);
    if options.list {
        for scenario in &scenarios {
            println!("{:16} {}", scenario.name, scenario.title);
        }
        for server in servers::all() {
            println!("{:16} {}", server.name, server.title);
        }
        return Ok(());
    }
    if scenarios.is_empty() {
        return Err(Error::Usage("no scenario has such a name".to_owned()));
    }
    let (servers, left_out) = servers::build(&options.servers)?;
    let machine = machine::Machine::look();
    // Not before all is built: that may need the real one.
    let network = network::Network::enter();
    let core = machine::pin(options.core)?;
    machine::raise_file_limit();
    let began = Instant::now();
    let (figures, rounds) = run::rounds(options, &scenarios, &servers);
    let run = page::Run {
        options,
        machine,
        network,
        core,
        scenarios: &scenarios,
        servers: &servers,
        left_out: &left_out,
        figures: &figures,
        rounds,
        minutes: began.elapsed().as_secs_f64() / 60.0,
    };
    run.print();
    run.write_json()?;
    if options.page {
        run.write_page()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, Error> {
        Options::parse(lexopt::Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn only_a_whole_run_writes_the_page() {
        assert!(parse("").unwrap().unwrap().page);
        assert!(parse("--rounds 5 --core 0").unwrap().unwrap().page);
        for part in ["--quick", "--only echo,push", "--servers ours"] {
            assert!(!parse(part).unwrap().unwrap().page);
            assert!(parse(&format!("--page {part}")).unwrap().unwrap().page);
        }
        let options = parse("--only echo,push").unwrap().unwrap();
        assert_eq!(options.only, ["echo", "push"]);
        assert!(parse("-h").unwrap().is_none());
    }

    #[test]
    fn mistakes_are_told() {
        for line in ["--rounds 0", "--seconds 0", "--seconds x", "fast", "--only"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
