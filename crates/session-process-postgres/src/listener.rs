//! The connection that hears what other nodes do.
//!
//! # Invariants
//! 1. PostgreSQL delivers notifications in the order of their commits. So a message of our own that comes back proves
//!    that all that was committed before it was sent has been heard. It is sent on a connection to where sessions are
//!    written; where that is another server by now, or always was, it does not come back.
//! 2. What this node wrote it knows from the answer, so of its own notifications it makes nothing. One that comes before the
//!    answer is put aside until that has come; where it doesn't within `interval`, or is an error, the notification says
//!    something new.
//! 3. When no such proof came for `interval + patience`, or the connection ended, the subscribers are told
//!    [`Notice::Deaf`], and [`Notice::Hearing`] not before the next proof.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use parking_lot::RwLock;
use session_process::store::{LockKey, Notice, SessionKey, StoreError};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{self, error::Elapsed},
};
use tokio_postgres::{
    Client, Notification,
    types::{ToSql, Type},
};

use crate::{
    changes::Notices,
    connection::{BACK_OFF, CLOCK, Connector, Direct, Link, Prepared, Statement, back_off, prepare},
    error::store_error,
    health::Seat,
    names::Names,
    queue::Turns,
    row::keys_and_versions,
};

/// Who writes. In notifications by a random name, so that nobody has to give it one.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    name: String,
    /// In which it takes what it writes.
    turns: Turns,
}

/// Those who write on this node, and whose notifications say nothing new to it.
///
/// A write that was given up may take effect long afterwards, and then its notification is news to this node as well. So
/// whoever doesn't know what came of a write takes another name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own(Arc<RwLock<Vec<Node>>>);

impl Own {
    /// Another one who writes what it takes from a queue.
    pub(crate) fn name(&self, turns: Turns) -> Result<Node, StoreError> {
        let node = Node::new(turns)?;
        self.0.write().push(node.clone());
        Ok(node)
    }

    /// What was sent under this name is not known any more to have taken effect or not.
    pub(crate) fn rename(&self, node: &mut Node) {
        self.0.write().retain(|own| own.name != node.name);
        // Without randomness it keeps its name, and this node hears itself.
        if let Ok(new) = self.name(node.turns.clone()) {
            *node = new;
        }
    }

    fn turns_of(&self, name: &str) -> Option<Turns> {
        let own = self.0.read();
        own.iter().find(|own| own.name == name).map(|own| own.turns.clone())
    }
}

impl Node {
    pub(crate) fn new(turns: Turns) -> Result<Self, StoreError> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::failed("name the node", error.to_string()))?;
        Ok(Self {
            name: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            turns,
        })
    }

    /// What a notification of this node begins with.
    pub(crate) fn head(&self, kind: Kind) -> String {
        format!("{}{} ", kind as u8 as char, self.name)
    }
}

/// Notifications of this node, in the order in which they came, until their writes are answered.
#[derive(Default)]
struct Aside(VecDeque<Unanswered>);

struct Unanswered {
    notification: Notification,
    turns: Turns,
    /// The one that was under way when it came.
    turn: Option<u64>,
    /// When it is news.
    due: time::Instant,
}

impl Aside {
    /// The first one of which it is settled whether it is news, and whether it is.
    fn settled(&mut self, own: &Own) -> Option<(Notification, bool)> {
        let first = self.0.front()?;
        let over = first.turn.is_none() || first.turns.under_way() != first.turn;
        if !over && time::Instant::now() < first.due {
            return None;
        }
        // In this order: it takes another name before its turn is over.
        let answered = over && own.turns_of(sent_by(&first.notification)).is_some();
        self.0.pop_front().map(|first| (first.notification, !answered))
    }
}

/// The name of the node that a notification is of.
fn sent_by(notification: &Notification) -> &str {
    let head = notification.payload().split_once(' ').map(|(head, _)| head);
    head.and_then(|head| head.get(1..)).unwrap_or_default()
}

