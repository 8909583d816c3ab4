//! Processes that call processes.

use std::{sync::OnceLock, time::Duration};

use session_process::{CallError, Context, Handle, Process, SessionId, Sessions};
use testkit::Gate;

use crate::support::id;

/// Passes a call on along a list of sessions.
#[derive(Default)]
struct Node {
    passed: usize,
}

impl Process for Node {}

#[derive(Clone)]
struct Pass {
    sessions: Sessions<Node>,
    path: Vec<SessionId>,
    /// Each node waits here first, so that it continues in a task.
    gate: Option<Gate>,
}

impl Handle<Pass> for Node {
    type Reply = Result<usize, String>;

    async fn handle(&mut self, mut pass: Pass, _: &mut Context<Self>) -> Result<usize, String> {
        self.passed += 1;
        if let Some(gate) = &pass.gate {
            gate.pass().await;
        }
        let Some(next) = pass.path.pop() else { return Ok(1) };
        let sessions = pass.sessions.clone();
        // Boxed, as a recursive handler has to be.
        let call: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { sessions.call(&next, pass).await });
        match call.await {
            Ok(Ok(n)) => Ok(n + 1),
            Ok(Err(error)) => Err(error),
            Err(error @ CallError::SelfCall { .. }) => Err(error.kind().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn nodes(n: usize) -> (Sessions<Node>, Vec<SessionId>) {
    // Ten thousand nested calls are seconds of work for a debug build on a busy machine, and the deadline is not what
    // is tested.
    let sessions = Sessions::builder()
        .call_timeout(Duration::from_secs(300))
        .build()
        .unwrap();
    let ids: Vec<SessionId> = (0..n).map(|n| id(&format!("node-{n}"))).collect();
    for id in &ids {
        sessions.start(id).await.unwrap();
    }
    (sessions, ids)
}

#[tokio::test]
async fn a_process_that_calls_itself_gets_an_error_at_once() {
    let (sessions, ids) = nodes(1).await;
    let pass = Pass {
        sessions: sessions.clone(),
        path: vec![ids[0].clone()],
        gate: None,
    };
    let reply = sessions.call(&ids[0], pass).await.unwrap();
    assert_eq!(reply, Err("self_call".to_owned()));
}

#[tokio::test]
async fn a_circle_of_calls_gets_an_error_at_once() {
    let (sessions, ids) = nodes(3).await;
    for gate in [None, Some(Gate::new())] {
        if let Some(gate) = &gate {
            gate.open_for_all();
        }
        let path = vec![ids[0].clone(), ids[2].clone(), ids[1].clone()];
        let pass = Pass {
            sessions: sessions.clone(),
            path,
            gate,
        };
        assert_eq!(sessions.call(&ids[0], pass).await.unwrap(), Err("self_call".to_owned()));
    }
}

#[tokio::test]
async fn a_chain_of_ten_thousand_processes_does_not_overflow_the_stack() {
    let (sessions, ids) = nodes(10_000).await;
    let path: Vec<_> = ids[1..].to_vec();
    let pass = Pass {
        sessions: sessions.clone(),
        path,
        gate: None,
    };
    assert_eq!(sessions.call(&ids[0], pass).await.unwrap(), Ok(10_000));
}

/// Casts on to the next session, within the handler.
struct Relay(Sessions<Node>, Vec<SessionId>);

impl Handle<Relay> for Node {
    type Reply = ();

    async fn handle(&mut self, Relay(sessions, mut path): Relay, _: &mut Context<Self>) {
        self.passed += 1;
        if let Some(next) = path.pop() {
            let relay = Relay(sessions.clone(), path);
            sessions.cast(&next, relay).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

struct Passed;

impl Handle<Passed> for Node {
    type Reply = usize;

    async fn handle(&mut self, _: Passed, _: &mut Context<Self>) -> usize {
        self.passed
    }
}

#[tokio::test]
async fn a_chain_of_casts_does_not_overflow_the_stack() {
    let (sessions, ids) = nodes(10_000).await;
    sessions
        .cast(&ids[0], Relay(sessions.clone(), ids[1..].to_vec()))
        .unwrap();
    let last = &ids[1];
    while sessions.call(last, Passed).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
}

/// Casts to `other`, whose handler calls back: no circle, since the sender of a cast doesn't wait.
struct Introduce(Sessions<Node>, SessionId);
struct CallBack(Sessions<Node>, SessionId, std::sync::Arc<OnceLock<usize>>);

impl Handle<(Introduce, std::sync::Arc<OnceLock<usize>>)> for Node {
    type Reply = ();

    async fn handle(
        &mut self,
        (Introduce(sessions, other), result): (Introduce, std::sync::Arc<OnceLock<usize>>),
        cx: &mut Context<Self>,
    ) {
        let call_back = CallBack(sessions.clone(), cx.session_id(), result);
        sessions
            .cast(&other, call_back)
            .unwrap_or_else(|error| panic!("{error}"));
        self.passed = 42;
    }
}

impl Handle<CallBack> for Node {
    type Reply = ();

    async fn handle(&mut self, CallBack(sessions, who, result): CallBack, _: &mut Context<Self>) {
        let passed = sessions.call(&who, Passed).await.unwrap();
        result.set(passed).unwrap();
    }
}

#[tokio::test]
async fn the_sender_of_a_cast_can_be_called_by_its_receiver() {
    let (sessions, ids) = nodes(2).await;
    let result = std::sync::Arc::new(OnceLock::new());
    let introduce = (Introduce(sessions.clone(), ids[1].clone()), result.clone());
    sessions.call(&ids[0], introduce).await.unwrap();
    sessions.call(&ids[1], Passed).await.unwrap();
    assert_eq!(result.get(), Some(&42));
}
