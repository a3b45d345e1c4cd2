//! The tool itself. It knows epoll and /proc, so it is for Linux only.

mod args;
mod counters;
mod fleet;
mod hostile;
mod plot;
mod process;
mod report;
mod scale;
mod scenario;
mod soak;
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
    #[error("{0}\n\n{1}")]
    Command(String, &'static str),
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
    #[error("{0} cases of hostile peers ended badly")]
    Hostile(usize),
    #[error("a process that holds connections has ended")]
    Holder,
    #[error("{0} connections did not stay")]
    Gone(u64),
    #[error("something stayed behind")]
    Soaked,
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    #[error("the figures cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The program.
pub(crate) fn main() -> ExitCode {
    match run_command(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_command(mut args: lexopt::Parser) -> Result<(), Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};

    raise_file_limit();
    // Timers of the open loop: the default slack of 50 us would be the tool's own delay.
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        eprintln!("timers stay coarse: {error}");
    }
    let name = match args.next()? {
        Some(Value(name)) => name.string()?,
        Some(Long("help") | Short('h')) => {
            println!("{USAGE}");
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Error::Usage("a scenario is missing".to_owned())),
    };
    match name.as_str() {
        "hostile" => hostile::main(args),
        "soak" => soak::main(args),
        "scale" => scale::main(args),
        "hold" => scale::hold(args),
        name => match Options::parse(name, args)? {
            Some(options) => run(&options),
            None => {
                println!("{USAGE}");
                Ok(())
            }
        },
    }
}

fn run(options: &Options) -> Result<(), Error> {
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