/// What a notification is about: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Changed = b'C' as isize,
    Removed = b'R' as isize,
    Moved = b'M' as isize,
    Probe = b'P' as isize,
    /// Whatever is cached is to be forgotten, on every node.
    Clear = b'X' as isize,
    /// A lock was given up.
    Freed = b'L' as isize,
}

/// What a message of a node begins with. Who said it is the affair of those who listen.
pub(crate) const TOLD: &str = "T ";

pub(crate) struct Listener {
    /// Where it connects to.
    pub(crate) at: Direct,
    /// That is another way to the database than the store's.
    pub(crate) apart: bool,
    pub(crate) connector: Arc<Connector>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) node: Node,
    pub(crate) own: Own,
    pub(crate) interval: Duration,
    pub(crate) patience: Duration,
}

impl Listener {
    /// Listens until `closing` changes.
    pub(crate) async fn run(self, mut closing: watch::Receiver<bool>) {
        let mut wait = BACK_OFF.0;
        let mut others = self.connector.connected.subscribe();
        let seat = self.connector.reach.seat();
        let mut probes = Probes::new();
        let listen = async {
            loop {
                let begun = Instant::now();
                others.mark_unchanged();
                let ended = self.listen(&seat, &mut probes).await;
                self.notices.speak_through(None);
                probes.shutdown().await;
                seat.is_down();
                self.connector.reach.failed(&ended);
                tracing::warn!(error = %ended, "session store: not listening, so caches are not used");
                if begun.elapsed() > self.interval + self.patience {
                    wait = BACK_OFF.0;
                }
                back_off(&mut others, wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
            }
        };
        tokio::select! {
            () = listen => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        // Or the connections stayed: that to listen, and that to probe.
        self.notices.speak_through(None);
        probes.shutdown().await;
    }

    /// Until the connection fails. Returns why; the probe that is under way then is left in `probes`.
    async fn listen(&self, seat: &Seat, probes: &mut Probes) -> StoreError {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let channel = self.connector.names.channel();
        let listen = async {
            let client = self.at.connect(Some(sender)).await?;
            let listening = client.batch_execute(&format!("LISTEN {channel}")).await;
            listening.map_err(|error| store_error("listen", error))?;
            Ok(client)
        };
        let client = match time::timeout(self.connector.timeout, listen).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return error,
            Err(_) => return StoreError::Timeout { context: "listen" },
        };
        // Also for as long as it is not asked to probe.
        let client = Arc::new(client);
        self.notices.speak_through(Some(Arc::clone(&client)));
        let prober = Arc::new(if self.apart {
            Prober::Apart(Mutex::new(Link::new(Arc::clone(&self.connector))))
        } else {
            self.connector.works();
            Prober::Listening(Arc::clone(&client), channel)
        });
        let ended = self.hears(&mut heard, &prober, seat, probes).await;
        // First: what is dropped from here on may be somebody else's to close, who takes his time.
        self.notices.set_deaf(true);
        ended
    }

    /// Until it doesn't any more. Returns why.
    async fn hears(
        &self,
        heard: &mut mpsc::UnboundedReceiver<Notification>,
        prober: &Arc<Prober>,
        seat: &Seat,
        probes: &mut Probes,
    ) -> StoreError {
        let mut aside = Aside::default();
        let mut number = 0_u64;
        loop {
            number += 1;
            let sent = Instant::now();
            let proof = format!("{}{number}", self.node.head(Kind::Probe));
            // Those before came back, and have their answers too or get them in a moment.
            while probes.try_join_next().is_some() {}
            probes.spawn(probe(Arc::clone(prober), Arc::clone(&self.connector), proof.clone()));
            let deadline = time::Instant::from_std(sent + self.patience);
            // Until the probe is back.
            loop {
                match self.next(heard, &mut aside, deadline).await {
                    Ok(Some(notification)) if notification.payload() == proof => break,
                    Ok(Some(notification)) => self.hear(notification, &mut aside),
                    Ok(None) => return ended("the listening connection ended"),
                    Err(_) => return StoreError::Timeout { context: "listen" },
                }
            }
            self.notices.set_deaf(false);
            seat.works();
            // Until the next one is due.
            let next = time::Instant::from_std(sent + self.interval);
            loop {
                match self.next(heard, &mut aside, next).await {
                    Ok(Some(notification)) => self.hear(notification, &mut aside),
                    Ok(None) => return ended("the listening connection ended"),
                    Err(_) => break,
                }
            }
        }
    }

    /// What is heard until then. Meanwhile it sees to what was put aside.
    async fn next(
        &self,
        heard: &mut mpsc::UnboundedReceiver<Notification>,
        aside: &mut Aside,
        until: time::Instant,
    ) -> Result<Option<Notification>, Elapsed> {
        loop {
            while let Some((notification, news)) = aside.settled(&self.own) {
                if news {
                    self.learn(&notification);
                }
            }
            let due = aside.0.front().map_or(until, |first| first.due.min(until));
            match time::timeout_at(due, heard.recv()).await {
                Err(_) if due < until => {}
                heard => return heard,
            }
        }
    }

    fn hear(&self, notification: Notification, aside: &mut Aside) {
        let Some(turns) = self.own.turns_of(sent_by(&notification)) else {
            return self.learn(&notification);
        };
        aside.0.push_back(Unanswered {
            turn: turns.under_way(),
            turns,
            due: time::Instant::now() + self.interval,
            notification,
        });
    }

    fn learn(&self, notification: &Notification) {
        match parse(notification.payload()) {
            Some(Heard::Notices(notices)) => self.notices.tell(notices),
            Some(Heard::Freed(key)) => self.notices.freed(key),
            Some(Heard::Message(message)) => self.notices.said(message),
            // Of a newer version, or of somebody who plays tricks: anything may have changed.
            None => self.notices.tell([Notice::Lagged]),
        }
    }
}

fn ended(context: &'static str) -> StoreError {
    StoreError::Unavailable { context, source: None }
}

/// Those that are under way.
type Probes = JoinSet<Result<(), StoreError>>;

/// What probes are sent on.
enum Prober {
    Listening(Arc<Client>, String),
    Apart(Mutex<Link<Probe>>),
}

struct Probe(Statement);

impl Prepared for Probe {
    async fn prepare(client: &crate::client::Client, names: &Names) -> Result<Self, tokio_postgres::Error> {
        let sql = format!("{CLOCK}, pg_notify({{channel_literal}}, $1::text)::text");
        Ok(Self(prepare(client, names, &sql).await?))
    }
}

async fn probe(prober: Arc<Prober>, connector: Arc<Connector>, payload: String) -> Result<(), StoreError> {
    let fail = |error| store_error("listen", error);
    let mut asked = Instant::now();
    // Behind a pooler the server bounds nothing.
    let until = time::Instant::now() + connector.timeout;
    let late = |_| StoreError::Timeout { context: "listen" };
    let row = match &*prober {
        Prober::Listening(client, channel) => {
            let sql = format!("{CLOCK}, pg_notify($1, $2)::text");
            let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(channel, Type::TEXT), (&payload, Type::TEXT)];
            let row = time::timeout_at(until, client.query_typed_one(&sql, &parameters)).await;
            row.map_err(late)?.map_err(fail)?
        }
        Prober::Apart(link) => {
            let mut link = link.lock().await;
            let answer = time::timeout_at(until, async {
                let (client, Probe(statement)) = link.ready().await?;
                asked = Instant::now();
                client.query_one(statement, &[&payload]).await.map_err(fail)
            });
            match answer.await {
                Ok(row) => row?,
                Err(elapsed) => {
                    link.give_up();
                    return Err(late(elapsed));
                }
            }
        }
    };
    connector.clock.learn(row.get(0), asked, Instant::now());
    Ok(())
}

