//! What a user writes: [`Process`], how it begins ([`Init`]) and what it does with a message ([`Handle`]).

use std::{fmt, future::Future, time::Duration};

use crate::{Context, Durability};

/// The live process of one session: any type that holds the session's state.
///
/// It handles one message at a time, so its handlers have `&mut self` and need no locks. A type with `Default` needs
/// no more than an empty `impl`; one that takes arguments implements [`Init`].
///
/// ```
/// use session_process::{Context, Handle, Process};
///
/// #[derive(Default)]
/// struct Cart { items: Vec<String> }
///
/// impl Process for Cart {}
///
/// struct Add(String);
///
/// impl Handle<Add> for Cart {
///     type Reply = usize;
///
///     async fn handle(&mut self, Add(item): Add, _: &mut Context<Self>) -> usize {
///         self.items.push(item);
///         self.items.len()
///     }
/// }
/// ```
pub trait Process: Sized + Send + 'static {
    /// What happens when a handler panics. The default restarts a process up to three times a minute, as OTP's
    /// supervisors do in the order of magnitude; after that, the session ends.
    const RESTART: Restart = Restart::OnFailure {
        max_restarts: 3,
        within: Duration::from_secs(60),
    };

    /// Whether the state outlives the process. The default is that it does not.
    const DURABILITY: Durability<Self> = Durability::VOLATILE;

    /// The state has just been written down, and is on its way to the store. For what may be told to others only when
    /// it is durable: note it here, and tell it in [`snapshot_durable`](Self::snapshot_durable).
    fn snapshot_taken(&mut self) {}

    /// The state of the last [`snapshot_taken`](Self::snapshot_taken) is durable. Not called if the write failed: then
    /// the process is replaced by its last durable state.
    fn snapshot_durable(&mut self) {}

    /// Whether the process may be put to sleep now: see [`Builder::sleep_after`](crate::Builder::sleep_after). One
    /// that holds what can't be written down, such as a connection, says no.
    fn may_sleep(&self) -> bool {
        true
    }

    /// Runs once when this process ends, for whatever reason but sleep, after its last message.
    ///
    /// After a panic (`Crashed`) the state is as the panic left it. The hook has
    /// [`terminate_timeout`](crate::Builder::terminate_timeout) to finish; then it is cut, which is an event. A panic
    /// in it is caught and is an event too.
    fn terminate(&mut self, reason: EndReason, cx: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        let _ = (reason, cx);
        async {}
    }
}

/// How a process begins. Types with `Default` have it, without arguments.
///
/// ```
/// use session_process::{Context, Init, InitError, Process, Sessions};
///
/// struct Room { name: String }
/// impl Process for Room {}
///
/// impl Init<String> for Room {
///     async fn init(name: String, _: &mut Context<Self>) -> Result<Self, InitError> {
///         if name.is_empty() {
///             return Err("a room has a name".into());
///         }
///         Ok(Room { name })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rooms = Sessions::<Room>::builder().build()?;
/// rooms.start_with(&"room-1".parse()?, "Blue".to_owned()).await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be started with arguments of type `{Args}`",
    label = "no `Init<{Args}>` for this process",
    note = "derive or implement `Default` to start it without arguments, or implement `Init<{Args}>`"
)]
pub trait Init<Args = ()>: Process {
    /// Makes the state of a new session. Messages that arrive meanwhile wait.
    ///
    /// # Errors
    /// Whatever keeps the session from starting: the callers of `start` get it as
    /// [`StartError::InitFailed`](crate::StartError::InitFailed).
    fn init(args: Args, cx: &mut Context<Self>) -> impl Future<Output = Result<Self, InitError>> + Send;
}

impl<P: Process + Default> Init for P {
    async fn init((): (), _: &mut Context<Self>) -> Result<Self, InitError> {
        Ok(Self::default())
    }
}

/// Why a process could not begin.
pub type InitError = Box<dyn std::error::Error + Send + Sync>;

/// What a process does with a message of type `M`, called or cast.
///
/// The handler runs at once where the message is sent, if the session is idle; it gets a task of its own only when it
/// has to wait. A handler that has begun always completes, also when its caller is gone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle messages of type `{M}`",
    label = "no `Handle<{M}>` for this process"
)]
pub trait Handle<M: Send + 'static>: Process {
    /// What a caller gets back. A cast drops it.
    type Reply: Send + 'static;

    /// Handles one message.
    fn handle(&mut self, message: M, cx: &mut Context<Self>) -> impl Future<Output = Self::Reply> + Send;
}

/// What happens to a session whose handler panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// The session ends.
    Never,
    /// Its process begins anew, with the arguments it was started with, unless that happened `max_restarts` times
    /// `within` the last while: then the session ends.
    OnFailure {
        /// Restarts allowed in that time.
        max_restarts: u32,
        /// The time that counts.
        within: Duration,
    },
}

/// Which of its two clocks ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Expiry {
    /// Not used for its `idle_timeout`.
    Idle,
    /// Older than its `max_lifetime`.
    Absolute,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// One of its two clocks ran out.
    Expired(Expiry),
    /// Ended from outside, by [`Sessions::terminate`](crate::Sessions::terminate). Also where a durable session is over in
    /// the store and nobody has told why.
    Terminated,
    /// The process ended itself, by [`Context::stop`].
    Stopped,
    /// A handler panicked, and the [`Restart`] policy did not bring the process back.
    Crashed,
    /// It made room for another.
    Evicted,
    /// The engine shut down. A durable session comes back with its next message to another engine.
    Shutdown,
    /// A durable process was not used for [`sleep_after`](crate::Builder::sleep_after): its state is in the store, and
    /// it comes back with the next message. Not an end: no terminate hook runs.
    ///
    /// Also where the session is no longer in the store under its id, and nothing says that it is over: another node has
    /// given it a new one, or its end was not told and the store can't say. Whoever asks for it learns which.
    Asleep,
    /// Its user ended it: a logout.
    LoggedOut,
}

impl EndReason {
    /// All reasons, in the order of their codes.
    const ALL: [Self; 9] = [
        Self::Expired(Expiry::Idle),
        Self::Expired(Expiry::Absolute),
        Self::Terminated,
        Self::Stopped,
        Self::Crashed,
        Self::Evicted,
        Self::Shutdown,
        Self::Asleep,
        Self::LoggedOut,
    ];

    /// The session itself goes on: its record stays.
    pub(crate) fn keeps_record(self) -> bool {
        matches!(self, Self::Shutdown | Self::Crashed | Self::Asleep)
    }

    /// A code above 0 for an atomic.
    pub(crate) fn code(self) -> u8 {
        let index = Self::ALL.iter().position(|reason| *reason == self);
        index.expect("`ALL` lists every reason") as u8 + 1
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code.checked_sub(1)?)).copied()
    }

    /// A short stable word, for logs, metrics and the network: `idle`, `absolute`, `terminated`, `stopped`,
    /// `crashed`, `evicted`, `shutdown`, `asleep`, `logged_out`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired(Expiry::Idle) => "idle",
            Self::Expired(Expiry::Absolute) => "absolute",
            Self::Terminated => "terminated",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Evicted => "evicted",
            Self::Shutdown => "shutdown",
            Self::Asleep => "asleep",
            Self::LoggedOut => "logged_out",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_code() {
        assert_eq!(EndReason::from_code(0), None);
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_code(reason.code()), Some(reason));
        }
    }
}
