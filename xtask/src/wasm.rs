//! `cargo xtask wasm`: the browser client as an npm package.

mod toolchain;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) use toolchain::Missing;
use toolchain::Toolchain;

pub(crate) const USAGE: &str = "\
usage: cargo xtask wasm [--test-core]

Makes the npm package of the browser client in target/npm/pomelo-client-wasm and
prints its sizes: the core for wasm32-unknown-unknown, its glue, and the scripts
around them. Needs Node 18 or later with npm. With --test-core it runs the tests
of the protocol core as WebAssembly in Node instead.

For the core the first of these is used that is there:
  - the sources of the standard library with the toolchain in use
    (`rustup component add rust-src`)
  - Debian's packages rustc-web, cargo-web, rust-web-src and lld, which root on a
    system with apt-get gets if nothing else will do
  - the target wasm32-unknown-unknown with the toolchain in use
    (`rustup target add wasm32-unknown-unknown`); its ready-made standard library
    makes the module larger";

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PACKAGE: &str = "target/npm/pomelo-client-wasm";

/// The package was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("`{0}` cannot be run: {1}")]
    Spawn(String, io::Error),
    #[error("`{0}` failed")]
    Failed(String),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
}

/// What the arguments ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Help,
    Package,
    TestCore,
}

impl Task {
    /// Reads the arguments after the subcommand.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::{Long, Short};

        match args.next()? {
            None => Ok(Self::Package),
            Some(Long("help") | Short('h')) => Ok(Self::Help),
            Some(Long("test-core")) => Ok(Self::TestCore),
            Some(other) => Err(other.unexpected()),
        }
    }
}

/// Makes the package and answers where it is.
pub(crate) fn run() -> Result<PathBuf, Error> {
    let root = fs::canonicalize(ROOT).map_err(|error| Error::File(ROOT.into(), error))?;
    let toolchain = Toolchain::find_or_install()?;
    eprintln!("core: {toolchain}");
    let target = root.join("target/wasm");
    let module = toolchain::module(&target);
    call(toolchain.build(&target).current_dir(&root))?;

    let core = target.join("core");
    make_dir(&core)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    call(
        Command::new(cargo)
            .args(["run", "--quiet", "--locked", "--package", "wasm-glue", "--"])
            .args([&module, &core])
            .current_dir(&root),
    )?;

    let scripts = root.join("client-wasm");
    if !scripts.join("node_modules/esbuild").is_dir() {
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        call(Command::new(npm).arg("ci").current_dir(&scripts))?;
    }
    let package = root.join(PACKAGE);
    call(
        Command::new("node")
            .arg(scripts.join("pack.mjs"))
            .args([&core, &package])
            .arg(env!("CARGO_PKG_VERSION"))
            .current_dir(&scripts),
    )?;
    println!("{}", package.display());
    Ok(package)
}

/// Runs the tests of the protocol core as WebAssembly in Node.
pub(crate) fn test_core() -> Result<(), Error> {
    let root = fs::canonicalize(ROOT).map_err(|error| Error::File(ROOT.into(), error))?;
    let toolchain = Toolchain::find_or_install()?;
    eprintln!("core: {toolchain}");
    let runner = root.join("client-wasm/tests/wasi.mjs");
    let runner = format!("node --no-warnings {}", runner.display());
    let mut command = toolchain.test(&root.join("target/wasm"), &runner)?;
    // Its quarter of a million messages in one body end Node 20 itself, with SIGABRT and not a word.
    command.args(["--", "--skip", "hostile::elements_are_bounded"]);
    call(command.current_dir(&root))
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|error| Error::File(dir.to_owned(), error))
}

fn call(command: &mut Command) -> Result<(), Error> {
    let name = || command.get_program().to_string_lossy().into_owned();
    let name = name();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::Failed(name)),
        Err(error) => Err(Error::Spawn(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let parse = |args: &[&str]| Task::parse(lexopt::Parser::from_args(args));
        assert_eq!(parse(&[]).unwrap(), Task::Package);
        assert_eq!(parse(&["--test-core"]).unwrap(), Task::TestCore);
        assert_eq!(parse(&["--help"]).unwrap(), Task::Help);
        assert!(parse(&["--release"]).is_err());
    }
}
