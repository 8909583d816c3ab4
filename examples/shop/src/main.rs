//! The shop as a server.

use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use session_process::{Sessions, records::SessionRecords, store::MemoryStore};
use session_process_sqlite::SqliteStore;
use shop::{Shop, app};
use tokio::net::TcpListener;

const HELP: &str = "\
A small shop on session-process.

Usage: shop [--host ADDRESS] [--port N] [--data DIR] [--store memory|sqlite:FILE] [--developer]

  --host ADDRESS  where to listen (default: 127.0.0.1)
  --port N        0 picks a free one (default: 3000)
  --data DIR      where shop.db is, the file with all sessions (default: ./shop-data)
  --store STORE   memory: sessions end with the program
                  sqlite:FILE: another file than shop.db in DIR
  --developer     a page that shows what happened in your session: /developer
  --help          this text
";

/// Requests under way, and then sessions, have this long to come to their end.
const DRAIN: Duration = Duration::from_secs(3);

/// Half an hour under the idle timeout of one hour: who is away for so long takes up no memory.
const SLEEP_AFTER: Duration = Duration::from_secs(30 * 60);

#[derive(Debug)]
enum Store {
    Memory,
    Sqlite(PathBuf),
}

struct Options {
    host: IpAddr,
    port: u16,
    store: Store,
    developer: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "shop: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let Some(options) = options()? else {
        io::stdout().write_all(HELP.as_bytes())?;
        return Ok(());
    };
    let (file, records) = match &options.store {
        Store::Memory => (None, SessionRecords::builder(MemoryStore::new())),
        Store::Sqlite(path) => {
            let store = SqliteStore::open(path).await?;
            (Some(store.clone()), SessionRecords::builder(store))
        }
    };
    let mut shop = Shop::with_records(Sessions::builder().sleep_after(SLEEP_AFTER), records.build()?)?;
    if options.developer {
        shop = shop.with_developer_page();
    }
    let app = app(&shop);
    // Before anybody is told the address: a signal from then on is not missed.
    let stop = stop_signal()?;
    let address = SocketAddr::new(options.host, options.port);
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| format!("can't listen on {address}: {error}"))?;
    say(format_args!("listening on http://{}", listener.local_addr()?))?;

    match &file {
        Some(store) => say(format_args!("sessions are in {}", store.path().display()))?,
        None => say(format_args!("sessions are in memory, and end with this program"))?,
    }

    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    let graceful = async move {
        stop.await;
        drop(stopping);
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(graceful);
    let time_is_up = async {
        // An error: the sender is gone, as it was asked to stop.
        let _ = stopped.changed().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = async { server.await } => served?,
        () = time_is_up => say(format_args!("some connections were cut off"))?,
    }

    let report = shop.sessions().shutdown(DRAIN).await;
    say(format_args!(
        "stopped: {} sessions ended, {} cut off",
        report.ended,
        report.cut.len()
    ))?;
    for session in report.cut {
        say(format_args!("cut off: {session}"))?;
    }
    if let Err(error) = shop.records().shutdown(DRAIN).await {
        // Sessions and carts are there; only when they were last used is not.
        say(format_args!("the last accesses were not saved: {error}"))?;
    }
    if let Some(store) = file {
        store.shutdown().await;
    }
    Ok(())
}

fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// `None`: the user asked for help.
fn options() -> Result<Option<Options>, lexopt::Error> {
    use lexopt::prelude::*;

    let mut options = Options {
        host: IpAddr::from([127, 0, 0, 1]),
        port: 3000,
        store: Store::Memory,
        developer: false,
    };
    let (mut data, mut store) = (PathBuf::from("shop-data"), None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("host") => options.host = arguments.value()?.parse()?,
            Short('p') | Long("port") => options.port = arguments.value()?.parse()?,
            Long("data") => data = arguments.value()?.into(),
            Long("store") => store = Some(arguments.value()?.parse_with(parse_store)?),
            Long("developer") => options.developer = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    options.store = store.unwrap_or_else(|| Store::Sqlite(data.join("shop.db")));
    Ok(Some(options))
}

fn parse_store(text: &str) -> Result<Store, &'static str> {
    match text.split_once(':') {
        None if text == "memory" => Ok(Store::Memory),
        Some(("sqlite", file)) if !file.is_empty() => Ok(Store::Sqlite(file.into())),
        _ => Err("a store is `memory` or `sqlite:FILE`"),
    }
}

#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler the system ends the program by itself.
        let _ = tokio::signal::ctrl_c().await;
    })
}
