//! [`Readers`]: pages, as cheap as they can be: a connection each, and the time when they last saw a state.

use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::sides::Side;

/// What begins a state, on both sides.
const STATE: &[u8] = b"event: state\n";

#[derive(Clone)]
pub(super) struct Readers(Arc<Seen>);

struct Seen {
    pages: usize,
    /// States that were seen, in all.
    states: AtomicUsize,
    times: Mutex<Vec<Instant>>,
    told: Notify,
    awaited: AtomicUsize,
}

impl Readers {
    pub(super) async fn open<S: Side>(side: &S, sessions: usize, pages: usize) -> Self {
        let seen = Arc::new(Seen {
            pages: sessions * pages,
            states: AtomicUsize::new(0),
            times: Mutex::default(),
            told: Notify::new(),
            awaited: AtomicUsize::new(sessions * pages),
        });
        for session in 0..sessions {
            for _ in 0..pages {
                let mut stream = TcpStream::connect(side.address()).await.expect("it listens");
                stream
                    .write_all(side.request(session).as_bytes())
                    .await
                    .expect("it reads");
                tokio::spawn(read(stream, Arc::clone(&seen)));
            }
        }
        let readers = Self(seen);
        readers.all_see(0, 1).await;
        readers
    }

    /// States that were seen so far.
    pub(super) fn seen(&self) -> usize {
        self.0.states.load(Ordering::Acquire)
    }

    /// Waits until each page has seen so many more than there were, and returns when they did.
    pub(super) async fn all_see(&self, before: usize, each: usize) -> Vec<Instant> {
        let target = before + each * self.0.pages;
        self.0.awaited.store(target, Ordering::Release);
        loop {
            let told = self.0.told.notified();
            if self.seen() >= target {
                return std::mem::take(&mut *self.0.times.lock().expect("nobody panics"));
            }
            told.await;
        }
    }
}

async fn read(mut stream: TcpStream, seen: Arc<Seen>) {
    let mut buffer = vec![0; 4096];
    let mut matched = 0;
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        for byte in &buffer[..length] {
            matched = if *byte == STATE[matched] {
                matched + 1
            } else {
                usize::from(*byte == STATE[0])
            };
            if matched == STATE.len() {
                matched = 0;
                seen.times.lock().expect("nobody panics").push(Instant::now());
                let states = seen.states.fetch_add(1, Ordering::AcqRel) + 1;
                if states >= seen.awaited.load(Ordering::Acquire) {
                    seen.told.notify_waiters();
                }
            }
        }
    }
}

/// Pages that cost this process nothing but a descriptor each.
pub(super) async fn open_quietly<S: Side>(side: &S, pages: usize) -> Vec<std::net::TcpStream> {
    let side = side.clone();
    let open = move || {
        let mut open = Vec::with_capacity(pages);
        let mut buffer = [0; 4096];
        for session in 0..pages {
            let mut stream = std::net::TcpStream::connect(side.address()).expect("it listens");
            stream.write_all(side.request(session).as_bytes()).expect("it reads");
            let mut text = Vec::new();
            while !text.windows(STATE.len()).any(|part| part == STATE) {
                let length = stream.read(&mut buffer).expect("it answers");
                text.extend_from_slice(&buffer[..length]);
            }
            open.push(stream);
        }
        open
    };
    tokio::task::spawn_blocking(open).await.expect("pages can be opened")
}
