//! The shop as a server, or as two nodes with a PostgreSQL of their own.

#[cfg(unix)]
mod cluster;
mod health;
mod options;
mod serve;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use self::options::Command;

#[tokio::main]
async fn main() -> ExitCode {
    // Every event of a session is a record: `RUST_LOG=session_process=debug` shows them.
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut line = format!("shop: {error}");
            let mut cause = error.source();
            while let Some(source) = cause {
                let text = source.to_string();
                // Some errors say in their own text what caused them.
                if !line.ends_with(&text) {
                    line += &format!(": {text}");
                }
                cause = source.source();
            }
            let _ = writeln!(io::stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    match options::read()? {
        Command::Help => Ok(io::stdout().write_all(options::HELP.as_bytes())?),
        Command::Serve(options) => serve::run(options).await,
        #[cfg(unix)]
        Command::Cluster(options) => cluster::run(options).await,
        #[cfg(not(unix))]
        Command::Cluster(_) => Err(
            "a cluster of one's own is for Unix; elsewhere start PostgreSQL yourself, and two \
                                    shops with `--store postgres://…`"
                .into(),
        ),
    }
}

/// A line for whoever started the program.
fn say(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Ctrl-C, SIGTERM, or the end of the standard input if that is to be one.
fn stop_signal(until_stdin_ends: bool) -> io::Result<impl Future<Output = ()>> {
    let signal = signal()?;
    Ok(async move {
        tokio::select! {
            () = signal => {}
            () = stdin_ends(), if until_stdin_ends => {}
        }
    })
}

#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = ()>> {
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
fn signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler the system ends the program by itself.
        let _ = tokio::signal::ctrl_c().await;
    })
}

async fn stdin_ends() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: one of the runtime's would hold up the end of the program.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        drop(ended);
    });
    // An error: it has ended.
    let _ = end.await;
}
