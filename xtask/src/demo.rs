//! `cargo xtask demo`: the chat, on the original `servers.json`.

use std::{env, io, process::Command};

pub(crate) const USAGE: &str = "\
usage: cargo xtask demo [--env ENV] [--config DIR] [--port-offset N | --free-ports]

Runs the chat of examples/chat (gate, connectors, chat servers) in one process
until Ctrl-C, on the ports of its servers.json, and says what to do next.
The options are those of `cargo run -p chat -- serve`.";

/// The demo cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cargo cannot be run: {0}")]
pub(crate) struct Error(#[from] io::Error);

/// Whether the arguments after the subcommand ask for help.
pub(crate) fn wants_help(args: &lexopt::Parser) -> bool {
    let mut args = args.clone();
    args.raw_args()
        .is_ok_and(|mut words| words.any(|word| word == "--help" || word == "-h"))
}

/// Becomes the demo where the system can do that, so that a signal reaches it.
pub(crate) fn run(mut args: lexopt::Parser) -> Result<(), Error> {
    let arguments: Vec<_> = args.raw_args().map(Iterator::collect).unwrap_or_default();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "run",
            "--quiet",
            "--locked",
            "--package",
            "chat",
            "--",
            "serve",
        ])
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    println!("building the chat; this takes a minute the first time");
    start(command)
}

#[cfg(unix)]
fn start(mut command: Command) -> Result<(), Error> {
    use std::os::unix::process::CommandExt as _;

    Err(command.exec().into())
}

#[cfg(not(unix))]
fn start(mut command: Command) -> Result<(), Error> {
    command.status()?;
    Ok(())
}
