//! What trying templates on Vero's samples may cost while a config is read.
//!
//! One template may take [`FUEL`](super::FUEL) steps for each sample, which is nothing for one and minutes for the thousands that a file of
//! 1 MiB can hold. So all of one config share a budget. What comes when it is used up is compiled and not tried.

use std::cell::Cell;

/// Steps for all templates of one config, on all samples: an ordinary template takes some hundred in all.
pub const STEPS_MAX: u64 = 10_000_000;

thread_local! {
    /// What is left for the config that this thread reads; `None` where none is read, and rendering is not counted.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// As long as it lives, what this thread renders is counted.
#[must_use]
pub struct Budget(());

impl Budget {
    /// Begins a config.
    pub fn begin() -> Self {
        LEFT.set(Some(STEPS_MAX));
        Self(())
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        LEFT.set(None);
    }
}

/// Whether anything is left.
pub fn is_left() -> bool {
    LEFT.get() != Some(0)
}

/// Whether it is counted at all.
pub fn is_counted() -> bool {
    LEFT.get().is_some()
}

/// Takes some steps off.
pub fn charge(steps: u64) {
    LEFT.set(LEFT.get().map(|left| left.saturating_sub(steps)));
}

#[cfg(test)]
mod tests {
    use super::super::{Escape, FUEL, Template};
    use super::*;

    /// Fails with every event, which shows only when it is rendered.
    const WRONG: &str = "{{ campaign.trigger-event.x + 'a' }}{{ 1 // 0 }}";

    /// A template that takes nearly all the steps there are.
    fn long(number: usize) -> String {
        format!("{number}{{% for i in range(300) %}}{{% for j in range(100) %}}x{{% endfor %}}{{% endfor %}}")
    }

    #[test]
    fn what_one_config_is_tried_with_is_bounded_and_the_next_begins_anew() {
        let compile = |source: &str| Template::compile(source, Escape::None);
        for _ in 0..2 {
            let budget = Budget::begin();
            assert!(compile(WRONG).is_err(), "within the budget it is tried");
            let mut count = 0;
            while is_left() {
                compile(&long(count)).expect("it is good");
                count += 1;
                assert!((count as u64) < STEPS_MAX / FUEL, "each is charged with what it takes");
            }
            let last = compile(&long(count)).expect("it compiles");
            assert!(
                compile(WRONG).is_ok() && compile("{{ x ").is_err(),
                "beyond the budget it is compiled and no more"
            );
            let view = &super::super::View::samples()[0];
            assert!(last.render(view, None).is_err(), "nor is anything rendered for advice");
            drop(budget);
            assert!(last.render(view, None).is_ok(), "an event is no trial");
        }
    }
}
