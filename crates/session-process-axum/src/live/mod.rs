#![doc = include_str!("../../docs/live.md")]

mod client;
mod connect;
mod frame;
mod hub;
mod limits;
mod nodes;
mod origin;
mod page;
mod pages;
mod patch;
mod sends;
mod socket;
mod stream;
mod up;
mod watch;
mod write_timeout;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{Router, routing::get};
use serde::Serialize;
use serde_json::Value;
use session_process::{
    Process, Sessions,
    redux::{Reducer, Store},
};

pub use self::{
    client::{script, script_path},
    limits::MAX_FRAME,
    nodes::{PushError, Reach},
    pages::Pages,
    sends::{Caller, Message, SendError},
    write_timeout::write_timeout,
};
use self::{
    limits::Limits,
    origin::Origins,
    sends::{OnSend, boxed},
    watch::{Seen, View},
};
use crate::slot::Untyped;

/// Live pages of sessions of type `P`: what they see, what they may send, and how many there may be.
///
/// A page sees a **view**: what a closure makes of the process, as JSON, and never the process itself. It is made once
/// after each message that may have changed the state, in the process's own turn, and told to all pages if it differs
/// from the one before; of a process that is written through, when the store has what it shows. So it must be quick.
///
/// ```
/// use axum::Router;
/// use serde::Serialize;
/// use session_process::{Context, Handle, Process, Sessions};
/// use session_process_axum::{SessionLayer, live::{self, Caller, Live, Message, SendError}};
///
/// #[derive(Default)]
/// struct Cart { items: Vec<String>, seen_by_us: Vec<String> }
/// impl Process for Cart {}
///
/// struct Add(String);
/// impl Handle<Add> for Cart {
///     type Reply = usize;
///     async fn handle(&mut self, Add(item): Add, _: &mut Context<Self>) -> usize {
///         self.items.push(item);
///         self.items.len()
///     }
/// }
///
/// #[derive(Serialize)]
/// struct CartView { items: Vec<String> }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sessions = Sessions::<Cart>::builder().build()?;
/// let live = Live::new(&sessions, |cart: &Cart| CartView { items: cart.items.clone() })
///     .with_sends(|caller: Caller<Cart>, message: Message| async move {
///         match message.name() {
///             "add" => Ok(caller.call(Add(message.data()?)).await?),
///             _ => Err(SendError::unknown()),
///         }
///     });
/// let app: Router = Router::new()
///     .merge(live.routes("/live"))
///     .merge(live::script())
///     .layer(SessionLayer::new(sessions));
/// # Ok(()) }
/// ```
#[must_use = "live pages need their `routes`"]
pub struct Live<P: Process> {
    sessions: Sessions<P>,
    view: Arc<View<P>>,
    on_send: Option<Arc<OnSend<P>>>,
    shared: Arc<Shared>,
}

/// What all pages of a [`Live`] share, whatever the process.
#[derive(Clone)]
struct Shared {
    sessions: Sessions<Untyped>,
    pages: Pages,
    limits: Limits,
    origins: Origins,
    /// Whose hubs are whose, where one [`Pages`] serves several.
    number: u64,
}

