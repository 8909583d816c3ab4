//! [`Setting`]: how long, how often, and on which runtime.

use std::{future::Future, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// The length of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Short rounds, and few: is it about right?
    Quick,
    /// Minutes: the figures that are published, with the rows of a million sessions.
    Full,
}

impl Mode {
    /// Picks the value for this mode.
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Mode::Quick => quick,
            Mode::Full => full,
        }
    }
}

/// What all rows share.
#[derive(Debug)]
pub struct Setting {
    /// Quick or full.
    pub mode: Mode,
    /// How often each side is measured, where the command line says so.
    pub rounds: Option<usize>,
    runtime: Runtime,
}

impl Setting {
    /// As many workers as the machine that the targets are set for has cores.
    pub const WORKERS: usize = 2;

    /// A setting with a runtime of its own.
    ///
    /// # Panics
    /// If the operating system gives no threads.
    #[must_use]
    pub fn new(mode: Mode, rounds: Option<usize>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(Self::WORKERS)
            .enable_all()
            .build()
            .expect("no runtime without threads");
        Self { mode, rounds, runtime }
    }

    /// How long one round of a row lasts that goes by time.
    #[must_use]
    pub fn round(&self) -> Duration {
        self.mode.pick(Duration::from_millis(50), Duration::from_millis(500))
    }

    /// Runs `work` on a worker of the runtime and waits for it.
    ///
    /// Not on the calling thread, as `block_on` alone would: waking that one crosses threads every time.
    ///
    /// # Panics
    /// If `work` panics.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime
            .block_on(self.runtime.spawn(work))
            .expect("the measured work panicked")
    }
}
