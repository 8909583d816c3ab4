//! What pages send.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_message_reaches_the_process_and_its_answer_the_page() {
    let site = Site::new();
    let client = site.visitor().await;
    let mut page = site.open(&client).await;
    page.greeted().await;
    let (status, answer) = up(
        &site.app,
        &client,
        &json!({"t": "send", "id": 7, "name": "add", "data": 4}),
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, json!({"t": "answer", "id": 7, "data": 5}));
    assert_eq!(page.frame("state").await["data"], total(5));
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_message_is_said_and_changes_nothing() {
    let site = Site::new();
    let client = site.visitor().await;
    for (frame, status, code) in [
        (json!({"t": "send", "name": "nope"}), 404, "unknown"),
        (json!({"t": "send", "name": "add", "data": "x"}), 422, "bad_data"),
        (json!({"t": "send", "name": "fail"}), 500, "internal"),
    ] {
        let (got, answer) = up(&site.app, &client, &frame).await;
        assert_eq!(
            (got.as_u16(), &answer["error"]["code"]),
            (status, &json!(code)),
            "{frame}"
        );
    }
    for frame in [json!({"t": "steal"}), json!(1), json!({"t": "send"}), json!([])] {
        let (status, answer) = up(&site.app, &client, &frame).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{frame}");
        assert_eq!(answer["error"]["code"], "malformed");
    }
    let json = [("content-type", "application/json")];
    assert_eq!(
        post(&site.app, &client, b"{".to_vec(), &json).await.0,
        StatusCode::BAD_REQUEST
    );
    let form = [("content-type", "text/plain")];
    let frame = br#"{"t":"send","name":"add","data":1}"#.to_vec();
    let (status, answer) = post(&site.app, &client, frame, &form).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(answer["error"]["code"], "media_type");
}

#[tokio::test(start_paused = true)]
async fn nobody_sends_without_a_session_and_none_begins() {
    let site = Site::new();
    let nobody = Client::new(&site.app);
    let (status, answer) = up(&site.app, &nobody, &json!({"t": "send", "name": "add", "data": 4})).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer,
        json!({"error": {"code": "no_session", "message": "there is no session"}})
    );
    assert_eq!(site.sessions.stats().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn active_is_a_use_once_in_thirty_seconds() {
    let site = Site::new();
    let client = site.visitor().await;
    let idle = || site.sessions.session_stats(&client.id()).unwrap().idle_for.as_secs();
    let active = json!({"t": "active"});
    site.clock.advance(SECOND * 10);
    assert_eq!(up(&site.app, &client, &active).await.0, StatusCode::NO_CONTENT);
    assert_eq!(idle(), 0);
    site.clock.advance(SECOND * 10);
    tokio::time::advance(SECOND * 10).await;
    up(&site.app, &client, &active).await;
    assert_eq!(idle(), 10, "too soon after the one before");
    tokio::time::advance(SECOND * 20).await;
    up(&site.app, &client, &active).await;
    assert_eq!(idle(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_turned_away_is_told_in_the_form_of_an_answer() {
    let site = Site::with(|live| live.with_max_pages(1, 10, 10));
    let (client, nobody) = (site.visitor().await, Client::new(&site.app));
    let foreign = [("origin", "https://evil.example")];
    for (client, more, status, code) in [
        (&nobody, &[][..], StatusCode::UNAUTHORIZED, "no_session"),
        (&client, &foreign, StatusCode::FORBIDDEN, "origin"),
    ] {
        let answer = crate::support::send(&site.app, request(client, more)).await;
        assert_eq!((answer.status, code_of(&answer.body)), (status, code.to_owned()));
    }
    let _open = site.open(&client).await;
    let answer = crate::support::send(&site.app, request(&client, &[])).await;
    assert_eq!(
        (answer.status, code_of(&answer.body)),
        (StatusCode::TOO_MANY_REQUESTS, "too_many".to_owned())
    );
    assert_eq!(answer.headers[header::RETRY_AFTER], "30");
    site.live.pages().close();
    let answer = crate::support::send(&site.app, request(&client, &[])).await;
    assert_eq!(
        (answer.status, code_of(&answer.body)),
        (StatusCode::SERVICE_UNAVAILABLE, "not_now".to_owned())
    );
}

fn code_of(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

mod malformed {
    use proptest::prelude::*;

    use super::*;

    /// Bytes, texts, and what is nearly a frame.
    fn anything() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("send"),
            Just("active"),
            Just("resume"),
            Just("pong"),
            Just("state"),
            Just("")
        ];
        let value = prop_oneof![
            Just("1"),
            Just("null"),
            Just("\"x\""),
            Just("[]"),
            Just("{}"),
            Just("-1e999"),
            Just("")
        ];
        let frame = (word, value.clone(), value.clone(), value).prop_map(|(t, id, name, data)| {
            format!(r#"{{"t":"{t}","id":{id},"name":{name},"data":{data},"epoch":{data},"rev":{id}}}"#).into_bytes()
        });
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            ".{0,100}".prop_map(String::into_bytes),
            (0..300_usize).prop_map(|deep| "[".repeat(deep).into_bytes()),
            frame,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_a_page_posts_is_answered_and_never_the_servers_fault(bytes in prop::collection::vec(anything(), 1..8)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let site = Site::new();
                let client = site.visitor().await;
                let mut page = site.open(&client).await;
                page.greeted().await;
                for bytes in bytes {
                    let (status, _) = post(&site.app, &client, bytes, &[("content-type", "application/json")]).await;
                    assert!(status.is_success() || status.is_client_error(), "{status}");
                }
                assert_eq!(page.waiting().await, Vec::<Value>::new(), "nothing has changed");
                assert_eq!(site.live.pages().open_in_all(), 1);
            });
        }
    }
}
