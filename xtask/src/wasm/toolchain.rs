//! Which compiler makes WebAssembly here.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::apt;

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's compiler of a newer Rust than its own, with the sources of its standard library.
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LINKER: &str = "/usr/bin/wasm-ld";

/// Where programs with a command line run: tests, for example.
const WASI: &str = "wasm32-wasip1";
/// Debian's C library for it, package `wasi-libc`.
const DEBIAN_WASI: &str = "/usr/lib/wasm32-wasi";

/// Nothing here makes WebAssembly.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error(
    "no compiler for wasm32-unknown-unknown: `rustup component add rust-src`, `rustup target add wasm32-unknown-unknown`, \
     or on Debian `apt-get install rustc-web cargo-web rust-web-src lld`, makes one ({0})"
)]
pub(crate) struct Missing(String);

#[derive(Debug)]
pub(crate) enum Toolchain {
    /// The one in use, with the sources of its standard library.
    Sources,
    /// Debian's, likewise.
    Debian,
    /// The one in use, with the ready-made standard library.
    Target,
}

impl Toolchain {
    /// The best there is, after an installation where that is a matter of course.
    pub(crate) fn find_or_install() -> Result<Self, Missing> {
        match Self::find() {
            Ok(found) => Ok(found),
            Err(_) if apt::install(&DEBIAN) => Self::find(),
            Err(missing) => Err(missing),
        }
    }

    fn find() -> Result<Self, Missing> {
        let own = sysroot("rustc");
        let has = |path: &str| own.as_ref().is_some_and(|root| root.join(path).exists());
        if has("lib/rustlib/src/rust/library/std/Cargo.toml") {
            return Ok(Self::Sources);
        }
        let debian = debian();
        match debian {
            Ok(()) => Ok(Self::Debian),
            Err(_) if has(&format!("lib/rustlib/{TARGET}/lib")) => Ok(Self::Target),
            Err(missing) => Err(Missing(missing)),
        }
    }

    /// The command that builds the core.
    pub(super) fn build(&self, target: &Path) -> Command {
        let mut command = self.cargo();
        command
            .args(["build", "--profile", "wasm", "--locked", "--target", TARGET])
            .args(["--package", "pomelo-client-wasm", "--target-dir"])
            .arg(target);
        if !matches!(self, Self::Target) {
            // Nothing prints what a panic says or an error's `Debug`: these are a third of the module.
            command
                .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"])
                .env(
                    "RUSTFLAGS",
                    "-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none",
                );
        }
        command
    }

    /// The command that runs the tests of the protocol core as WebAssembly, with a runner.
    ///
    /// # Errors
    /// What is missing for that.
    pub(super) fn test(&self, target: &Path, runner: &str) -> Result<Command, Missing> {
        let mut command = self.cargo();
        command
            .args([
                "test",
                "--locked",
                "--target",
                WASI,
                "--package",
                "pomelo-protocol",
            ])
            .args(["--lib", "--tests", "--target-dir"])
            .arg(target)
            .env("CARGO_TARGET_WASM32_WASIP1_RUNNER", runner);
        let ready =
            sysroot("rustc").is_some_and(|root| root.join("lib/rustlib").join(WASI).exists());
        match self {
            Self::Sources | Self::Target if ready => Ok(command),
            Self::Sources | Self::Target if debian().is_ok() || apt::install(&DEBIAN) => {
                Self::Debian.test(target, runner)
            }
            Self::Sources | Self::Target => {
                let what = format!("`rustup target add {WASI}` is needed for the tests");
                Err(Missing(what))
            }
            Self::Debian => {
                let start = Path::new(DEBIAN_WASI).join("crt1-command.o");
                if !start.exists() && !apt::install(&["wasi-libc"]) {
                    return Err(Missing(format!("there is no {}", start.display())));
                }
                // The standard library wants a newer C library, for threads that there are none of; and tests of
                // hostile nesting want a stack like that of a thread.
                let flags = format!(
                    "-Clink-self-contained=no -L{DEBIAN_WASI} -Clink-arg={} -Clink-arg=--allow-undefined \
                     -Clink-arg=-zstack-size=8388608",
                    start.display()
                );
                command
                    .arg("-Zbuild-std=std,panic_abort")
                    .env("CARGO_TARGET_WASM32_WASIP1_LINKER", DEBIAN_LINKER)
                    .env("RUSTFLAGS", flags);
                Ok(command)
            }
        }
    }

    /// Cargo, told which compiler to use.
    fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTDOC", "/usr/bin/rustdoc")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
                    .env_remove("CARGO")
                    .env_remove("RUSTUP_TOOLCHAIN");
                command
            }
            Self::Sources | Self::Target => {
                Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            }
        };
        if !matches!(self, Self::Target) {
            // `-Zbuild-std` is not stable, what it builds is.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sources => "the toolchain in use and the sources of its standard library",
            Self::Debian => "Debian's rustc-web and the sources of its standard library",
            Self::Target => "the toolchain in use and its ready-made standard library",
        })
    }
}

/// Where the module is after the build.
pub(super) fn module(target: &Path) -> PathBuf {
    target.join(TARGET).join("wasm/pomelo_client_wasm.wasm")
}

/// Whether Debian's packages are there and new enough, or what is the matter.
fn debian() -> Result<(), String> {
    for file in [DEBIAN_RUSTC, DEBIAN_CARGO, DEBIAN_LINKER] {
        if !Path::new(file).exists() {
            return Err(format!("there is no {file}"));
        }
    }
    let sources = sysroot(DEBIAN_RUSTC).map(|root| root.join("lib/rustlib/src/rust/library/std"));
    if !sources.is_some_and(|sources| sources.exists()) {
        return Err(format!("{DEBIAN_RUSTC} has no rust-src"));
    }
    let version = output(Command::new(DEBIAN_RUSTC).arg("--version")).unwrap_or_default();
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    if minor(version.trim_start_matches("rustc ")) < minor(wanted) {
        return Err(format!(
            "{DEBIAN_RUSTC} is {}, {wanted} is needed",
            version.trim()
        ));
    }
    Ok(())
}

/// `1.96.0 (ac68faa20 2026-05-25)` is 96.
fn minor(version: &str) -> Option<u32> {
    let (_, rest) = version.split_once('.')?;
    rest.split(['.', ' ', '\n']).next()?.parse().ok()
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    let path = output(Command::new(rustc).args(["--print", "sysroot"]))?;
    Some(PathBuf::from(path.trim()))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_rustc() {
        assert_eq!(minor("1.96.0 (ac68faa20 2026-05-25)"), Some(96));
        assert_eq!(minor("1.95"), Some(95));
        assert_eq!(minor(""), None);
        assert!(minor("1.63.0") < minor("1.95"));
    }
}
