//! Replies that come later.

use session_process::{CallError, Context, Deferred, Handle, Process, ReplySender, Sessions};

use crate::support::*;

#[derive(Default)]
struct Desk {
    waiting: Vec<ReplySender<u64>>,
}

impl Process for Desk {}

struct Wait;
impl Handle<Wait> for Desk {
    type Reply = Deferred<u64>;
    async fn handle(&mut self, _: Wait, cx: &mut Context<Self>) -> Deferred<u64> {
        let (sender, deferred) = cx.defer_reply();
        self.waiting.push(sender);
        deferred
    }
}

struct Serve(Option<u64>);
impl Handle<Serve> for Desk {
    type Reply = usize;
    async fn handle(&mut self, Serve(number): Serve, _: &mut Context<Self>) -> usize {
        let waiting = std::mem::take(&mut self.waiting);
        match number {
            Some(number) => waiting
                .into_iter()
                .filter(|_| true)
                .map(|sender| usize::from(sender.send(number)))
                .sum(),
            None => 0,
        }
    }
}

#[tokio::test]
async fn a_deferred_reply_arrives_while_the_process_goes_on() {
    let desks = Sessions::<Desk>::builder().build().unwrap();
    let a = id("a");
    desks.start(&a).await.unwrap();
    let (one, two, served) = tokio::join!(
        desks.call_deferred(&a, Wait),
        desks.call_deferred(&a, Wait),
        desks.call(&a, Serve(Some(9)))
    );
    assert_eq!((one.unwrap(), two.unwrap(), served.unwrap()), (9, 9, 2));
}

#[tokio::test]
async fn a_deferred_reply_that_is_dropped_fails_the_call() {
    let desks = Sessions::<Desk>::builder().build().unwrap();
    let a = id("a");
    desks.start(&a).await.unwrap();
    let (reply, _) = tokio::join!(desks.call_deferred(&a, Wait), desks.call(&a, Serve(None)));
    assert!(matches!(reply.unwrap_err(), CallError::ReplyDropped { .. }));
    // The end of the session drops it too.
    let (reply, _) = tokio::join!(desks.call_deferred(&a, Wait), desks.terminate(&a));
    assert!(matches!(reply.unwrap_err(), CallError::ReplyDropped { .. }));
}

#[tokio::test]
async fn the_deadline_covers_a_deferred_reply() {
    let (desks, clock) = with_clock::<Desk>(|builder| builder);
    let a = id("a");
    desks.start(&a).await.unwrap();
    let (reply, ()) = tokio::join!(desks.call_deferred(&a, Wait), async {
        tokio::task::yield_now().await;
        clock.advance(15 * SECOND);
    });
    assert!(matches!(reply.unwrap_err(), CallError::Timeout { .. }));
    assert_eq!(
        desks.call(&a, Serve(Some(1))).await.unwrap(),
        0,
        "nobody waits for it any more"
    );
}
