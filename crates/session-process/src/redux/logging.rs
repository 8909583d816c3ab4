//! [`Logging`]: a middleware that writes down what happens.

use std::fmt::{self, Debug, Write};

use super::{After, Middleware, Reducer};

/// A middleware that writes a `tracing` record for each action that was applied: at DEBUG, under the target
/// `session_process::redux`, with the session's public handle, the action's name and its position.
///
/// The name is the first word of its `Debug` output, the variant of an enum. What the action holds is not written: it
/// may be secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct Logging;

impl<R> Middleware<R> for Logging
where
    R: Reducer,
    R::Action: Debug,
{
    fn name(&self) -> &'static str {
        "logging"
    }

    fn after(&self, action: &R::Action, store: &mut After<'_, R>) {
        tracing::debug!(
            target: "session_process::redux",
            session = %store.session(),
            action = %name(action),
            position = store.position(),
            "action applied"
        );
    }
}

/// The first word of the `Debug` output; of variants within variants, all of theirs with points between.
fn name<A: Debug>(action: &A) -> String {
    let mut words = Words {
        text: String::new(),
        over: false,
    };
    // An error when it has read enough.
    let _ = write!(words, "{action:?}");
    words.text.trim_end_matches('.').to_owned()
}

struct Words {
    text: String,
    over: bool,
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                _ if self.over => return Err(fmt::Error),
                // `Cart(Add(..))`: what begins with a capital goes on the name.
                '(' if !self.text.is_empty() => self.text.push('.'),
                'A'..='Z' => self.text.push(character),
                'a'..='z' | '_' | '0'..='9' if !self.text.is_empty() && !self.text.ends_with('.') => {
                    self.text.push(character);
                }
                _ => self.over = true,
            }
            if self.text.len() > 100 {
                self.over = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_variants_and_of_nothing_that_they_hold() {
        #[derive(Debug)]
        #[allow(dead_code, reason = "printed")]
        enum Inner {
            AddItem(String),
            Pay { card: &'static str },
            Clear,
        }
        #[derive(Debug)]
        #[allow(dead_code, reason = "printed")]
        enum Outer {
            Cart(Inner),
        }
        assert_eq!(name(&Outer::Cart(Inner::AddItem("Secret".into()))), "Cart.AddItem");
        assert_eq!(name(&Outer::Cart(Inner::Pay { card: "4711" })), "Cart.Pay");
        assert_eq!(name(&Inner::Clear), "Clear");
        assert_eq!(name(&"Secret"), "");
        assert_eq!(name(&4711), "");
    }
}
