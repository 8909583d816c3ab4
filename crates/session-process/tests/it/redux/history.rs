//! Undo, redo, time travel, reset, export and import.

use session_process::{
    Timestamp,
    redux::{Cause, Error, InitialState, Setup, Step, Store},
};

use super::*;

#[tokio::test]
async fn history_has_actions_with_times_and_every_state_can_be_had() {
    let (sessions, clock) = cart(Setup::new()).await;
    let a = id("a");
    for n in 1..=3 {
        clock.advance(SECOND);
        let dispatched = sessions.dispatch(&a, add("tea", n)).await.unwrap();
        assert_eq!(dispatched.position(), Some(n as u64));
    }
    let history = sessions.history(&a).await.unwrap();
    assert_eq!((history.first, history.position), (0, 3));
    assert_eq!(history.steps[1].step, Step::Action(add("tea", 2)));
    assert_eq!(history.steps[1].at, Timestamp::from_micros(2_000_000));
    for (position, total) in [(0, 0), (1, 1), (2, 3), (3, 6)] {
        assert_eq!(sessions.state_at(&a, position).await.unwrap().total, total);
    }
    assert_eq!(total(&sessions).await, 6, "looking changes nothing");
}

#[tokio::test]
async fn undo_and_redo_go_to_both_ends_and_no_further() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    assert_eq!(sessions.undo(&a).await.unwrap(), None);
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    sessions.dispatch(&a, add("milk", 2)).await.unwrap();
    assert_eq!(sessions.redo(&a).await.unwrap(), None);
    assert_eq!(sessions.undo(&a).await.unwrap(), Some(1));
    assert_eq!(sessions.undo(&a).await.unwrap(), Some(0));
    assert_eq!(total(&sessions).await, 0);
    assert_eq!(sessions.redo(&a).await.unwrap(), Some(1));
    assert_eq!(total(&sessions).await, 1);
    // Another action ends what was undone.
    sessions.dispatch(&a, add("mug", 7)).await.unwrap();
    assert_eq!(sessions.redo(&a).await.unwrap(), None);
    assert_eq!(sessions.state(&a).await.unwrap().items, ["tea", "mug"]);
}

#[tokio::test]
async fn a_reset_can_be_undone() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    assert_eq!(sessions.reset(&a).await.unwrap(), 2);
    assert_eq!(total(&sessions).await, 0);
    sessions.dispatch(&a, add("mug", 5)).await.unwrap();
    assert_eq!(sessions.history(&a).await.unwrap().steps[1].step, Step::Reset);
    for expected in [0, 1, 0] {
        sessions.undo(&a).await.unwrap();
        assert_eq!(total(&sessions).await, expected);
    }
    assert_eq!(sessions.undo(&a).await.unwrap(), None);
    sessions.time_travel(&a, 3).await.unwrap();
    assert_eq!(total(&sessions).await, 5);
}

#[tokio::test]
async fn a_reset_returns_to_the_state_a_session_was_started_with_however_long_ago() {
    let (sessions, _clock) = with_clock::<Store<Cart>>(|builder| builder.extension(Setup::<Cart>::new().history(2)));
    let (a, given) = (
        id("a"),
        Cart {
            items: vec![],
            total: 40,
        },
    );
    sessions.start_with(&a, InitialState::new(given)).await.unwrap();
    for _ in 0..10 {
        sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    }
    assert_eq!(total(&sessions).await, 50);
    sessions.reset(&a).await.unwrap();
    assert_eq!(total(&sessions).await, 40);
    let exported = sessions.export(&a).await.unwrap();
    sessions.start(&id("b")).await.unwrap();
    sessions.import(&id("b"), exported).await.unwrap();
    sessions.dispatch(&id("b"), add("tea", 1)).await.unwrap();
    sessions.reset(&id("b")).await.unwrap();
    assert_eq!(
        sessions.state(&id("b")).await.unwrap().total,
        40,
        "an export brings it along"
    );
}

