//! What is measured.
//!
//! Most rows come from [`Rounds`]: a stage that is set once for each side, and rounds on it, interleaved. Those that
//! need another procedure implement [`Measure`] themselves.

mod allocations;
mod call;
mod cast;
mod crowd;
mod durable;
mod expire;
mod fresh;
mod interleave;
mod life;
mod lookup;
mod pages;
#[cfg(unix)]
mod postgres;
mod records;
mod state;
mod store;
mod web;

pub use allocations::{Allocations, count};
pub use call::Call;
pub use cast::Cast;
pub use durable::{Wake, WriteBehind};
pub use expire::ExpirePause;
pub use fresh::{Fresh, measure_in_child};
pub use life::Life;
pub use lookup::Lookup;
pub use pages::LivePages;
#[cfg(unix)]
pub use postgres::{CachedDuringWrites, CounterRoute, Hot, Invalidate, Postgres, SERVE, serve};
pub use records::GetCached;
pub use store::SqliteSave;
pub use web::Web;

use crate::{
    contender::Contender,
    parts::Part,
    report::{Figures, Row},
    setting::{Mode, Setting},
};

/// Something to measure, for one row of the table or more.
pub trait Measure {
    /// The names of the rows, as `--only` takes them.
    fn names(&self) -> Vec<&'static str>;

    /// Programs of this machine that it needs.
    fn needs(&self) -> Vec<Part> {
        Vec::new()
    }

    /// Measures every side. Empty where there is nothing to compare.
    fn measure(&self, setting: &Setting) -> Vec<Figures>;
}

/// Rows in operations a second, measured in interleaved rounds.
pub trait Rounds {
    /// What is set before the first round and kept for all: sessions, ids.
    type Stage<C: Contender>;

    /// The rows.
    fn rows(&self) -> Vec<Row>;

    /// How many rounds there are, unless the command line says otherwise.
    fn rounds(&self, mode: Mode) -> usize;

    /// Sets the stage for one side.
    fn prepare<C: Contender>(&self, setting: &Setting) -> Self::Stage<C>;

    /// One round: a sample for each row, in the order of [`rows`](Self::rows).
    fn round<C: Contender>(&self, setting: &Setting, stage: &Self::Stage<C>) -> Vec<f64>;

    /// Clears the stage: a side that is done must not be in the way of the next row.
    fn finish<C: Contender>(&self, setting: &Setting, stage: Self::Stage<C>);
}

/// The engine itself: what `quick` measures unless other rows are named.
#[must_use]
pub fn engine() -> Vec<Box<dyn Measure>> {
    vec![
        Box::new(Life::HUNDRED_THOUSAND),
        Box::new(Fresh::IDLE_HUNDRED_THOUSAND),
        Box::new(Call::ONE),
        Box::new(Call::SPREAD),
        Box::new(Call::HOT),
        Box::new(Cast::ONE),
        Box::new(Cast::SPREAD),
        Box::new(Lookup),
        Box::new(ExpirePause),
    ]
}

/// All that can be measured in a mode, in the order of the table.
#[must_use]
pub fn all(mode: Mode) -> Vec<Box<dyn Measure>> {
    let mut all = engine();
    all.push(Box::new(Allocations));
    all.push(Box::new(SqliteSave::ONE));
    all.push(Box::new(SqliteSave::SIXTY_FOUR));
    all.push(Box::new(SqliteSave::MANY));
    all.push(Box::new(GetCached::ONE));
    all.push(Box::new(GetCached::MANY));
    all.push(Box::new(WriteBehind));
    all.push(Box::new(Wake));
    #[cfg(unix)]
    {
        all.extend(Postgres::ALL.into_iter().map(|row| Box::new(row) as Box<dyn Measure>));
        all.push(Box::new(Hot));
        all.push(Box::new(CounterRoute));
        all.push(Box::new(Invalidate));
        all.push(Box::new(CachedDuringWrites));
    }
    all.extend(Web::ALL.into_iter().map(|row| Box::new(row) as Box<dyn Measure>));
    all.extend(LivePages::ALL.into_iter().map(|row| Box::new(row) as Box<dyn Measure>));
    all.extend(state::all());
    if mode == Mode::Full {
        all.push(Box::new(Fresh::START_MILLION));
        all.push(Box::new(Fresh::IDLE_MILLION));
    }
    all
}
