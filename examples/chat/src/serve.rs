//! `chat serve`: gate, connectors and chat servers, until a signal.

use std::path::PathBuf;

use pomelo_server::{Config, ConfigError, Hybrid, StartError};

use crate::{servers, web};

pub(crate) const USAGE: &str = "\
usage: chat serve [--env ENV] [--config DIR] [--port-offset N | --free-ports] [--plain]

Runs gate, connectors and chat servers in one process until Ctrl-C or SIGTERM.

  --env ENV          environment of servers.json (default development)
  --config DIR       where servers.json is (default that of this example)
  --port-offset N    added to every port of clients, when those of the file are taken
  --free-ports       the system chooses the ports of clients
  --plain            messages are JSON with whole routes: no dictionary, no protobuf

A page for browsers on this machine is on port 3001, moved like the others. Its
client is what `cargo xtask wasm` makes.";

/// Where `cargo xtask wasm` puts the browser client.
const BROWSER_CLIENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/npm/pomelo-client-wasm"
);

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    env: String,
    config: PathBuf,
    ports: Ports,
    plain: bool,
}

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    /// So much above what servers.json says.
    Offset(u16),
    Free,
}

impl Options {
    /// Reads the arguments after `serve`; `None` if help is asked for.
    pub(crate) fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, Error> {
        use lexopt::prelude::{Long, Short, ValueExt as _};

        let mut options = Self {
            env: "development".to_owned(),
            config: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config"),
            ports: Ports::Offset(0),
            plain: false,
        };
        while let Some(argument) = args.next()? {
            match argument {
                Long("help") | Short('h') => return Ok(None),
                Long("env") => options.env = args.value()?.string()?,
                Long("config") => options.config = args.value()?.into(),
                Long("port-offset") => {
                    let number = args.value()?.string()?;
                    let offset = number.parse().map_err(|_| Error::Offset(number))?;
                    options.ports = Ports::Offset(offset);
                }
                Long("free-ports") => options.ports = Ports::Free,
                Long("plain") => options.plain = true,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Some(options))
    }
}

/// Why the servers do not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument that is wrong by itself.
    #[error("bad arguments")]
    Arguments(#[from] lexopt::Error),
    /// No number, or one that no port can have.
    #[error("--port-offset needs a number up to 65535, not {0:?}")]
    Offset(String),
    /// There is no port so high.
    #[error("--port-offset {offset} is too much: {server} has port {port}, and 65535 is the last")]
    PortTooHigh {
        /// The server that has no port then.
        server: String,
        /// Its port in servers.json.
        port: u16,
        /// What was to be added.
        offset: u16,
    },
    /// The configuration cannot be used.
    #[error("cannot read the configuration")]
    Config(#[from] ConfigError),
    /// The port of the page is taken, most likely.
    #[error("cannot serve the page on port {port}")]
    Page {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// The servers do not start.
    #[error("cannot start")]
    Start(#[from] StartError),
}

/// Runs until a signal, then stops in good order.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let mut config = Config::load(&options.config, &options.env)?;
    move_ports(&mut config, options.ports)?;
    let mut app = servers::app(config, &options.env);
    if options.plain {
        app = app.configure("all", "connector|gate", |server| {
            server.connector(Hybrid::new().heartbeat_secs(3))
        });
    }
    let running = app.start().await?;

    let mut addresses: Vec<_> = running.addresses().iter().collect();
    addresses.sort();
    for (server, address) in &addresses {
        println!("{server:<20} listens on {address}");
    }
    let gate = addresses
        .iter()
        .find(|(server, _)| server.starts_with("gate"));
    let mut page = None;
    match gate.map(|(_, address)| address.port()) {
        Some(gate) => {
            let port = options.ports.moved(web::PORT).unwrap_or(0);
            let web = web::serve(port, gate, BROWSER_CLIENT.as_ref())
                .await
                .map_err(|source| Error::Page { port, source })?;
            println!("\n{}", invitation(gate, &web));
            page = Some(web);
        }
        None => println!("\nThere is no gate, so clients must know a connector. Ctrl-C stops it."),
    }
    running.until_signal().await;
    drop(page);
    println!("stopped");
    Ok(())
}

fn move_ports(config: &mut Config, ports: Ports) -> Result<(), Error> {
    for server in &mut config.servers {
        let Some(port) = server.client_port else {
            continue;
        };
        let moved = ports.moved(port).map_err(|offset| Error::PortTooHigh {
            server: server.id.to_string(),
            port,
            offset,
        })?;
        server.client_port = Some(moved);
    }
    Ok(())
}

impl Ports {
    /// Where a port goes, or the offset that is too much for it.
    fn moved(self, port: u16) -> Result<u16, u16> {
        match self {
            Self::Free => Ok(0),
            Self::Offset(offset) => port.checked_add(offset).ok_or(offset),
        }
    }
}

/// What to do next.
fn invitation(gate: u16, web: &web::Web) -> String {
    let page = web.address;
    let hint = if web.has_client {
        ""
    } else {
        " (after `cargo xtask wasm`, which makes its client)"
    };
    let option = if gate == 3014 {
        String::new()
    } else {
        format!(" --gate ws://127.0.0.1:{gate}")
    };
    format!(
        "The chat is running. In a browser, twice: http://{page}/{hint}\n\nOr in two other terminals:\n\n    \
         cargo run -p chat -- talk alice lobby{option}\n    \
         cargo run -p chat -- talk bob lobby{option}\n\n\
         Old pages and clients of pomelo find the gate on port {gate}. Ctrl-C stops it."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>, Error> {
        Options::parse(lexopt::Parser::from_args(args))
    }

    fn ports(args: &[&str]) -> Result<Vec<u16>, Error> {
        let options = parse(args)?.unwrap();
        let mut config = Config::load(&options.config, &options.env)?;
        move_ports(&mut config, options.ports)?;
        let servers = config.servers.iter();
        Ok(servers.filter_map(|server| server.client_port).collect())
    }

    #[test]
    fn ports_are_those_of_the_file_unless_they_are_moved() {
        assert_eq!(ports(&[]).unwrap(), [3050, 3051, 3052, 3014]);
        let moved = ports(&["--env", "production", "--port-offset", "1000"]).unwrap();
        assert_eq!(moved, [4050, 4051, 4052, 4014]);
        assert_eq!(ports(&["--free-ports"]).unwrap(), [0; 4]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert_eq!(parse(&["--help"]).unwrap(), None);
        for wrong in ["x", "-1", "65536"] {
            let error = parse(&["--port-offset", wrong]).unwrap_err();
            assert!(matches!(error, Error::Offset(_)), "{error}");
        }
        let error = ports(&["--port-offset", "65000"]).unwrap_err();
        assert!(
            matches!(error, Error::PortTooHigh { port: 3050, .. }),
            "{error}"
        );
        assert!(matches!(parse(&["--nope"]), Err(Error::Arguments(_))));
        assert!(matches!(
            ports(&["--env", "staging"]),
            Err(Error::Config(_))
        ));
    }

    #[tokio::test]
    async fn the_invitation_names_the_page_and_a_gate_that_talk_would_not_find() {
        let web = web::serve(0, 3014, "nowhere".as_ref()).await.unwrap();
        let text = invitation(3014, &web);
        assert!(text.contains(&format!(
            "http://{}/ (after `cargo xtask wasm`",
            web.address
        )));
        assert!(!text.contains("--gate"));
        assert!(invitation(4014, &web).contains("talk bob lobby --gate ws://127.0.0.1:4014\n"));
    }
}
