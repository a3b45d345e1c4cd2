//! `cargo xtask load`, `soak` and `scale`: the load tool, and the bench servers it starts, from a
//! release build.

use std::process::{Command, ExitStatus};
use std::{env, io};

/// The load tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cargo cannot be run: {0}")]
    Cargo(#[from] io::Error),
    #[error("{what} failed: {status}")]
    Failed {
        what: &'static str,
        status: ExitStatus,
    },
}

/// Builds both programs, since the tool looks for the server next to itself, and runs the tool;
/// `scenario` comes before the arguments.
pub(crate) fn run(scenario: Option<&str>, mut args: lexopt::Parser) -> Result<(), Error> {
    let arguments: Vec<_> = args.raw_args().map(Iterator::collect).unwrap_or_default();
    let release = ["--quiet", "--release", "--locked", "-p", "pomelo-benches"];
    let mut build = cargo("build");
    build.args(release).arg("--bins");
    finish("the build", build)?;
    let mut run = cargo("run");
    run.args(release).args(["--bin", "load", "--"]);
    run.args(scenario);
    // Files the user names are where the user is, not where the workspace is.
    run.args(arguments);
    finish("the load tool", run)
}

fn cargo(subcommand: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg(subcommand).args([
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
    ]);
    command
}

fn finish(what: &'static str, mut command: Command) -> Result<(), Error> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed { what, status })
    }
}
