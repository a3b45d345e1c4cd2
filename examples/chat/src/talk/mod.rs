//! `chat talk`: the chat in a terminal.
//!
//! `session` speaks to the servers, `command` reads what the user typed. Two faces share them: `screen`
//! draws `state` on a terminal, and `plain` prints lines when there is none, for pipes and tests.

mod command;
mod editor;
mod line;
mod plain;
mod screen;
mod session;
mod state;
mod text;
mod view;

use std::io::{self, IsTerminal as _};

use pomelo_client::{BodyError, CloseReason, ConnectError, RequestError};

use session::Session;

pub(crate) const USAGE: &str = "\
usage: chat talk [--gate URL] NAME ROOM

Enters ROOM as NAME and chats. Without a terminal on standard input and output, each
line that is read is sent and each message is printed as a line.

  --gate URL   address of the gate, tcp://host:port or ws://host:port
               (default ws://127.0.0.1:3014)

  text         says it to everybody in the room
  @name text   says it to one person
  /quit        leaves, as Ctrl-C and Ctrl-D do";

const DEFAULT_GATE: &str = "ws://127.0.0.1:3014";

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    gate: String,
    name: String,
    room: String,
}

impl Options {
    /// Reads the arguments after `talk`; `None` if help is asked for.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, Error> {
        use lexopt::prelude::{Long, Short, Value, ValueExt as _};

        let mut gate = DEFAULT_GATE.to_owned();
        let mut names = Vec::new();
        while let Some(arg) = args.next()? {
            match arg {
                Long("help") | Short('h') => return Ok(None),
                Long("gate") => gate = args.value()?.string()?,
                Value(name) if names.len() < 2 => names.push(name.string()?),
                Short(_) | Long(_) | Value(_) => return Err(arg.unexpected().into()),
            }
        }
        let Ok([name, room]) = <[String; 2]>::try_from(names) else {
            return Err(Error::Usage("a name and a room are needed"));
        };
        // The server joins name and room with a `*`, and `*` as a receiver is everybody.
        let fits = |name: &str| {
            !name.is_empty() && !name.contains(['*', '\0']) && name == line::clean(name)
        };
        if !fits(&name) || name.contains(char::is_whitespace) {
            return Err(Error::Usage(
                "NAME may hold no white space, control characters or `*`",
            ));
        }
        if !fits(&room) {
            return Err(Error::Usage("ROOM may hold no control characters or `*`"));
        }
        Ok(Some(Self { gate, name, room }))
    }
}

/// Why the chat did not start, or ended other than by the user's wish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Arguments that are wrong together.
    #[error("{0}\n\n{USAGE}")]
    Usage(&'static str),
    /// An argument that is wrong by itself.
    #[error("bad arguments")]
    Arguments(#[from] lexopt::Error),
    /// The gate or the connector cannot be reached.
    #[error("no connection to the {server} at {url}")]
    Connect {
        /// Which of the servers.
        server: &'static str,
        /// Its address.
        url: String,
        /// How far it came.
        source: ConnectError,
    },
    /// A server did not answer.
    #[error("{route} failed")]
    Request {
        /// What was asked.
        route: &'static str,
        /// Why there is no answer.
        source: RequestError,
    },
    /// An answer that makes no sense.
    #[error("cannot read the answer to {route}")]
    Answer {
        /// What was asked.
        route: &'static str,
        /// What is wrong with it.
        source: BodyError,
    },
    /// A server answered with an error.
    #[error("the server refused {route} with code {code}")]
    Refused {
        /// What was asked.
        route: &'static str,
        /// pomelo's code, 500 for everything.
        code: u32,
    },
    /// The gate names no connector.
    #[error("the gate named no connector")]
    NoConnector,
    /// Somebody of that name is in the room.
    #[error("the name {name} is taken in the room {room}, choose another")]
    NameTaken {
        /// The name that was asked for.
        name: String,
        /// The room.
        room: String,
    },
    /// The connection ended while chatting.
    #[error("the connection is lost")]
    Lost(#[source] CloseReason),
    /// Standard input, standard output or the terminal failed.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
}

/// Chats until the user leaves or the connection ends. The terminal is restored in every case.
///
/// Input is read by a thread which may outlive this call, until the process ends.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let session = Session::join(options).await?;
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        screen::run(session).await
    } else {
        plain::run(session).await
    }
}

/// Waits until the system asks the process to end. Ctrl-C is that too, unless the terminal is in raw
/// mode and makes a key of it.
async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        if let (Ok(mut hangup), Ok(mut terminate)) = (
            signal(SignalKind::hangup()),
            signal(SignalKind::terminate()),
        ) {
            tokio::select! {
                _ = hangup.recv() => return,
                _ = terminate.recv() => return,
                result = tokio::signal::ctrl_c() => if result.is_ok() { return },
            }
        }
        // Without handlers the signals end the process themselves.
        std::future::pending().await
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>, Error> {
        Options::parse(lexopt::Parser::from_args(args))
    }

    #[test]
    fn name_room_and_gate() {
        let options = parse(&["小明", "大厅", "--gate", "tcp://127.0.0.1:9"])
            .unwrap()
            .unwrap();
        assert_eq!(
            (options.name.as_str(), options.room.as_str()),
            ("小明", "大厅")
        );
        assert_eq!(options.gate, "tcp://127.0.0.1:9");
        assert_eq!(parse(&["a", "b"]).unwrap().unwrap().gate, DEFAULT_GATE);
        assert_eq!(parse(&["--help"]).unwrap(), None);
    }

    #[test]
    fn names_that_the_server_would_misread_are_refused() {
        for args in [
            &["a"][..],
            &["a*b", "r"],
            &["*", "r"],
            &["a b", "r"],
            &["", "r"],
            &["a\u{1b}", "r"],
            &["a", "r*"],
        ] {
            assert!(matches!(parse(args), Err(Error::Usage(_))), "{args:?}");
        }
        assert!(matches!(parse(&["a", "b", "c"]), Err(Error::Arguments(_))));
    }
}
