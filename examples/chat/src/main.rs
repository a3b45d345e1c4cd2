//! The chat every pomelo user knows.
//!
//! ```text
//! cargo run -p chat -- serve              gate, connectors and chat servers, in one process
//! cargo run -p chat -- talk NAME ROOM     a terminal client
//! ```

mod servers;
mod talk;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use pomelo_server::StartError;

const USAGE: &str = "\
usage: chat serve [--env ENV] [--config DIR] [--port-offset N]
       chat talk NAME ROOM [--gate URL]

  serve    runs gate, connectors and chat servers until SIGINT or SIGTERM
    --env ENV          environment of servers.json; default: development
    --config DIR       where servers.json is; default: that of this example
    --port-offset N    added to every port of clients, when those of the file are taken
  talk     a terminal client; `chat talk --help` tells more";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error("bad arguments: {0}")]
    Arguments(#[from] lexopt::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Talk(#[from] talk::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(mut args: lexopt::Parser) -> Result<(), Error> {
    match args.next()? {
        Some(Value(name)) if name == "serve" => serve(args).await,
        Some(Value(name)) if name == "talk" => match talk::Options::parse(args)? {
            Some(options) => Ok(talk::run(options).await?),
            None => {
                println!("{}", talk::USAGE);
                Ok(())
            }
        },
        Some(Long("help") | Short('h')) => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => Err(Error::Usage(other.unexpected().to_string())),
        None => Err(Error::Usage("a subcommand is missing".to_owned())),
    }
}

async fn serve(mut args: lexopt::Parser) -> Result<(), Error> {
    let mut env = "development".to_owned();
    let mut config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut offset = 0_u16;
    while let Some(argument) = args.next()? {
        match argument {
            Long("env") => env = args.value()?.string()?,
            Long("config") => config = args.value()?.into(),
            Long("port-offset") => offset = args.value()?.parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let running = servers::app(config, &env)
        .configure("all", "all", move |server| {
            match server.info().client_port {
                Some(port) => server.client_port(port.saturating_add(offset)),
                None => server,
            }
        })
        .start()
        .await?;
    let mut addresses: Vec<_> = running.addresses().iter().collect();
    addresses.sort();
    for (server, address) in &addresses {
        println!("{server:<20} listens on {address}");
    }
    let gate = addresses
        .iter()
        .find(|(server, _)| server.starts_with("gate"));
    let gate = gate.map_or(0, |(_, address)| address.port());
    let option = if gate == 3014 {
        String::new()
    } else {
        format!(" --gate ws://127.0.0.1:{gate}")
    };
    println!(
        "\nThe chat is running. In two other terminals:\n\n    \
         cargo run -p chat -- talk alice lobby{option}\n    \
         cargo run -p chat -- talk bob lobby{option}\n\n\
         Old pages and clients of pomelo find the gate on port {gate}. Ctrl-C stops it."
    );
    running.until_signal().await;
    println!("stopped");
    Ok(())
}
