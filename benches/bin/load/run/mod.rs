//! The tool itself. It knows epoll and /proc, so it is for Linux only.

mod args;
mod fleet;
mod plot;
mod process;
mod report;
mod scenario;
mod socket;
mod stalled;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::{fs, io};

use pomelo_protocol::RequestError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use args::{Options, USAGE};
use process::BenchServer;
use report::Report;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error("bad arguments: {0}")]
    Arguments(#[from] lexopt::Error),
    #[error("not a tcp:// or ws:// URL with a port: {0}")]
    Url(String),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the bench server does not start: {0}")]
    BenchServer(String),
    #[error("process {pid} cannot be read in /proc")]
    Proc { pid: u32 },
    #[error("a request cannot be sent: {0}")]
    Request(#[from] RequestError),
    #[error("a connection was lost: {0}")]
    Lost(String),
    #[error("the server refuses a request: {0}")]
    Refused(String),
    #[error("the server has stopped answering")]
    Stalled,
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    #[error("the figures cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The program.
pub(crate) fn main() -> ExitCode {
    match Options::parse(lexopt::Parser::from_env()).and_then(|options| match options {
        Some(options) => run(&options),
        None => {
            println!("{USAGE}");
            Ok(())
        }
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Error> {
    raise_file_limit();
    // Timers of the open loop: the default slack of 50 us would be the tool's own delay.
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        eprintln!("timers stay coarse: {error}");
    }
    let (target, pids, server) = match &options.target {
        Some(target) => (target.clone(), options.pids.clone(), None),
        None => {
            let server = BenchServer::start(&options.bench_server)?;
            let target = args::Target {
                address: server.address,
                websocket: options.websocket,
                path: "/".to_owned(),
            };
            (target, vec![server.pid()], Some(server))
        }
    };
    let url = target.url();
    let outcome = scenario::run(options, target, &pids)?;
    drop(server);
    let report = Report::new(options, url, &outcome);
    print!("{report}");
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    if let Some(path) = &options.svg {
        match &outcome.latency {
            Some((of, times)) => {
                let name = options.scenario.name();
                let title = format!("{name}, {} connections: {of}", options.connections);
                fs::write(path, plot::svg(&title, times))?;
            }
            None => eprintln!("no latencies here, so no plot"),
        }
    }
    Ok(())
}

/// As many connections as the hard limit allows. The server, started later, inherits it.
fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}
