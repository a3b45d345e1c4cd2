//! What processes cost, from /proc; and the bench server as a child.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use serde::Serialize;

use crate::run::Error;

/// Kinds of kernel objects that a connected socket in an epoll consists of.
const OF_A_SOCKET: [&str; 7] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "dentry",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
];

/// CPU time of processes between two points in time.
#[derive(Debug)]
pub(crate) struct Meter {
    pids: Vec<u32>,
    started: Instant,
    server: Option<Duration>,
    tool: Duration,
}

/// What a [`Meter`] has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) wall: Duration,
    /// `None`: no process is known.
    pub(crate) server: Option<Duration>,
    /// Without what it polls.
    pub(crate) tool: Duration,
}

impl Meter {
    pub(crate) fn start(pids: &[u32]) -> Result<Self, Error> {
        Ok(Self {
            pids: pids.to_vec(),
            server: server_cpu(pids)?,
            tool: cpu(std::process::id())?,
            started: Instant::now(),
        })
    }

    pub(crate) fn stop(self) -> Result<Window, Error> {
        let wall = self.started.elapsed();
        let server = match (self.server, server_cpu(&self.pids)?) {
            (Some(before), Some(after)) => Some(after.saturating_sub(before)),
            _ => None,
        };
        let tool = cpu(std::process::id())?.saturating_sub(self.tool);
        Ok(Window { wall, server, tool })
    }
}

/// Resident memory of all processes in bytes; `None`: no process is known.
pub(crate) fn resident(pids: &[u32]) -> Result<Option<u64>, Error> {
    let mut sum = 0;
    for pid in pids {
        let text = proc_file(*pid, "smaps_rollup")?;
        sum += parse_kib(&text, "Rss:").ok_or(Error::Proc { pid: *pid })?;
    }
    Ok((!pids.is_empty()).then_some(sum))
}

/// Of all processes together what they share is counted once: proportional set sizes, in bytes.
pub(crate) fn proportional(pids: &[u32]) -> Result<u64, Error> {
    let sizes = pids.iter().map(|pid| {
        let text = proc_file(*pid, "smaps_rollup")?;
        parse_kib(&text, "Pss:").ok_or(Error::Proc { pid: *pid })
    });
    sizes.sum()
}

/// One line of `/proc/meminfo` in bytes, such as `MemAvailable:`.
pub(crate) fn meminfo(name: &str) -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/meminfo")?;
    Ok(parse_kib(&text, name).unwrap_or_default())
}

/// The largest resident memory of a process since [`forget_peak`], in bytes.
pub(crate) fn peak(pid: u32) -> Result<u64, Error> {
    let status = proc_file(pid, "status")?;
    parse_kib(&status, "VmHWM:").ok_or(Error::Proc { pid })
}

/// From now on [`peak`] is measured: `/proc/PID/clear_refs` of proc(5), value 5.
pub(crate) fn forget_peak(pid: u32) -> Result<(), Error> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").map_err(|_| Error::Proc { pid })
}

/// What the sockets of this machine hold at present, in bytes: `mem` of `/proc/net/sockstat`.
pub(crate) fn socket_memory() -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    Ok(parse_tcp_pages(&text).unwrap_or_default() * rustix::param::page_size() as u64)
}

/// What the kernel holds for all sockets of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    sockets: u64,
    /// Of their objects. Sockets that are idle have no buffers, and those of others would count.
    pub(crate) bytes: u64,
}

/// `None`: only root sees the objects by kind.
pub(crate) fn kernel() -> Option<Kernel> {
    let slabinfo = fs::read_to_string("/proc/slabinfo").ok()?;
    Some(parse_objects(&slabinfo))
}

impl Kernel {
    /// The bytes for each socket that came since; `None`: fewer came than ours, so others went, and
    /// nothing can be told.
    pub(crate) fn per_socket(self, before: Self, ours: u64) -> Option<u64> {
        let sockets = self.sockets.checked_sub(before.sockets)?;
        let bytes = self.bytes.checked_sub(before.bytes)?;
        (sockets >= ours).then(|| bytes / sockets.max(1))
    }
}

/// How urgent a thread is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Priority {
    nice: i32,
    /// Above 0 it goes before all that are nice, however little.
    realtime: u32,
}

