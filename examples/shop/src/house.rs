//! [`House`]: what all visitors share, in two processes of the other two styles.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use session_process::{Attributes, BuildError, Context, Handle, Process, SessionId, Sessions};
use session_process_axum::live::Pages;

/// How long something counts as just taken.
const JUST_NOW: Duration = Duration::from_secs(10 * 60);

/// The other two styles of state: a plain process that counts, and attributes, one of which expires. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct House {
    /// Without a type: attributes.
    sessions: Sessions,
    shelf: SessionId,
    board: SessionId,
    pages: Pages,
}

/// Plain: a struct and its handlers.
#[derive(Debug, Default)]
struct Shelf {
    taken: HashMap<String, u64>,
}

impl Process for Shelf {}

struct Take(String);
impl Handle<Take> for Shelf {
    type Reply = ();
    async fn handle(&mut self, Take(item): Take, _: &mut Context<Self>) {
        *self.taken.entry(item).or_default() += 1;
    }
}

struct Taken;
impl Handle<Taken> for Shelf {
    type Reply = HashMap<String, u64>;
    async fn handle(&mut self, _: Taken, _: &mut Context<Self>) -> HashMap<String, u64> {
        self.taken.clone()
    }
}

/// What the house tells everybody.
#[derive(Debug, Default, Serialize)]
pub(crate) struct News {
    /// How often each thing was put into a cart.
    taken: HashMap<String, u64>,
    /// What was put into one last, for a while.
    just_taken: Option<String>,
}

impl House {
    pub(crate) fn open(pages: Pages) -> Result<Self, BuildError> {
        // The house stays: neither idle nor of a certain age.
        let sessions = Sessions::<Attributes>::builder().idle_timeout(None).max_lifetime(None);
        let id = |text: &str| text.parse().expect("letters only");
        Ok(Self {
            sessions: sessions.build()?,
            shelf: id("shelf"),
            board: id("board"),
            pages,
        })
    }

    /// Something was put into a cart.
    pub(crate) async fn taken(&self, item: String) {
        if let Err(error) = self.write_down(item).await {
            tracing::warn!(%error, "the house did not hear of it");
        }
        crate::live::taken(&self.pages, &self.news().await);
    }

    async fn write_down(&self, item: String) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let shelf = self.sessions.of::<Shelf>();
        shelf.start(&self.shelf).await?;
        shelf
            .call(&self.shelf, Take(item.clone()))
            .await
            .map_err(|error| error.map(drop))?;
        self.sessions.start(&self.board).await?;
        self.sessions
            .insert_expiring(&self.board, "just_taken", item, JUST_NOW)
            .await?;
        Ok(())
    }

    pub(crate) async fn news(&self) -> News {
        // Either is not there before the first thing was taken.
        let taken = self.sessions.of::<Shelf>().call(&self.shelf, Taken).await;
        let just_taken = self.sessions.get(&self.board, "just_taken").await;
        News {
            taken: taken.unwrap_or_default(),
            just_taken: just_taken.unwrap_or_default(),
        }
    }
}
