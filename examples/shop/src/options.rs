//! What the program is asked to do.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use lexopt::prelude::*;

pub(crate) const HELP: &str = "\
A small shop on session-process.

Usage: shop [--host ADDRESS] [--port N] [--data DIR] [--store STORE] [--developer]
       shop cluster [--host ADDRESS] [--port N] [--developer]

  --host ADDRESS  where to listen (default: 127.0.0.1)
  --port N        0 picks a free one (default: 3000)
  --data DIR      where shop.db is, the file with all sessions (default: ./shop-data)
  --store STORE   memory: sessions end with the program
                  sqlite:FILE: another file than shop.db in DIR
                  postgres://USER:PASSWORD@HOST/DATABASE: shared by all shops that are given it
  --developer     a page that shows what happened in your session: /developer
  --help          this text

RUST_LOG says what is logged (default: info; session_process=debug: each session's beginning and end)

cluster: two shops on ports N and N + 1, with a PostgreSQL server of their own that goes with them

What it answers to besides its pages, as JSON: examples/shop/README.md
";

pub(crate) enum Command {
    Help,
    Serve(Options),
    Cluster(Nodes),
}

/// One shop.
pub(crate) struct Options {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) developer: bool,
    /// It stops when its standard input ends: a node, when whoever started it is gone.
    pub(crate) until_stdin_ends: bool,
}

pub(crate) enum Store {
    Memory,
    Sqlite(PathBuf),
    /// May hold a password: never shown.
    Postgres(String),
}

/// Two shops.
pub(crate) struct Nodes {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) developer: bool,
    pub(crate) until_stdin_ends: bool,
}

/// An option that is wrong, and where to look.
#[derive(Debug)]
pub(crate) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (`shop --help` says what there is)", self.0)
    }
}

impl Error for Wrong {}

impl From<lexopt::Error> for Wrong {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn read() -> Result<Command, Wrong> {
    let (mut host, mut port) = (IpAddr::from([127, 0, 0, 1]), 3000);
    let (mut data, mut store) = (None::<PathBuf>, None);
    let (mut cluster, mut developer, mut until_stdin_ends) = (false, false, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Value(word) if word == "cluster" && !cluster => cluster = true,
            Long("host") => host = value("--host", &mut arguments, |text| text.parse())?,
            Short('p') | Long("port") => port = value("--port", &mut arguments, |text| text.parse())?,
            Long("data") => data = Some(arguments.value()?.into()),
            Long("store") => store = Some(value("--store", &mut arguments, parse_store)?),
            Long("developer") => developer = true,
            Long("until-stdin-ends") => until_stdin_ends = true,
            Short('h') | Long("help") => return Ok(Command::Help),
            _ => return Err(argument.unexpected().into()),
        }
    }
    if cluster {
        if store.is_some() || data.is_some() {
            let why = "a cluster has a store of its own; for another, start two shops with the same --store";
            return Err(Wrong(why.to_owned()));
        }
        return Ok(Command::Cluster(Nodes {
            host,
            port,
            developer,
            until_stdin_ends,
        }));
    }
    let data = data.unwrap_or_else(|| PathBuf::from("shop-data"));
    Ok(Command::Serve(Options {
        address: SocketAddr::new(host, port),
        store: store.unwrap_or_else(|| Store::Sqlite(data.join("shop.db"))),
        developer,
        until_stdin_ends,
    }))
}

/// The value of an option, which an error names. Never the value itself: it may hold a password.
fn value<T, E: fmt::Display>(
    option: &str,
    arguments: &mut lexopt::Parser,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Wrong> {
    let text = arguments.value()?.string()?;
    parse(&text).map_err(|error| Wrong(format!("{option}: {error}")))
}

fn parse_store(text: &str) -> Result<Store, &'static str> {
    match text.split_once(':') {
        None if text == "memory" => Ok(Store::Memory),
        Some(("sqlite", file)) if !file.is_empty() => Ok(Store::Sqlite(file.into())),
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Store::Postgres(text.to_owned())),
        _ => Err("a store is `memory`, `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`"),
    }
}
