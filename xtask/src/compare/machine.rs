//! Where it runs.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Error;

/// What the page says of the machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Programs that wanted to run when the comparison began: above 0.5, others worked, too.
    pub(crate) load: f64,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        // What follows the version is the builder's name for it.
        let version = kernel.trim().split('-').next().unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib(&field(&read("/proc/meminfo"), "MemTotal")) / f64::from(1 << 20),
            kernel: format!("Linux {version}"),
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> Option<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(kib(&field(&rollup, "Rss")) * 1024.0)
}

/// This process, and so all it starts, runs on one core from now on.
pub(crate) fn pin(core: Option<usize>) -> Result<usize, Error> {
    let failed = |core, error: rustix::io::Errno| Error::Pin {
        core,
        error: io::Error::from(error),
    };
    let allowed = sched_getaffinity(None).map_err(|error| failed(0, error))?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|core| allowed.is_set(*core));
    let core = core.or(last).unwrap_or(0);
    let mut only = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        only.set(core);
    }
    sched_setaffinity(None, &only).map_err(|error| failed(core, error))?;
    Ok(core)
}

/// As many connections as the hard limit allows; servers inherit it.
pub(crate) fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}

/// A running process with realtime priority, taken back when dropped.
#[derive(Debug)]
pub(crate) struct Realtime(u32);

impl Realtime {
    /// `None`: that is not allowed here.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        chrt(&["--all-tasks", "--rr", "--pid", "1"], pid).then(|| Self(pid))
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        chrt(&["--all-tasks", "--other", "--pid", "0"], self.0);
    }
}

/// Runs a program with realtime priority.
pub(crate) fn realtime(program: &Path) -> Command {
    let mut command = Command::new("chrt");
    command.args(["--rr", "1"]).arg(program);
    command
}

fn chrt(arguments: &[&str], pid: u32) -> bool {
    let mut command = Command::new("chrt");
    command.args(arguments).arg(pid.to_string());
    command.output().is_ok_and(|output| output.status.success())
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn kib(text: &str) -> f64 {
    let number = text.split(' ').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\nRss:    1396 kB\n";
        assert_eq!(field(text, "model name"), "AMD EPYC");
        assert_eq!(field(text, "nothing"), "");
        assert_eq!(kib(&field(text, "Rss")), 1396.0);
        assert!(resident(std::process::id()).unwrap() > 0.0);
    }
}
