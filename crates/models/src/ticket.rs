//! A message that waits, and its reply.

use std::task::Poll;

use loom::{future::block_on, sync::Arc, thread};

use crate::engine::ticket::{Ticket, Withdrawn};

type T = Ticket<u32, u32, &'static str>;

#[test]
fn a_message_is_handled_or_withdrawn_never_both() {
    loom::model(|| {
        let ticket: Arc<T> = Arc::new(Ticket::queued(7));
        let runner = {
            let ticket = Arc::clone(&ticket);
            thread::spawn(move || {
                let Some(message) = ticket.open() else { return false };
                ticket.reply(message + 1);
                true
            })
        };
        let withdrawn = ticket.withdraw();
        let handled = runner.join().unwrap();
        match withdrawn {
            Withdrawn::NotBegun(7) => assert!(!handled),
            Withdrawn::Begun => assert!(handled),
            Withdrawn::Done(Ok(8)) => assert!(handled),
            _ => panic!("neither the message nor its reply"),
        }
    });
}

#[test]
fn a_reply_wakes_whoever_waits_for_it() {
    loom::model(|| {
        let ticket: Arc<T> = Arc::new(Ticket::queued(7));
        let runner = {
            let ticket = Arc::clone(&ticket);
            thread::spawn(move || {
                let message = ticket.open().expect("nobody withdraws it");
                ticket.reply(message + 1);
            })
        };
        let reply = block_on(std::future::poll_fn(|cx| ticket.poll(cx)));
        assert!(matches!(reply, Ok(8)));
        runner.join().unwrap();
    });
}

#[test]
fn of_a_reply_and_a_refusal_one_arrives() {
    loom::model(|| {
        let ticket: Arc<T> = Arc::new(Ticket::begun());
        let refuser = {
            let ticket = Arc::clone(&ticket);
            thread::spawn(move || ticket.refuse("cut"))
        };
        ticket.reply(8);
        let outcome = block_on(std::future::poll_fn(|cx| match ticket.poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => panic!("it was finished"),
        }));
        assert!(matches!(outcome, Ok(8) | Err(("cut", None))));
        refuser.join().unwrap();
    });
}
