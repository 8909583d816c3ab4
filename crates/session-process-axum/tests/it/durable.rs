//! Sessions that outlive their process: over a store that can be away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use http::header;
use serde::{Deserialize, Serialize};
use session_process::{
    Builder, CallError, Context, Durability, EndReason, Event, Handle, LoadError, ManualClock, Process, SaveError,
    Schema, SessionId, Sessions, StartError, TerminateError,
    events::RefusedId,
    records::SessionRecords,
    store::{Change, MemoryStore, Op, SessionStore, StoreError},
};
use session_process_axum::{CurrentId, Error, Session, SessionLayer};
use session_process_sqlite::SqliteStore;
use testkit::{Asked, Gate, Hooked, Hooks};

use crate::support::{Answer, Client, post_with_cookie_header};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) sum: u64,
}

impl Process for Ledger {
    const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("ledger", 1));
}

pub(crate) struct Add(pub(crate) u64);
impl Handle<Add> for Ledger {
    type Reply = u64;
    async fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.sum += n;
        self.sum
    }
}

pub(crate) struct Look;
impl Handle<Look> for Ledger {
    type Reply = u64;
    async fn handle(&mut self, _: Look, cx: &mut Context<Self>) -> u64 {
        cx.unchanged();
        self.sum
    }
}

/// A process that nothing brings back.
#[derive(Default)]
struct Fleeting;
impl Process for Fleeting {}
impl Handle<Look> for Fleeting {
    type Reply = u64;
    async fn handle(&mut self, _: Look, _: &mut Context<Self>) -> u64 {
        0
    }
}

/// A memory store that counts what it is asked, and can be away.
pub(crate) type Fickle = Hooked<MemoryStore, Moods>;

#[derive(Default)]
pub(crate) struct Moods {
    pub(crate) away: AtomicBool,
    /// It takes what it is asked, and never answers.
    pub(crate) hangs: AtomicBool,
    pub(crate) loads: AtomicUsize,
    pub(crate) touches: AtomicUsize,
    /// The next rotation stops here.
    gate: std::sync::Mutex<Option<Gate>>,
}

impl Moods {
    async fn here(&self) -> Result<(), StoreError> {
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.away.load(SeqCst) {
            return Err(StoreError::unavailable("test", "away, as told"));
        }
        Ok(())
    }
}

impl Hooks for Moods {
    async fn before(&self, asked: Asked, changes: &[Change], _: &dyn SessionStore) -> Result<(), StoreError> {
        match asked {
            Asked::Load => drop(self.loads.fetch_add(1, SeqCst)),
            Asked::Touch => drop(self.touches.fetch_add(1, SeqCst)),
            Asked::Commit | Asked::DeleteExpired | Asked::List | Asked::Locate => {}
        }
        if matches!(asked, Asked::Load | Asked::Commit | Asked::DeleteExpired) {
            self.here().await?;
        }
        if changes.iter().any(|change| matches!(change.op, Op::Rotate(_))) {
            let gate = self.gate.lock().unwrap().take();
            if let Some(gate) = gate {
                gate.pass().await;
            }
        }
        Ok(())
    }
}

/// One run of the program over a store.
pub(crate) struct Run {
    pub(crate) sessions: Sessions<Ledger>,
    pub(crate) records: SessionRecords,
    pub(crate) app: Router,
}

impl Run {
    pub(crate) fn over(store: Arc<dyn SessionStore>) -> Self {
        Self::with(store, |builder| builder)
    }

    fn with(store: Arc<dyn SessionStore>, limits: impl FnOnce(Builder<Ledger>) -> Builder<Ledger>) -> Self {
        let records = SessionRecords::builder_over(store).build().unwrap();
        let sessions = limits(Sessions::builder().records(records.clone())).build().unwrap();
        let app = routes().layer(SessionLayer::new(sessions.clone()));
        Self { sessions, records, app }
    }

    /// Nothing of it is left but what is in the store.
    pub(crate) async fn crash(self) {
        drop((self.sessions, self.app));
        self.records.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}

/// What all that have a ledger can do with it.
pub(crate) fn ledger_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route(
            "/add",
            post(|session: Session<Ledger>| async move { session.call(Add(1)).await.map(|sum| sum.to_string()) }),
        )
        .route(
            "/look",
            get(|session: Session<Ledger>| async move {
                let sum = session.call_if_started(Look).await?;
                Ok::<_, Error>(sum.map_or("none".to_owned(), |sum| sum.to_string()))
            }),
        )
}

