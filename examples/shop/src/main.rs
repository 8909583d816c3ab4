//! The shop as a server.

use std::{
    error::Error,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use session_process::Sessions;
use shop::{Shop, app};
use tokio::net::TcpListener;

const HELP: &str = "\
A small shop on session-process.

Usage: shop [--host ADDRESS] [--port N] [--developer]

  --host ADDRESS  where to listen (default: 127.0.0.1)
  --port N        0 picks a free one (default: 3000)
  --developer     a page that shows what happened in your session: /developer
  --help          this text
";

/// Requests under way, and then sessions, have this long to come to their end.
const DRAIN: Duration = Duration::from_secs(3);

struct Options {
    host: IpAddr,
    port: u16,
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
    let mut shop = Shop::new(Sessions::builder())?;
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
        developer: false,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("host") => options.host = arguments.value()?.parse()?,
            Short('p') | Long("port") => options.port = arguments.value()?.parse()?,
            Long("developer") => options.developer = true,
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    Ok(Some(options))
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