impl Priority {
    /// Of this thread.
    pub(crate) fn own() -> Result<Self, Error> {
        let stat = fs::read_to_string("/proc/thread-self/stat")?;
        let pid = std::process::id();
        parse_priority(&stat).ok_or(Error::Proc { pid })
    }

    /// Of a process's threads, which mostly have the same.
    pub(crate) fn of(pid: u32) -> Result<Vec<Self>, Error> {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
        let stats = threads.map(|thread| fs::read_to_string(thread?.path().join("stat")));
        // A thread may end meanwhile.
        let own = stats.flatten().map(|stat| parse_priority(&stat));
        own.collect::<Option<_>>().ok_or(Error::Proc { pid })
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.realtime {
            0 => write!(f, "nice {}", self.nice),
            realtime => write!(f, "realtime {realtime}"),
        }
    }
}

fn server_cpu(pids: &[u32]) -> Result<Option<Duration>, Error> {
    let times: Result<Vec<_>, _> = pids.iter().map(|pid| cpu(*pid)).collect();
    let times = times?;
    Ok((!times.is_empty()).then(|| times.iter().sum()))
}

/// In nanoseconds where the kernel tells, which it does of threads that still run; else in steps
/// of 10 ms.
fn cpu(pid: u32) -> Result<Duration, Error> {
    if let Some(nanos) = nanos_of_threads(pid) {
        return Ok(Duration::from_nanos(nanos));
    }
    let ticks = parse_ticks(&proc_file(pid, "stat")?).ok_or(Error::Proc { pid })?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

fn nanos_of_threads(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread that ends meanwhile is no reason to know nothing.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
        sum += nanos;
    }
    (sum > 0).then_some(sum)
}

/// utime + stime. The name in parentheses may hold anything, parentheses too.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// nice and rt_priority of proc_pid_stat(5).
fn parse_priority(stat: &str) -> Option<Priority> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_whitespace().skip(16);
    let nice = fields.next()?.parse().ok()?;
    let realtime = fields.nth(20)?.parse().ok()?;
    Some(Priority { nice, realtime })
}

/// A line such as `Rss:   1396 kB`, in bytes.
fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Name, objects in use, objects, bytes of each.
fn parse_objects(slabinfo: &str) -> Kernel {
    let kinds = slabinfo.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.next().filter(|name| OF_A_SOCKET.contains(name))?;
        let used: u64 = words.next()?.parse().ok()?;
        let size: u64 = words.nth(1)?.parse().ok()?;
        Some((kind, used, size))
    });
    let none = Kernel {
        sockets: 0,
        bytes: 0,
    };
    kinds.fold(none, |sum, (kind, used, size)| Kernel {
        sockets: sum.sockets + if kind.starts_with("TCP") { used } else { 0 },
        bytes: sum.bytes + used * size,
    })
}

fn parse_tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP:"))?;
    let (_, pages) = line.split_once(" mem ")?;
    pages.split_whitespace().next()?.parse().ok()
}

fn proc_file(pid: u32, name: &str) -> Result<String, Error> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(|_| Error::Proc { pid })
}

/// The bench server, ended when dropped.
#[derive(Debug)]
pub(crate) struct BenchServer {
    child: Child,
    /// A closed pipe would make the server's next line of output fail.
    stdout: Option<BufReader<ChildStdout>>,
    pub(crate) address: SocketAddr,
    /// Where its metrics are, if it was started with them.
    pub(crate) metrics: Option<SocketAddr>,
}

impl BenchServer {
    /// Starts the program next to this one on a free port, which its first line of output tells;
    /// with `--admin` the second one tells where its metrics are.
    pub(crate) fn start(args: &[String]) -> Result<Self, Error> {
        Self::start_in(args, &[])
    }