fn routes() -> Router {
    ledger_routes()
        .route(
            "/fleeting",
            get(|session: Session<Fleeting>| async move { session.call(Look).await.map(|sum| sum.to_string()) }),
        )
        .route(
            "/cast",
            post(|session: Session<Ledger>| async move { session.cast(Add(1)).await }),
        )
        .route(
            "/cast_if_started",
            post(|session: Session<Ledger>| async move {
                session.cast_if_started(Add(1)).await.map(|sent| sent.to_string())
            }),
        )
        .route(
            "/start",
            post(|session: Session<Ledger>| async move { session.start().await.map(|new| new.to_string()) }),
        )
        .route(
            "/optional",
            get(|session: Option<Session<Ledger>>| async move { session.is_some().to_string() }),
        )
        .route("/id", get(|CurrentId(id): CurrentId| async move { id.to_string() }))
        .route(
            "/optional_id",
            get(|id: Option<CurrentId>| async move { id.is_some().to_string() }),
        )
        .route(
            "/touch",
            post(|session: Session<Ledger>| async move { session.touch().await.map(|used| used.to_string()) }),
        )
        .route(
            "/monitor",
            get(|session: Session<Ledger>| async move {
                session.monitor().await.map(|monitor| monitor.is_some().to_string())
            }),
        )
        .route(
            "/rotate",
            post(|session: Session<Ledger>| async move { session.rotate().await.map(drop) }),
        )
        .route(
            "/logout",
            post(|session: Session<Ledger>| async move { session.end().await.map(|ended| ended.to_string()) }),
        )
}

fn is_unavailable(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (503, "sessions are not available just now")
    );
    assert_eq!(answer.header(header::RETRY_AFTER), Some("1"));
    assert_eq!(answer.set_cookie(), None, "the browser keeps its session");
}

#[tokio::test]
async fn a_session_outlives_its_program() {
    let store = Arc::new(MemoryStore::new());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    client.post("/add").await;
    let id = client.id();
    run.crash().await;

    let run = Run::over(store);
    assert!(!run.sessions.is_started(&id));
    let mut client = Client::with_id(&run.app, &id);
    assert_eq!(client.get("/look").await.body, "2");
    let answer = client.post("/add").await;
    assert_eq!((answer.body.as_str(), answer.set_cookie()), ("3", None));
    assert_eq!(run.sessions.list(), [id]);
}

#[tokio::test]
async fn a_session_in_a_file_outlives_its_program() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.db");
    let open = || async { Arc::new(SqliteStore::open(&file).await.unwrap()) };

    let store = open().await;
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    run.crash().await;
    store.shutdown().await;

    let run = Run::over(open().await);
    let mut client = Client::with_id(&run.app, &id);
    assert_eq!(client.get("/look").await.body, "1");
    assert_eq!(client.post("/logout").await.body, "true");
    assert_eq!(Client::with_id(&run.app, &id).get("/look").await.body, "none");
}

/// Every way to ask for the session, of one that is in the store alone.
#[tokio::test]
async fn every_extractor_finds_a_session_that_is_in_the_store_alone() {
    for (method, path, body) in [
        ("GET", "/look", "1"),
        ("POST", "/add", "2"),
        ("POST", "/cast", ""),
        ("POST", "/cast_if_started", "true"),
        ("POST", "/start", "false"),
        ("GET", "/optional", "true"),
        ("GET", "/optional_id", "true"),
        ("POST", "/touch", "true"),
        ("GET", "/monitor", "true"),
        ("POST", "/logout", "true"),
    ] {
        let store = Arc::new(MemoryStore::new());
        let run = Run::over(store.clone());
        let mut client = Client::new(&run.app);
        client.post("/add").await;
        let id = client.id();
        run.crash().await;

        let run = Run::over(store);
        let mut client = Client::with_id(&run.app, &id);
        let answer = if method == "GET" {
            client.get(path).await
        } else {
            client.post(path).await
        };
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, body), "{path}");
        assert_eq!(answer.set_cookie().is_some(), path == "/logout", "{path}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_the_session_is_there_afterwards() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    run.crash().await;

    let run = Run::over(store.clone());
    let mut client = Client::with_id(&run.app, &id);
    store.away.store(true, SeqCst);
    for path in ["/look", "/optional", "/id", "/optional_id", "/monitor"] {
        is_unavailable(&client.get(path).await);
    }
    for path in [
        "/add",
        "/cast",
        "/cast_if_started",
        "/start",
        "/touch",
        "/rotate",
        "/logout",
    ] {
        is_unavailable(&client.post(path).await);
    }
    assert_eq!(run.sessions.stats().started, 0, "none in its place");
    store.away.store(false, SeqCst);
    assert_eq!(client.get("/look").await.body, "1");
    assert_eq!(client.id(), id);
}

