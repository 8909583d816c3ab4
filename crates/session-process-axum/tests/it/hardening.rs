//! What an attempt to break the layer found.
#![allow(
    dead_code,
    unreachable_pub,
    unused_must_use,
    missing_docs,
    missing_debug_implementations,
    clippy::print_stderr,
    clippy::type_complexity,
    clippy::manual_is_multiple_of,
    reason = "puppets, and figures for whoever reads a failure"
)]
use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{Request, header};
use session_process::*;
use session_process_axum::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::ServiceExt;
#[derive(Clone)]
struct Gate(Arc<(Semaphore, Semaphore)>);
impl Gate {
    fn new() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }
    async fn pass(&self) {
        self.0.0.add_permits(1);
        self.0.1.acquire().await.unwrap().forget();
    }
    async fn reached(&self) {
        self.0.0.acquire().await.unwrap().forget()
    }
    fn open(&self) {
        self.0.1.add_permits(1)
    }
}
#[derive(Default)]
struct P(u64);
impl Process for P {}
impl Init<u64> for P {
    async fn init(n: u64, _: &mut Context<Self>) -> Result<Self, InitError> {
        tokio::task::yield_now().await;
        Ok(P(n))
    }
}
struct Wait(Gate);
impl Handle<Wait> for P {
    type Reply = ();
    async fn handle(&mut self, Wait(g): Wait, _: &mut Context<Self>) {
        g.pass().await
    }
}
struct Get;
impl Handle<Get> for P {
    type Reply = u64;
    async fn handle(&mut self, _: Get, _: &mut Context<Self>) -> u64 {
        self.0
    }
}
fn req(path: &str, id: Option<&SessionId>) -> Request<Body> {
    let mut r = Request::builder().uri(path);
    if let Some(id) = id {
        r = r.header(header::COOKIE, format!("__Host-id={}", id.expose()));
    }
    r.body(Body::empty()).unwrap()
}
#[tokio::test]
async fn start_with_says_true_once() {
    let s = Sessions::<P>::builder().build().unwrap();
    let app = Router::new()
        .route(
            "/",
            get(|s: Session<P>| async move {
                let (a, b) = tokio::join!(s.start_with(1u64), s.start_with(2u64));
                format!("{:?} {:?}", a.unwrap(), b.unwrap())
            }),
        )
        .layer(SessionLayer::new(s.clone()));
    let r = app.oneshot(req("/", None)).await.unwrap();
    let b = axum::body::to_bytes(r.into_body(), 100).await.unwrap();
    assert_ne!(&b[..], b"true true", "both started the one session");
}
#[tokio::test]
async fn message_that_waited_when_its_session_ended_goes_to_a_fresh_one() {
    let s = Sessions::<P>::builder().build().unwrap();
    let id = SessionId::generate();
    s.start(&id).await.unwrap();
    let app: Router = Router::new()
        .route("/", post(|| async {}))
        .route(
            "/get",
            get(|s: Session<P>| async move { s.call(Get).await.map(|n| n.to_string()).map_err(|e| format!("{e:?}")) }),
        )
        .layer(SessionLayer::new(s.clone()));
    let g = Gate::new();
    s.cast(&id, Wait(g.clone())).unwrap();
    g.reached().await;
    let (r, ()) = tokio::join!(app.oneshot(req("/get", Some(&id))), async {
        while s.session_stats(&id).unwrap().waiting == 0 {
            tokio::task::yield_now().await
        }
        let t = tokio::spawn({
            let (s, id) = (s.clone(), id.clone());
            async move {
                let _ = s.terminate(&id).await;
            }
        });
        tokio::task::yield_now().await;
        g.open();
        t.await.unwrap();
    });
    let r = r.unwrap();
    let st = r.status();
    let b = axum::body::to_bytes(r.into_body(), 1000).await.unwrap();
    assert!(
        String::from_utf8_lossy(&b) == "0",
        "{st} {}",
        String::from_utf8_lossy(&b)
    );
}
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dropped_requests_and_rotations() {
    let s = Sessions::<P>::builder()
        .idle_timeout(Duration::from_millis(200))
        .sweep_interval(Duration::from_millis(20))
        .build()
        .unwrap();
    let app: Router = Router::new()
        .route(
            "/",
            get(|s: Session<P>| async move {
                let _ = tokio::join!(s.call(Get), s.rotate(), s.start_with(3u64), s.call(Get));
                if s.is_new() {
                    s.rotate_if_started().await.ok();
                }
                s.call(Get).await.map(|n| n.to_string())
            }),
        )
        .route(
            "/out",
            get(|s: Session<P>| async move {
                let (a, _) = tokio::join!(s.end(), s.call(Get));
                a.map(|ended| ended.to_string())
            }),
        )
        .layer(SessionLayer::new(s.clone()));
    let ts: Vec<_> = (0..8u64)
        .map(|t| {
            let app = app.clone();
            let s = s.clone();
            tokio::spawn(async move {
                let mut n = t;
                for _ in 0..1_500 {
                    n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let ids = if n >> 60 == 0 { s.list() } else { vec![] };
                    let id = ids.first();
                    let f = app
                        .clone()
                        .oneshot(req(if n >> 40 & 7 == 0 { "/out" } else { "/" }, id));
                    if n >> 50 & 1 == 0 {
                        let _ = tokio::time::timeout(Duration::from_micros(n >> 33 & 63), f).await;
                    } else {
                        let r = f.await.unwrap();
                        assert!(r.headers().get_all(header::SET_COOKIE).iter().count() <= 1);
                    }
                }
            })
        })
        .collect();
    for t in ts {
        // Some seconds of work; a machine that is busy with other things may take some times as long.
        tokio::time::timeout(Duration::from_secs(50), t)
            .await
            .expect("HANG")
            .unwrap()
    }
    let all_gone = async {
        while s.stats().sessions > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), all_gone).await;
    assert!(gone.is_ok(), "{} have not idled out", s.stats().sessions);
}