impl<P: Process> Clone for Live<P> {
    fn clone(&self) -> Self {
        Self {
            sessions: self.sessions.clone(),
            view: Arc::clone(&self.view),
            on_send: self.on_send.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<P: Process> Live<P> {
    /// Pages that see what `view` makes of the process.
    pub fn new<V: Serialize>(sessions: &Sessions<P>, view: impl Fn(&P) -> V + Send + Sync + 'static) -> Self {
        let limits = Limits::default();
        Self {
            view: Arc::new(View {
                project: Box::new(move |process, patches| seen(&view(process), patches)),
                user: None,
                patches: false,
                max_bytes: limits.max_view,
            }),
            on_send: None,
            shared: Arc::new(Shared {
                sessions: sessions.of(),
                pages: Pages::new(),
                limits,
                origins: Origins::default(),
                number: hub::random(),
            }),
            sessions: sessions.clone(),
        }
    }

    /// Takes what pages send: the outcome goes back to the page that sent it. Without this, they only watch.
    ///
    /// Each message is authorised by itself: the session is looked up for it, and what its user may do is asked of the
    /// process at that moment, not when the page was opened.
    pub fn with_sends<F, O, T>(mut self, on_send: F) -> Self
    where
        F: Fn(Caller<P>, Message) -> O + Send + Sync + 'static,
        O: Future<Output = Result<T, SendError>> + Send + 'static,
        T: Serialize,
    {
        self.on_send = Some(Arc::new(move |caller, message| boxed(on_send(caller, message))));
        self
    }

    /// Whose session it is, for [`Pages::push_to_user`] and the limit on a user's pages.
    ///
    /// # Panics
    /// If pages are open already: this is for the beginning, as all `with_…`.
    pub fn with_user(mut self, user: impl Fn(&P) -> Option<String> + Send + Sync + 'static) -> Self {
        self.view_mut().user = Some(Box::new(user));
        self
    }

    /// Sends merge patches (RFC 7396) where they are shorter than the whole view. For large views that change in small
    /// parts; it costs a comparison for each change, and the memory of the view once more.
    pub fn with_patches(mut self) -> Self {
        self.view_mut().patches = true;
        self
    }

    /// Counts pages here, and pushes through this: for a [`Pages`] that the application holds, or that several `Live`s
    /// share.
    pub fn with_pages(self, pages: Pages) -> Self {
        self.with(|shared| shared.pages = pages)
    }

    /// Lets pages of another origin in, such as `https://shop.example`: where a proxy changes `Host`. Pages of the host
    /// that was asked are let in without it. It is compared as a whole.
    ///
    /// # Panics
    /// If it is no origin: a scheme and a host, perhaps a port, and nothing else.
    pub fn with_origin(self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']));
        assert!(is_origin, "{origin:?} is no origin such as https://shop.example");
        self.with(|shared| shared.origins.allowed.push(origin))
    }

    /// How often a page that has nothing to be told hears that the connection is there. Default: 15 s.
    ///
    /// # Panics
    /// If it is below a second.
    pub fn with_heartbeat(self, every: Duration) -> Self {
        assert!(
            every >= Duration::from_secs(1),
            "more than a heartbeat a second is a flood"
        );
        self.with(|shared| shared.limits.heartbeat = every)
    }

    /// The least time between two views for one page; what changes meanwhile is in the next one. Default: 50 ms.
    pub fn with_min_interval(self, interval: Duration) -> Self {
        self.with(|shared| shared.limits.min_interval = interval)
    }

    /// How long before its session expires a page is told (`expiring`). Default: 60 s.
    pub fn with_warning(self, before: Duration) -> Self {
        self.with(|shared| shared.limits.warning = before)
    }

    /// How many pages may be open: of one session (32), of one user (128), in all (100,000).
    pub fn with_max_pages(self, session: usize, user: usize, all: usize) -> Self {
        self.with(|shared| {
            let limits = &mut shared.limits;
            (limits.pages_of_session, limits.pages_of_user, limits.pages) = (session, user, all);
        })
    }

    /// How many frames a second the pages of one session may send together, and twice as many at once. Default: 20.
    pub fn with_frame_rate(self, per_second: NonZeroU32) -> Self {
        self.with(|shared| shared.limits.frames_per_second = per_second)
    }

    /// How large a view may be, in bytes of JSON. A larger one is an error in the log, and closes the pages. Default:
    /// 1 MiB.
    pub fn with_max_view(mut self, bytes: usize) -> Self {
        self.view_mut().max_bytes = bytes;
        self
    }

    /// How long a page may take nothing of what there is for it, a view or a heartbeat. Then it is closed, and no page any
    /// more to [`Pages`]; so is a WebSocket with its connection. The connection of server-sent events is the server's, and
    /// counts against the limits until that lets go of it: see [`write_timeout`]. Default: 30 s. It is looked at four times
    /// in that time.
    ///
    /// What fits into the buffers of hyper and of the two kernels counts as taken, some hundreds of kB. So a reader of
    /// server-sent events that is stuck is found when views and events have filled them; where there is hardly more than
    /// heartbeats, that takes hours or days, and its page stays open. A WebSocket is closed without that too: it has to
    /// answer heartbeats.
    ///
    /// # Panics
    /// If it is zero.
    pub fn with_write_timeout(self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "nobody takes anything in no time");
        self.with(|shared| shared.limits.write_timeout = timeout)
    }

    /// How long a session that nobody has open is kept up to date for pages that come back. Default: 60 s.
    pub fn with_resume(self, within: Duration) -> Self {
        self.with(|shared| shared.limits.resume = within)
    }

    /// The open pages.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.shared.pages
    }

    /// The route at `path`: `GET` for the stream or a WebSocket, `POST` for what pages send. It belongs inside the
    /// [`SessionLayer`](crate::SessionLayer). The client's script is apart: [`script`].
    pub fn routes<S: Clone + Send + Sync + 'static>(&self, path: &str) -> Router<S> {
        let route = get(connect::connect::<P>).post(up::up::<P>);
        Router::new().route(path, route.with_state(self.clone()))
    }

    fn with(mut self, set: impl FnOnce(&mut Shared)) -> Self {
        set(Arc::make_mut(&mut self.shared));
        self
    }

    fn view_mut(&mut self) -> &mut View<P> {
        Arc::get_mut(&mut self.view).expect("`with_…` is for the beginning, before there are pages")
    }
}

impl<R: Reducer> Live<Store<R>> {
    /// Pages that see what `view` makes of a reducer's state.
    pub fn of_store<V: Serialize>(
        sessions: &Sessions<Store<R>>,
        view: impl Fn(&R) -> V + Send + Sync + 'static,
    ) -> Self {
        Self::new(sessions, move |store: &Store<R>| view(store.state()))
    }

    /// Takes actions by name from pages: those that
    /// [`accept_by_name`](session_process::redux::Setup::accept_by_name) accepts.
    pub fn with_actions(self) -> Self
    where
        R::Action: serde::de::DeserializeOwned,
    {
        self.with_sends(|caller: Caller<Store<R>>, message: Message| async move {
            let (name, payload) = message.into_parts();
            let outcome = caller
                .call(session_process::redux::dispatch_by_name(name, payload))
                .await?;
            match outcome {
                Ok(_) => Ok(Value::Null),
                Err(refused) => Err(SendError::refused("refused", refused.to_string())),
            }
        })
    }
}

fn seen(view: &impl Serialize, patches: bool) -> Result<Seen, serde_json::Error> {
    if patches {
        let value = serde_json::to_value(view)?;
        let json = value.to_string();
        return Ok(Seen {
            json,
            value: Some(value),
        });
    }
    let json = serde_json::to_string(view)?;
    Ok(Seen { json, value: None })
}

impl<P: Process> fmt::Debug for Live<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("process", &std::any::type_name::<P>())
            .field("pages", &self.shared.pages)
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}
