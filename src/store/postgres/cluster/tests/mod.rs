//! Leases among relays that die, stop, go on and disagree.
//!
//! # Cast
//!
//! * `rows`: one plan at a time. `world`: several relays, each with a clock of its own; `relay`: one of them. `database`: their tables.
//! * `scenarios`: one thing happens in it. `chaos`: everything does, by seeds. `bundled`: bundles and shares, by properties.

mod bundled;
mod chaos;
mod database;
mod relay;
mod rows;
mod scenarios;
mod world;

/// Numbers from a seed: xorshift64*.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of small seeds are alike.
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
