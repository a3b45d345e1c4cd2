//! A network for the run alone.

use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

/// Makes a loopback that does not remember closed connections. The kernel keeps them for a minute
/// against segments that are still under way, of which a loopback has none. On this machine, where
/// the clients are, too, the remains of one server's run would cost the next one time.
const PREPARE: &str = "ip link set lo up \
    && echo 0 >/proc/sys/net/ipv4/tcp_max_tw_buckets \
    && echo ready && read -r _";

/// In which network servers and load tool meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// A namespace with nobody else in it, nor anything of the server before.
    Own,
    /// That of the machine, and why.
    Machine(String),
}

impl Network {
    /// From now on this thread, and so all it starts, is in a network namespace of its own, if that is
    /// allowed here. It reaches nothing but itself.
    pub(crate) fn enter() -> Self {
        let own = ThreadNameSpaceType::NETWORK;
        // Who is not root becomes it, but of nothing else.
        let as_user = own | ThreadNameSpaceType::USER;
        let entered =
            enter(&["--net"], own).or_else(|_| enter(&["--map-root-user", "--net"], as_user));
        match entered {
            Ok(()) => Self::Own,
            Err(why) => {
                eprintln!("the network stays that of the machine: {why}");
                Self::Machine(why)
            }
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => {
                f.write_str("a namespace of its own, where closed connections leave nothing behind")
            }
            Self::Machine(why) => write!(
                f,
                "that of the machine, where closed connections of one server cost the next one time ({why})"
            ),
        }
    }
}

/// Follows a process into the namespaces that `unshare` makes for it, once they are ready.
fn enter(unshare: &[&str], namespaces: ThreadNameSpaceType) -> Result<(), String> {
    let cannot = |error: io::Error| format!("`unshare` cannot be run: {error}");
    let mut first = Command::new("unshare")
        .args(unshare)
        .args(["sh", "-c", PREPARE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut line = String::new();
    if let Some(output) = &mut first.stdout {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(cannot)?;
    }
    let entered = (line == "ready\n").then(|| {
        let first = pidfd_open(Pid::from_child(&first), PidfdFlags::empty())?;
        move_into_thread_name_spaces(first.as_fd(), namespaces)
    });
    // With its input it ends.
    let said = first.wait_with_output().map_err(cannot)?.stderr;
    match entered {
        Some(entered) => entered.map_err(|error| io::Error::from(error).to_string()),
        None => Err(String::from_utf8_lossy(&said)
            .lines()
            .next()
            .unwrap_or("no reason given")
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    fn namespace(of: &str) -> std::path::PathBuf {
        fs::read_link(format!("/proc/{of}/ns/net")).unwrap()
    }

    /// A connection that the client ends.
    fn connect_and_close() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"all").unwrap();
        drop(client);
        let mut received = String::new();
        server.read_to_string(&mut received).unwrap();
        assert_eq!(received, "all");
    }

    /// Only the thread that enters is inside. Where that is not allowed, it is where it was.
    #[test]
    fn a_network_where_closed_connections_are_gone() {
        let outside = namespace("thread-self");
        let inside = thread::spawn(|| {
            let network = Network::enter();
            connect_and_close();
            let sockets = fs::read_to_string("/proc/thread-self/net/sockstat").unwrap();
            (network, namespace("thread-self"), sockets)
        });
        let (network, inside, sockets) = inside.join().unwrap();
        match network {
            Network::Own => {
                assert_ne!(inside, outside);
                assert!(sockets.contains(" tw 0 "), "{sockets}");
            }
            Network::Machine(why) => {
                assert_eq!(inside, outside);
                assert!(!why.is_empty());
            }
        }
        assert_eq!(namespace("thread-self"), outside);
    }

    #[test]
    fn what_stands_in_the_way_is_told() {
        let none = ThreadNameSpaceType::empty();
        let why = enter(&["--no-such-option"], none).unwrap_err();
        assert!(why.contains("no-such-option"), "{why}");
        let words = Network::Machine(why.clone()).to_string();
        assert!(words.ends_with(&format!("({why})")), "{words}");
    }
}