    /// The same with variables in its environment.
    pub(crate) fn start_in(args: &[String], env: &[(&str, &str)]) -> Result<Self, Error> {
        let program = env::current_exe()?.with_file_name("bench-server");
        let child = Command::new(&program)
            .args(["--port", "0"])
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let child = child.map_err(|error| Error::BenchServer(error.to_string()))?;
        // Owned from here on, so that every way out ends the child.
        let mut server = Self {
            child,
            stdout: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            metrics: None,
        };
        if let Some(stdout) = server.child.stdout.take() {
            let stdout = server.stdout.insert(BufReader::new(stdout));
            server.address.set_port(port(stdout)?);
            if args.iter().any(|arg| arg == "--admin") {
                let local = SocketAddr::from(([127, 0, 0, 1], port(stdout)?));
                server.metrics = Some(local);
            }
        }
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is gone.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Error> {
        Ok(self.child.try_wait()?.is_some())
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        let ended: io::Result<_> = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            eprintln!("the bench server cannot be ended: {error}");
        }
    }
}

fn port(stdout: &mut impl BufRead) -> Result<u16, Error> {
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    parse_port(&line)
        .ok_or_else(|| Error::BenchServer(format!("it does not tell its port: {line:?}")))
}

/// The last `:PORT` of a line such as `listening on 127.0.0.1:34567`.
fn parse_port(line: &str) -> Option<u16> {
    let (_, rest) = line.trim_end().rsplit_once(':')?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 99 0 0 0 150 25 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_ticks(stat), Some(175));
        assert_eq!(parse_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn priorities() {
        let stat = |nice, realtime| {
            format!(
                "7 (a) b) R 1 7 7 0 -1 4194560 99 0 0 0 150 25 0 0 20 {nice} 1 0 5 0 0 \
                 1 2 3 4 5 6 7 8 9 10 11 12 13 17 1 {realtime} 2 0 0"
            )
        };
        let told = |stat: String| parse_priority(&stat).unwrap().to_string();
        assert_eq!(told(stat("-10", "0")), "nice -10");
        assert_eq!(told(stat("19", "1")), "realtime 1");
        assert_eq!(parse_priority("7 (a) R 1"), None);
        let own = Priority::own().unwrap();
        assert!(Priority::of(std::process::id()).unwrap().contains(&own));
    }

    #[test]
    fn resident_memory() {
        let rollup = "5500 ---p 0 00:00 0  [rollup]\nRss:                1396 kB\nPss: 9 kB\n";
        assert_eq!(parse_kib(rollup, "Rss:"), Some(1396 * 1024));
        let own = resident(&[std::process::id()]).unwrap();
        assert!(own > Some(0));
        assert_eq!(resident(&[]).unwrap(), None);
        assert_eq!(parse_kib(rollup, "Pss:"), Some(9 * 1024));
        assert!(proportional(&[std::process::id()]).unwrap() > 0);
        assert!(meminfo("MemAvailable:").unwrap() > 0);
    }

    #[test]
    fn a_peak_begins_where_memory_is() {
        let own = std::process::id();
        forget_peak(own).unwrap();
        assert!(peak(own).unwrap() > 0);
    }

    #[test]
    fn kernel_memory() {
        let slabinfo = "# name <active_objs>\nTCP 3 13 2368 13 8 : tunables\ntw_sock_TCP 9 9 256\nfilp 5 8 192";
        let before = parse_objects(slabinfo);
        assert_eq!((before.sockets, before.bytes), (3, 3 * 2368 + 5 * 192));
        let after = Kernel {
            sockets: 13,
            bytes: before.bytes + 40_000,
        };
        assert_eq!(after.per_socket(before, 10), Some(4_000));
        assert_eq!(after.per_socket(before, 11), None);
        assert_eq!(before.per_socket(after, 0), None);
        let sockstat =
            "sockets: used 32\nTCP: inuse 1 orphan 0 tw 9 alloc 2 mem 343\nUDP: inuse 0 mem 7\n";
        assert_eq!(parse_tcp_pages(sockstat), Some(343));
    }

    #[test]
    fn threads_add_up() {
        let own = cpu(std::process::id()).unwrap();
        let mut spent = 0_u64;
        while cpu(std::process::id()).unwrap() < own + Duration::from_millis(20) {
            spent = std::hint::black_box(spent + 1);
        }
        assert!(spent > 0);
    }

    #[test]
    fn the_port_in_a_line() {
        assert_eq!(parse_port("listening on 127.0.0.1:34567\n"), Some(34567));
        assert_eq!(parse_port("tcp://0.0.0.0:3010 (2 workers)"), Some(3010));
        assert_eq!(parse_port("ready"), None);
    }
}