#[tokio::test]
async fn a_change_that_could_not_be_saved_is_503_and_undone() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    store.away.store(true, SeqCst);
    is_unavailable(&client.post("/add").await);
    is_unavailable(&Client::new(&run.app).post("/add").await);
    store.away.store(false, SeqCst);
    assert_eq!(client.get("/look").await.body, "1");
}

#[tokio::test]
async fn a_logout_that_failed_says_so_and_the_session_lives_on() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    store.away.store(true, SeqCst);
    is_unavailable(&client.post("/logout").await);
    store.away.store(false, SeqCst);
    assert_eq!(client.get("/look").await.body, "1");

    let answer = client.post("/logout").await;
    assert_eq!(answer.body, "true");
    assert!(answer.set_cookie().unwrap().contains("Max-Age=0"));
    assert!(store.inner.is_empty());
    assert_eq!(Client::with_id(&run.app, &id).get("/look").await.body, "none");
}

#[tokio::test]
async fn a_request_wakes_a_session_that_sleeps() {
    let clock = ManualClock::new();
    let store = Arc::new(MemoryStore::with_clock(clock.clone()));
    let records = SessionRecords::builder_over(store)
        .clock(clock.clone())
        .build()
        .unwrap();
    let sessions = Sessions::<Ledger>::builder()
        .records(records)
        .idle_timeout(Duration::from_secs(3600))
        .sleep_after(Duration::from_secs(60))
        .clock(clock.clone());
    let sessions = sessions.build().unwrap();
    let app = routes().layer(SessionLayer::new(sessions.clone()));
    let mut client = Client::new(&app);
    client.post("/add").await;
    let id = client.id();
    fall_asleep(&sessions, &clock, &id).await;

    assert_eq!(client.post("/add").await.body, "2");
    assert_eq!(client.id(), id);

    // And its id is changed in its sleep.
    fall_asleep(&sessions, &clock, &id).await;
    let answer = client.post("/rotate").await;
    assert!(answer.set_cookie().is_some(), "the browser must hear of it");
    assert_ne!(client.id(), id);
    assert_eq!(client.get("/look").await.body, "2");
    assert_eq!(Client::with_id(&app, &id).get("/look").await.body, "none");
}

async fn fall_asleep(sessions: &Sessions<Ledger>, clock: &ManualClock, id: &SessionId) {
    clock.advance(Duration::from_secs(61));
    sessions.expire_now().await;
    while sessions.is_started(id) || sessions.stats().sessions > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_made_up_id_costs_one_look_up_and_is_not_adopted_and_a_malformed_one_costs_none() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut events = run.sessions.events();
    let made_up = SessionId::generate();
    let mut client = Client::with_id(&run.app, &made_up);
    assert_eq!(client.get("/look").await.body, "none");
    assert_eq!(store.loads.swap(0, SeqCst), 1);
    let refused = events.find(|event| match event {
        Event::IdRefused { reason } => Some(*reason),
        _ => None,
    });
    assert_eq!(refused.await, Some(RefusedId::Unknown));
    client.post("/add").await;
    assert_ne!(client.id(), made_up);
    assert!(!run.sessions.exists(&made_up).await.unwrap());

    store.loads.store(0, SeqCst);
    let answer = post_with_cookie_header(&run.app, "/cast_if_started", &[b"__Host-id=no id at all"]).await;
    assert_eq!((answer.body.as_str(), store.loads.load(SeqCst)), ("false", 0));
}