/// What a notification says.
#[derive(Debug, PartialEq)]
enum Heard {
    Notices(Vec<Notice>),
    Freed(LockKey),
    Message(Arc<str>),
}

/// What a notification says. `None`: it can't be understood.
fn parse(payload: &str) -> Option<Heard> {
    let (head, body) = payload.split_once(' ')?;
    match *head.as_bytes().first()? {
        b'P' => Some(Heard::Notices(Vec::new())),
        b'T' => Some(Heard::Message(body.into())),
        b'X' => Some(Heard::Notices(vec![Notice::Lagged])),
        b'L' => Some(Heard::Freed(LockKey::from_bytes(bytes(body)?.try_into().ok()?))),
        b'M' => {
            let bytes = bytes(body)?;
            let moves = bytes.chunks(72).map(|entry| {
                let (key, version) = keys_and_versions(entry.get(..40)?)?.next()?;
                let to = SessionKey::from_bytes(entry.get(40..)?.try_into().ok()?);
                Some(Notice::Moved { key, version, to })
            });
            moves.collect::<Option<_>>().map(Heard::Notices)
        }
        kind @ (b'C' | b'R') => {
            let bytes = bytes(body)?;
            let notices = keys_and_versions(&bytes)?.map(|(key, version)| {
                if kind == b'C' {
                    Notice::Changed { key, version }
                } else {
                    Notice::Removed { key, version }
                }
            });
            Some(Heard::Notices(notices.collect()))
        }
        _ => None,
    }
}

