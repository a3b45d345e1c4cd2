//! `cargo xtask fuzz`: builds and runs the targets of `fuzz/`, and makes their seeds.
//!
//! Without cargo-fuzz and without a nightly compiler: libFuzzer needs coverage counters only, and
//! those come from stable flags. The address sanitizer, which needs nightly, would find nothing in
//! a crate that forbids unsafe code. `cargo +nightly fuzz run TARGET` works as well.

mod seeds;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

pub(crate) const USAGE: &str = "\
usage: cargo xtask fuzz [--seconds N] [TARGET...]
       cargo xtask fuzz --seed

Runs the targets of fuzz/ one after the other (default: all), starting from
fuzz/corpus/TARGET. What they find out is kept in fuzz/target/corpus, and an
input that breaks an invariant in fuzz/artifacts/TARGET: copy it to the corpus,
and `cargo test -p pomelo-protocol` replays it from then on.

  -s, --seconds N   run each target so long (default: 10)
      --seed        run nothing, write the seeds made of protocol/tests/golden
                    to fuzz/corpus";

const TARGETS: [&str; 5] = [
    "package",
    "message",
    "protobuf",
    "handshake",
    "connection_ops",
];

/// The coverage that cargo-fuzz asks for, too.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Far above what a target needs; reached by what should have had a limit.
const MAX_MEMORY_MB: u32 = 512;
const MAX_INPUT_LEN: u32 = 4096;

/// What to run.
#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    seconds: u32,
    targets: Vec<String>,
    seed: bool,
}

/// Why the targets did not run through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no target {0}; there are {list}", list = TARGETS.join(", "))]
    UnknownTarget(String),
    #[error("the targets do not build: {0}")]
    Build(ExitStatus),
    #[error("{target}: {status}; the input is in fuzz/artifacts/{target}")]
    Found { target: String, status: ExitStatus },
    #[error("the compiler did not name its host")]
    Host,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0} is not a file of golden vectors")]
    Golden(&'static str),
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

impl Options {
    /// Reads the arguments after the subcommand; `None` if they ask for help.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::{Long, Short, Value, ValueExt as _};

        let mut options = Self {
            seconds: 10,
            targets: Vec::new(),
            seed: false,
        };
        while let Some(arg) = args.next()? {
            match arg {
                Long("seconds") | Short('s') => options.seconds = args.value()?.parse()?,
                Long("seed") => options.seed = true,
                Long("help") | Short('h') => return Ok(None),
                Value(target) => options.targets.push(target.string()?),
                Long(_) | Short(_) => return Err(arg.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

/// Builds once, then runs target after target; the first finding ends the run.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if options.seed {
        return seeds::write(&root);
    }
    let mut targets: Vec<&str> = options.targets.iter().map(String::as_str).collect();
    if let Some(unknown) = targets.iter().find(|name| !TARGETS.contains(name)) {
        return Err(Error::UnknownTarget((*unknown).to_owned()));
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    let bin = build(&root)?;
    for target in targets {
        run_target(&root, &bin.join(target), target, options.seconds)?;
    }
    Ok(())
}

/// The directory with the executables.
fn build(root: &Path) -> Result<PathBuf, Error> {
    let host = host()?;
    let target_dir = root.join("fuzz/target");
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(root.join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        // With a target named, build scripts are built without the flags below.
        .args(["--target", &host])
        .env("RUSTFLAGS", RUSTFLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(Error::io("cargo"))?;
    if !status.success() {
        return Err(Error::Build(status));
    }
    Ok(target_dir.join(host).join("release"))
}

fn host() -> Result<String, Error> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .map_err(Error::io("rustc"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or(Error::Host)
}

fn run_target(root: &Path, program: &Path, target: &str, seconds: u32) -> Result<(), Error> {
    let found = root.join("fuzz/target/corpus").join(target);
    let artifacts = root.join("fuzz/artifacts").join(target);
    for dir in [&found, &artifacts] {
        fs::create_dir_all(dir).map_err(Error::io(dir.display().to_string()))?;
    }
    println!("{target}: {seconds} s");
    let status = Command::new(program)
        // libFuzzer writes to the first directory and reads all.
        .arg(found)
        .arg(root.join("fuzz/corpus").join(target))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_INPUT_LEN}"))
        .arg(format!("-rss_limit_mb={MAX_MEMORY_MB}"))
        .args(["-timeout=10", "-print_final_stats=1", "-verbosity=1"])
        .status()
        .map_err(Error::io(program.display().to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Found {
            target: target.to_owned(),
            status,
        })
    }
}
