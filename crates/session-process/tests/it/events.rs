//! Events, and what must never be in them.

use session_process::{Event, Handle, Process, SessionId, Sessions};
use testkit::{Gate, capture_tracing};

use crate::support::*;

#[tokio::test]
async fn everything_that_happens_is_an_event() {
    let sessions = session_process::Sessions::<Counter>::builder()
        .max_sessions(1)
        .build()
        .unwrap();
    let mut events = sessions.events();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    sessions.call(&a, Add(1)).await.unwrap();
    sessions.cast(&a, Add(1)).unwrap();
    sessions.start(&id("b")).await.unwrap_err();
    sessions.call(&id("b"), Add(1)).await.unwrap_err();
    sessions.call(&a, Panic).await.unwrap_err();
    sessions.call(&a, Add(1)).await.unwrap();
    let b = sessions.rotate(&a).await.unwrap();
    sessions.terminate(&b).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let event = events.recv().await.unwrap().unwrap();
        seen.push(
            match &*event {
                Event::Started { .. } => "started",
                Event::StartFailed { error, .. } => error,
                Event::Limited { limit } => {
                    assert_eq!(*limit, "session_limit");
                    "limited"
                }
                Event::Ended { reason, .. } => reason.as_str(),
                Event::Called { message, .. } => {
                    assert!(message.ends_with("Add"));
                    "called"
                }
                Event::Cast { .. } => "cast",
                Event::MessageFailed { error, .. } => error,
                Event::Crashed { panic, .. } => panic,
                Event::Restarted { restarts, .. } => {
                    assert_eq!(*restarts, 1);
                    "restarted"
                }
                Event::Rotated { .. } => "rotated",
                other => panic!("{other:?}"),
            }
            .to_owned(),
        );
        if seen.last().unwrap() == "terminated" {
            break;
        }
    }
    let expected = [
        "started",
        "called",
        "cast",
        "limited",
        "not_started",
        "crashed",
        "as told",
        "restarted",
        "called",
        "rotated",
        "terminated",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_slow_subscriber_learns_how_many_events_it_missed() {
    let sessions = counters();
    let mut events = sessions.events();
    let a = id("a");
    sessions.start(&a).await.unwrap();
    for _ in 0..3_000 {
        sessions.cast(&a, Add(1)).unwrap();
    }
    assert!(events.recv().await.unwrap_err().missed >= 1_900);
    assert!(events.recv().await.unwrap().is_some());
}

/// A process with a secret of the user's in its messages and state.
#[derive(Default)]
struct Diary(String);
impl Process for Diary {}
struct Write(String);
impl Handle<Write> for Diary {
    type Reply = ();
    async fn handle(&mut self, Write(text): Write, _: &mut session_process::Context<Self>) {
        self.0 = text;
    }
}
impl Handle<Panic> for Diary {
    type Reply = ();
    async fn handle(&mut self, _: Panic, _: &mut session_process::Context<Self>) {
        panic!("as told");
    }
}
impl Handle<Hold> for Diary {
    type Reply = ();
    async fn handle(&mut self, Hold(gate): Hold, _: &mut session_process::Context<Self>) {
        gate.pass().await;
    }
}

#[tokio::test]
async fn no_log_event_error_or_debug_output_holds_an_id_or_a_message() {
    let (captured, _guard) = capture_tracing();
    let sessions = Sessions::<Diary>::builder()
        .mailbox_capacity(1)
        .max_sessions(2)
        .build()
        .unwrap();
    let mut events = sessions.events();
    let ids: Vec<SessionId> = (0..3).map(|_| SessionId::generate()).collect();
    let mut said = String::new();
    let secret = "my-secret-diary-entry";
    sessions.start(&ids[0]).await.unwrap();
    sessions.call(&ids[0], Write(secret.into())).await.unwrap();
    said += &format!("{:?}", sessions.call(&ids[1], Write(secret.into())).await.unwrap_err());
    said += &format!("{}", sessions.cast(&ids[1], Write(secret.into())).unwrap_err());
    said += &format!(
        "{:?}",
        sessions.of::<Counter>().call(&ids[0], Add(1)).await.unwrap_err()
    );
    said += &format!("{:?}", sessions.touch(&ids[1]).unwrap_err());
    said += &format!("{:?}", sessions.rotate(&ids[1]).await.unwrap_err());
    said += &format!("{:?}", sessions.call(&ids[0], Panic).await.unwrap_err());
    sessions.call(&ids[0], Write(secret.into())).await.unwrap();
    let gate = Gate::new();
    sessions.cast(&ids[0], Hold(gate.clone())).unwrap();
    gate.reached().await;
    sessions.cast(&ids[0], Write(secret.into())).unwrap();
    said += &format!("{:?}", sessions.cast(&ids[0], Write(secret.into())).unwrap_err());
    gate.open();
    sessions.start(&ids[1]).await.unwrap();
    said += &format!("{:?}", sessions.start(&ids[2]).await.unwrap_err());
    said += &format!("{:?} {:?}", sessions.stats(), sessions.session_stats(&ids[1]).unwrap());
    let rotated = sessions.rotate(&ids[1]).await.unwrap();
    sessions.terminate(&rotated).await.unwrap();
    said += &format!("{sessions:?} {:?} {:?}", sessions.list(), sessions.list_page(None, 10));
    said += &format!("{:?}", sessions.shutdown(SECOND).await);
    drop(sessions);
    while let Some(event) = events.recv().await.unwrap() {
        said += &format!("{event:?}");
    }
    let traced = captured.text();
    assert!(
        traced.contains("session started") && traced.contains("called"),
        "the trap works: {traced}"
    );
    for id in ids.iter().chain([&rotated]) {
        assert!(traced.contains(&id.public_handle().to_string()) || *id == ids[2]);
        assert!(!traced.contains(id.expose()), "an id in the log");
        assert!(
            !said.contains(id.expose()),
            "an id in an error, an event or Debug output"
        );
    }
    assert!(!traced.contains(secret) && !said.contains(secret));
}