fn bytes(base64: &str) -> Option<Vec<u8>> {
    // PostgreSQL breaks the lines of Base64.
    let text: String = base64.split_ascii_whitespace().collect();
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use session_process::store::Version;

    use super::*;

    #[test]
    fn a_notification_names_what_changed() {
        let node = Node::new(Turns::default()).unwrap();
        let mut entries = vec![7_u8; 32];
        entries.extend(9_u64.to_be_bytes());
        let payload = format!("{}{}", node.head(Kind::Removed), BASE64_STANDARD.encode(&entries));
        let (at, line) = payload.split_at(30);
        let broken = format!("{at}\n{line}");
        let expected = Notice::Removed {
            key: SessionKey::from_bytes([7; 32]),
            version: Version(9),
        };
        assert_eq!(parse(&broken), Some(Heard::Notices(vec![expected])));
        let mut moved = vec![7_u8; 32];
        moved.extend(9_u64.to_be_bytes());
        moved.extend([8_u8; 32]);
        let payload = |bytes: &[u8]| format!("{}{}", node.head(Kind::Moved), BASE64_STANDARD.encode(bytes));
        let expected = Notice::Moved {
            key: SessionKey::from_bytes([7; 32]),
            version: Version(9),
            to: SessionKey::from_bytes([8; 32]),
        };
        assert_eq!(parse(&payload(&moved)), Some(Heard::Notices(vec![expected])));
        assert_eq!(parse(&payload(&moved[1..])), None, "half a key");
        let freed = format!("{}{}", node.head(Kind::Freed), BASE64_STANDARD.encode([8; 32]));
        assert_eq!(parse(&freed), Some(Heard::Freed(LockKey::from_bytes([8; 32]))));
    }

    #[test]
    fn what_is_not_understood_is_no_notification_of_nothing() {
        for payload in ["", "L1 AAAA", "C", "Cx", "C1 %", "Cx AAAA", "Zx ", " ", "é x"] {
            assert_eq!(parse(payload), None, "{payload:?}");
        }
        let said = Heard::Message("to all ".into());
        assert_eq!(parse(&format!("{TOLD}to all ")), Some(said));
        assert_eq!(parse("X1 "), Some(Heard::Notices(vec![Notice::Lagged])));
    }
}