#[tokio::test]
async fn time_travel_past_either_end_is_an_error_that_names_both() {
    let (sessions, _clock) = cart(Setup::new().history(2)).await;
    let a = id("a");
    for n in 1..=5 {
        sessions.dispatch(&a, add("tea", n)).await.unwrap();
    }
    for position in [0, 2, 6, u64::MAX] {
        let error = sessions.time_travel(&a, position).await.unwrap_err();
        assert!(matches!(error, Error::OutOfRange { first: 3, last: 5, .. }), "{error}");
        assert!(sessions.state_at(&a, position).await.is_err());
    }
    assert_eq!(total(&sessions).await, 15);
    sessions.time_travel(&a, 3).await.unwrap();
    assert_eq!(total(&sessions).await, 6);
    sessions.time_travel(&a, 5).await.unwrap();
    assert_eq!(total(&sessions).await, 15);
}

#[tokio::test]
async fn an_export_is_taken_on_with_its_history_and_its_place_in_it() {
    let (sessions, _clock) = cart(Setup::new().history(3)).await;
    let (a, b) = (id("a"), id("b"));
    for n in 1..=5 {
        sessions.dispatch(&a, add("tea", n)).await.unwrap();
    }
    sessions.undo(&a).await.unwrap();
    let exported = sessions.export(&a).await.unwrap();
    sessions.start(&b).await.unwrap();
    let mut totals = sessions.subscribe(&b, |cart| cart.total).await.unwrap();
    assert_eq!(totals.next().await, Some(0));
    assert_eq!(sessions.import(&b, exported).await.unwrap(), 4);
    assert_eq!(totals.next().await, Some(10), "subscribers are told");
    assert_eq!(sessions.history(&b).await.unwrap(), sessions.history(&a).await.unwrap());
    sessions.redo(&b).await.unwrap();
    assert_eq!(sessions.state(&b).await.unwrap().total, 15);
}

#[tokio::test]
async fn a_damaged_export_is_an_error_and_changes_nothing() {
    let (sessions, _clock) = cart(Setup::new()).await;
    let a = id("a");
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    sessions.dispatch(&a, add("tea", 2)).await.unwrap();
    let good = sessions.export(&a).await.unwrap();
    let damaged = [
        String::new(),
        "null".into(),
        good[..good.len() / 2].to_owned(),
        good.replace("\"cursor\":2", "\"cursor\":3"),
        good.replace("\"format\":1", "\"format\":2"),
        good.replace("\"first\":0", "\"first\":18446744073709551615"),
        good.replace("\"price\":2", "\"price\":\"two\""),
        good.replacen(
            "{\"action\":{\"add\":{\"item\":\"tea\",\"price\":2}}}",
            "{\"action\":\"break\"}",
            1,
        ),
    ];
    for text in damaged {
        assert_ne!(text, good);
        let error = sessions.import(&a, text).await.unwrap_err();
        assert_eq!(error.kind(), "bad_export");
    }
    assert_eq!(total(&sessions).await, 3);
    assert_eq!(sessions.history(&a).await.unwrap().steps.len(), 2);
}

#[tokio::test]
async fn a_store_is_read_from_a_snapshot_and_learns_of_its_engine_later() {
    let (sessions, _clock) = cart(Setup::new()).await;
    sessions.dispatch(&id("a"), add("tea", 1)).await.unwrap();
    let snapshot = sessions.export(&id("a")).await.unwrap();
    let store: Store<Cart> = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(store.state().total, 1);
    assert_eq!(serde_json::to_string(&store).unwrap(), snapshot);
    assert!(!format!("{store:?}").contains("tea"));
}

#[tokio::test]
async fn a_timeline_shows_each_state_and_what_changed() {
    let (sessions, clock) = cart(Setup::new()).await;
    let a = id("a");
    clock.advance(SECOND);
    sessions.dispatch(&a, add("tea", 1)).await.unwrap();
    sessions.reset(&a).await.unwrap();
    sessions.undo(&a).await.unwrap();
    let timeline = sessions.timeline(&a).await.unwrap();
    assert_eq!(timeline.position, 1);
    let causes: Vec<_> = timeline.moments.iter().map(|moment| &moment.cause).collect();
    assert!(matches!(causes[..], [Cause::Base, Cause::Action(_), Cause::Reset]));
    let moment = serde_json::to_value(&timeline.moments[1]).unwrap();
    assert_eq!(
        moment,
        serde_json::json!({
            "position": 1, "at": 1_000_000,
            "cause": { "action": { "add": { "item": "tea", "price": 1 } } },
            "state": { "items": ["tea"], "total": 1 },
            "changes": [
                { "path": "/items/0", "after": "tea" },
                { "path": "/total", "before": 0, "after": 1 },
            ],
        })
    );
}
