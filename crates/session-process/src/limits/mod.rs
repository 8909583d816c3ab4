//! How many sessions may be started: in all, in a minute, and in a minute for one key.

mod keyed;
mod window;

pub(crate) use self::{
    keyed::KeyedRate,
    window::{Refused, SlidingWindow},
};
