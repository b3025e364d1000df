//! The page in a real browser: Debian's chromium, by its driver. `make test` installs both.
//!
//! Each test starts a relay and a browser of its own, does what somebody before the page would do, and looks at what they would see. It ends
//! with an empty log of the browser. A test that fails leaves a picture in `target/tmp/page`, and so do all views, for who wants to look at
//! them: no picture is compared by its pixels.
//!
//! # Cast
//!
//! * [`driver`]: the browsers, how many there are at once, and their end. [`page`]: what is seen and done.
//! * [`stage`]: relays with something to see, and the places of the page.
//! * [`events`]: the list, its search, one event. [`places`]: what stands in the address. [`times`]: zones.
//! * [`live`]: what comes by itself. [`destinations`]: the operator's hands on them. [`door`]: signing in, other sites, a proxy.
//! * [`rules`]: what no rule wanted, an event before it happens, the config. [`keyboard`]: all of it by keys alone.
//! * [`hostile`]: events that would like to be more than text. [`policy`]: what the browser forbids the page.
//! * [`access`]: names, contrast, narrow screens. [`pictures`]: each view, to be looked at.

mod access;
mod destinations;
mod door;
mod driver;
mod events;
mod hostile;
mod keyboard;
mod live;
mod page;
mod pictures;
mod places;
mod policy;
mod rules;
mod stage;
mod times;
