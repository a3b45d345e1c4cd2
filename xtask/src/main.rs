//! Everything a newcomer or CI runs: `cargo xtask SUBCOMMAND`.

mod apt;
mod compare;
mod demo;
mod fuzz;
mod load;
mod protos;
mod test;
mod wasm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask SUBCOMMAND

  compare   measure the server beside the limits and its peers
  demo      run the chat every pomelo user knows
  fuzz      run the fuzz targets
  load      put load on a server and say what it costs
  protos    make clientProtos.json and serverProtos.json from .proto files
  scale     hold 100,000 connections and say what they cost
  soak      put load on a server for ten minutes and see that nothing stays behind
  test      run all tests, those that need Node included
  wasm      make the npm package of the browser client

`cargo xtask SUBCOMMAND --help` tells more.";

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error("bad arguments: {0}")]
    Arguments(#[from] lexopt::Error),
    #[error(transparent)]
    Compare(#[from] compare::Error),
    #[error(transparent)]
    Fuzz(#[from] fuzz::Error),
    #[error(transparent)]
    Demo(#[from] demo::Error),
    #[error(transparent)]
    Load(#[from] load::Error),
    #[error(transparent)]
    Protos(#[from] protos::Error),
    #[error(transparent)]
    Test(#[from] test::Error),
    #[error(transparent)]
    Wasm(#[from] wasm::Error),
}

fn main() -> ExitCode {
    match run(lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: lexopt::Parser) -> Result<(), Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};

    match args.next()? {
        Some(Value(name)) => match name.string()?.as_str() {
            "fuzz" => match fuzz::Options::parse(args)? {
                Some(options) => fuzz::run(&options)?,
                None => println!("{}", fuzz::USAGE),
            },
            "compare" => match compare::Options::parse(args)? {
                Some(options) => compare::run(&options)?,
                None => println!("{}", compare::USAGE),
            },
            "demo" if demo::wants_help(&args) => println!("{}", demo::USAGE),
            "demo" => demo::run(args)?,
            "load" => load::run(None, args)?,
            name @ ("soak" | "scale") => load::run(Some(name), args)?,
            "protos" => match protos::Options::parse(args)? {
                Some(options) => protos::run(&options)?,
                None => println!("{}", protos::USAGE),
            },
            "wasm" => match wasm::Task::parse(args)? {
                wasm::Task::Package => drop(wasm::run()?),
                wasm::Task::TestCore => wasm::test_core()?,
                wasm::Task::Help => println!("{}", wasm::USAGE),
            },
            "test" if test::parse(args)? => test::run()?,
            "test" => println!("{}", test::USAGE),
            other => return Err(Error::Usage(format!("there is no subcommand {other}"))),
        },
        Some(Long("help") | Short('h')) => println!("{USAGE}"),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Error::Usage("a subcommand is missing".to_owned())),
    }
    Ok(())
}