#[tokio::test]
async fn extractors_at_once_share_one_look_up() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let handler = |one: Session<Ledger>, other: Session<Ledger>| async move {
        let (one, other) = tokio::join!(one.call_if_started(Look), other.id());
        (one.unwrap().is_none() && other.unwrap().is_none()).to_string()
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(run.sessions));
    let answer = Client::with_id(&app, &SessionId::generate()).post("/").await;
    assert_eq!((answer.body.as_str(), store.loads.load(SeqCst)), ("true", 1));
}

#[tokio::test]
async fn rotations_at_once_in_one_request_end_at_one_id_that_the_browser_has() {
    let run = Run::over(Arc::new(MemoryStore::new()));
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    let handler = |one: Session<Ledger>, other: Session<Ledger>| async move {
        let (a, b, sum) = tokio::join!(one.rotate(), other.rotate(), one.call(Add(1)));
        assert_ne!(a?, b?);
        sum.map(|sum| sum.to_string())
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(run.sessions.clone()));
    let mut client = Client::with_id(&app, &id);
    let answer = client.post("/").await;
    assert_eq!(answer.body, "2");
    assert_ne!(client.id(), id);
    assert_eq!(run.sessions.list(), [client.id()]);
    assert_eq!(Client::with_id(&run.app, &client.id()).get("/look").await.body, "2");
}

#[tokio::test]
async fn a_rotation_that_its_handler_gave_up_is_told_to_the_browser() {
    let store = Arc::new(Fickle::default());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    let gate = Gate::new();
    *store.gate.lock().unwrap() = Some(gate.clone());
    let handler = move |session: Session<Ledger>| {
        let gate = gate.clone();
        async move {
            // It stands in the store when it is dropped.
            tokio::select! {
                _ = session.rotate() => unreachable!("the gate is closed"),
                () = gate.reached() => {}
            }
            gate.open();
            // The next to ask waits for its turn, and has the new id.
            session.rotate_if_started().await.map(drop)
        }
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(run.sessions.clone()));
    let mut client = Client::with_id(&app, &id);
    assert_eq!(client.post("/").await.status, 200);
    assert_ne!(client.id(), id);
    assert_eq!(run.sessions.list(), [client.id()]);
}

#[tokio::test]
async fn a_sleeping_session_of_another_type_is_not_replaced() {
    let store = Arc::new(MemoryStore::new());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    run.crash().await;

    let run = Run::over(store);
    let mut client = Client::with_id(&run.app, &id);
    let answer = client.get("/fleeting").await;
    assert_eq!(
        (answer.status.as_u16(), answer.set_cookie()),
        (500, None),
        "as when it is awake: the wrong type, not signed out"
    );
    assert_eq!(client.get("/look").await.body, "1");
}

#[tokio::test]
async fn a_full_server_wakes_nobody_and_says_so() {
    let store = Arc::new(MemoryStore::new());
    let run = Run::over(store.clone());
    let mut client = Client::new(&run.app);
    client.post("/add").await;
    let id = client.id();
    run.crash().await;

    let run = Run::with(store, |builder| builder.max_sessions(1));
    Client::new(&run.app).post("/add").await;
    let answer = Client::with_id(&run.app, &id).get("/look").await;
    assert_eq!(
        (answer.status.as_u16(), answer.body.as_str()),
        (503, "too many sessions")
    );
    assert_eq!(answer.set_cookie(), None);
}

#[tokio::test]
async fn a_state_that_can_not_be_read_is_500_and_kept() {
    #[derive(Default, Serialize, Deserialize)]
    struct Other;
    impl Process for Other {
        const DURABILITY: Durability<Self> = Durability::write_through(Schema::json("other", 1));
    }

    let store = Arc::new(MemoryStore::new());
    let id = SessionId::generate();
    let records = SessionRecords::builder_over(store.clone()).build().unwrap();
    let others = Sessions::<Other>::builder().records(records).build().unwrap();
    others.start(&id).await.unwrap();
    drop(others);

    let run = Run::over(store);
    let mut client = Client::with_id(&run.app, &id);
    let answer = client.post("/add").await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (500, "internal error"));
    assert_eq!(answer.set_cookie(), None);
    let kept = run.records.peek(&id).await.unwrap().unwrap();
    assert_eq!(&*kept.snapshot().unwrap().kind, "other");
}

