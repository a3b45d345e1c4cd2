//! The chat every pomelo user knows.
//!
//! ```text
//! cargo run -p chat -- serve              gate, connectors and chat servers, in one process
//! cargo run -p chat -- talk NAME ROOM     a terminal client
//! ```

mod serve;
mod servers;
mod talk;
#[cfg(test)]
mod tests;
mod web;

use std::io;
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value};

const USAGE: &str = "\
usage: chat serve [--env ENV] [--config DIR] [--port-offset N | --free-ports] [--plain]
       chat talk NAME ROOM [--gate URL]

  serve    runs gate, connectors and chat servers
  talk     a terminal client

`chat serve --help` and `chat talk --help` tell more.";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error("bad arguments")]
    Arguments(#[from] lexopt::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
    #[error(transparent)]
    Talk(#[from] talk::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(mut args: lexopt::Parser) -> Result<(), Error> {
    match args.next()? {
        Some(Value(name)) if name == "serve" => match serve::Options::parse(args)? {
            Some(options) => serve::run(options).await?,
            None => println!("{}", serve::USAGE),
        },
        Some(Value(name)) if name == "talk" => match talk::Options::parse(args)? {
            Some(options) => talk::run(options).await?,
            None => println!("{}", talk::USAGE),
        },
        Some(Long("help") | Short('h')) => println!("{USAGE}"),
        Some(other) => return Err(Error::Usage(other.unexpected().to_string())),
        None => return Err(Error::Usage("a subcommand is missing".to_owned())),
    }
    Ok(())
}

/// Tells what went wrong, why, and what may help.
fn report(error: &Error) {
    eprintln!("error: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        if let Some(help) = error.downcast_ref().and_then(help) {
            eprintln!("  {help}");
        }
        cause = error.source();
    }
}

fn help(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::AddrInUse => Some(
            "is the chat running already? `--port-offset 1000` moves its ports, `--free-ports` takes any",
        ),
        io::ErrorKind::ConnectionRefused => Some(
            "is the chat running? `cargo xtask demo` starts it and tells the address of its gate",
        ),
        _ => None,
    }
}
