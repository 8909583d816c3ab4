//! One shop, from its store to its end.

use std::{error::Error, io, time::Duration};

use axum::serve::ListenerExt;
use session_process::{
    Sessions,
    records::{RecordsBuilder, SessionRecords},
    store::MemoryStore,
};
use session_process_axum::live;
use session_process_postgres::PostgresStore;
use session_process_sqlite::SqliteStore;
use shop::{Shop, app};
use tokio::net::TcpListener;

use crate::{
    health,
    options::{Options, Store},
    say, stop_signal,
};

/// Requests under way, and then sessions, have this long to come to their end.
const DRAIN: Duration = Duration::from_secs(3);

/// Connections that take nothing for so long are closed. Live pages are after the same time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Half an hour under the idle timeout of one hour: who is away for so long takes up no memory.
const SLEEP_AFTER: Duration = Duration::from_secs(30 * 60);

/// A store that is open, to be closed at the end.
#[derive(Clone)]
pub(crate) enum Open {
    Memory,
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Open {
    async fn open(store: &Store) -> Result<(Self, RecordsBuilder), Box<dyn Error>> {
        Ok(match store {
            Store::Memory => (Self::Memory, SessionRecords::builder(MemoryStore::new())),
            Store::Sqlite(path) => {
                let store = SqliteStore::open(path).await?;
                (Self::Sqlite(store.clone()), SessionRecords::builder(store))
            }
            Store::Postgres(url) => {
                let store = PostgresStore::open(url).await?;
                (Self::Postgres(store.clone()), SessionRecords::builder(store))
            }
        })
    }

    fn introduce(&self) -> io::Result<()> {
        match self {
            Self::Memory => say(format_args!("sessions are in memory, and end with this program")),
            Self::Sqlite(store) => say(format_args!("sessions are in {}", store.path().display())),
            Self::Postgres(_) => say(format_args!(
                "sessions are in PostgreSQL, shared with all shops on that database"
            )),
        }
    }

    /// What becomes of a session when the program stops.
    fn puts_them(&self) -> &'static str {
        match self {
            Self::Memory => "ended",
            Self::Sqlite(_) | Self::Postgres(_) => "saved",
        }
    }

    async fn shutdown(self) {
        match self {
            Self::Memory => {}
            Self::Sqlite(store) => store.shutdown().await,
            Self::Postgres(store) => store.shutdown().await,
        }
    }
}

pub(crate) async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let (store, records) = Open::open(&options.store).await?;
    let mut shop = Shop::with_records(Sessions::builder().sleep_after(SLEEP_AFTER), records.build()?)?;
    if options.developer {
        shop = shop.with_developer_page();
    }
    let app = app(&shop).merge(health::routes(shop.sessions().clone(), store.clone()));
    // Before anybody is told the address: a signal from then on is not missed.
    let stop = stop_signal(options.until_stdin_ends)?;
    let listener = TcpListener::bind(options.address).await;
    let listener = listener.map_err(|error| format!("can't listen on {}: {error}", options.address))?;
    say(format_args!("listening on http://{}", listener.local_addr()?))?;
    // A browser that takes nothing, or is gone without a word, has no connection for longer than its page.
    let listener = listener.tap_io(live::write_timeout(WRITE_TIMEOUT));
    store.introduce()?;

    let (stopping, mut stopped) = tokio::sync::watch::channel(());
    let pages = shop.pages().clone();
    let graceful = async move {
        stop.await;
        // An open page would hold up the server until it is closed.
        pages.close();
        drop(stopping);
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(graceful);
    let time_is_up = async {
        // An error: the sender is gone, as it was asked to stop.
        let _ = stopped.changed().await;
        tokio::time::sleep(DRAIN).await;
    };
    let cut_off = tokio::select! {
        served = async { server.await } => served.map(|()| false)?,
        () = time_is_up => true,
    };

    let report = shop.sessions().shutdown(DRAIN).await;
    let put = store.puts_them();
    let accesses = shop.records().shutdown(DRAIN).await;
    store.shutdown().await;
    // Last: whoever reads this may be gone, and then it is an error.
    if cut_off {
        say(format_args!("some connections were cut off"))?;
    }
    let ended = match report.ended {
        1 => "1 session".to_owned(),
        many => format!("{many} sessions"),
    };
    say(format_args!("stopped: {ended} {put}, {} cut off", report.cut.len()))?;
    for session in report.cut {
        say(format_args!("cut off: {session}"))?;
    }
    if let Err(error) = accesses {
        // Sessions and carts are there; only when they were last used is not.
        say(format_args!("the last accesses were not saved: {error}"))?;
    }
    Ok(())
}