#[test]
fn what_a_store_does_has_a_status() {
    let id = SessionId::generate;
    let away = || StoreError::unavailable("test", "away");
    let call = |source| {
        Error::from(CallError::NotLoaded {
            id: id(),
            source,
            message: (),
        })
    };
    let saved = |source| Error::from(CallError::<()>::NotSaved { id: id(), source });
    let started = |source| Error::from(StartError::NotLoaded { id: id(), source });
    let unreadable = || LoadError::Unreadable {
        kind: "ledger".into(),
        version: 1,
        error: "damaged".into(),
    };
    let kind = || LoadError::Kind {
        expected: "ledger",
        found: "other".into(),
    };
    let woken = |start: StartError| {
        let source = Some(Arc::new(start) as session_process::SharedError);
        Error::from(CallError::InitFailed {
            id: id(),
            source,
            message: (),
        })
    };
    for (error, status, again) in [
        (away().into(), 503, true),
        (StoreError::Timeout { context: "test" }.into(), 503, true),
        (StoreError::Overloaded.into(), 503, true),
        (StoreError::failed("test", "broken").into(), 503, true),
        (StoreError::Corrupt { what: "a row".into() }.into(), 503, true),
        (StoreError::InvalidOwner { len: 0 }.into(), 500, false),
        (call(LoadError::Store(away())), 503, true),
        (call(unreadable()), 500, false),
        (call(kind()), 500, false),
        (call(LoadError::Save(SaveError::Store(away()))), 503, true),
        (started(LoadError::Store(away())), 503, true),
        (started(unreadable()), 500, false),
        (started(LoadError::Save(SaveError::Conflict)), 409, false),
        (saved(SaveError::Store(away())), 503, true),
        (saved(SaveError::Conflict), 409, false),
        (saved(SaveError::Gone), 401, false),
        (saved(SaveError::Crashed), 500, false),
        (saved(SaveError::Schema("no".into())), 500, false),
        (woken(StartError::SessionLimit { max: 1 }), 503, true),
        (woken(StartError::ShuttingDown), 503, true),
        (TerminateError::NotStarted { id: id() }.into(), 401, false),
        (
            TerminateError::Store {
                id: id(),
                source: away(),
            }
            .into(),
            503,
            true,
        ),
        (
            session_process::RotateError::Store {
                id: id(),
                source: away(),
            }
            .into(),
            503,
            true,
        ),
    ] {
        assert_eq!(error.status(), status, "{error:?}");
        assert_eq!(error.retry_after().is_some(), again, "{error:?}");
    }
    assert!(saved(SaveError::Conflict).body_text().contains("repeat"));
    assert_eq!(saved(SaveError::Gone).body_text(), "the session has ended");
    let ended = CallError::Ended {
        id: id(),
        reason: EndReason::Shutdown,
        message: Some(()),
    };
    assert_eq!(Error::from(ended).status(), 503);
}

/// It is ended while the request is under way: the browser is not told an id that is dead already.
#[tokio::test]
async fn the_cookie_of_a_session_that_has_ended_meanwhile_is_not_set() {
    let store = Arc::new(MemoryStore::new());
    let run = Run::over(store.clone());
    let gate = Gate::new();
    let inner = gate.clone();
    let handler = move |session: Session<Ledger>| {
        let gate = inner.clone();
        async move {
            session.call(Add(1)).await?;
            gate.pass().await;
            Ok::<_, Error>(())
        }
    };
    let app = Router::new()
        .route("/", post(handler))
        .layer(SessionLayer::new(run.sessions.clone()));
    for ends in [false, true] {
        let mut client = Client::new(&app);
        let (answer, ()) = tokio::join!(client.post("/"), async {
            gate.reached().await;
            // Asleep, so that what is known of it is in the store.
            let [id] = &run.sessions.list()[..] else {
                panic!("one session")
            };
            run.sessions.terminate_for(id, EndReason::Asleep).await.unwrap();
            assert!(!run.sessions.is_started(id));
            if ends {
                assert!(run.records.delete(id).await.unwrap());
            }
            gate.open();
        });
        assert_eq!(answer.status, 200);
        assert_eq!(answer.set_cookie().is_some(), !ends, "asleep is not ended");
    }
}
