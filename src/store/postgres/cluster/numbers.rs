//! A floor under the numbers of events, which the time raises.
//!
//! Numbers come from a sequence of the database. A failover that loses commits sets it back, while readers may have passed numbers that the
//! new primary has never heard of: what got one of those would be behind them for ever. So whoever connects first raises the sequence above
//! what any relay can have drawn before: a number that grows with the time, and faster than numbers are given out.
//!
//! # Why nothing collides
//!
//! Who raises does so under the lock of the table `meta`: it reads the last number, and sets the sequence where that is below the floor. Others draw
//! meanwhile, without a lock. The sequence is set *half a second's numbers above* the floor, and only from below the floor: for somebody to draw a
//! number that it then gives once more, half a million would have to be drawn between a read and the statement behind it. And two that raise at once come one after the
//! other: the second finds the first one's leap, and leaps only if its own floor is a second later, to a number half a second's above all of that.
//! Nobody ever sets it back.

/// No relay gives out so many numbers a second: 2^20, a million.
const NUMBERS_A_SECOND_BITS: u32 = 20;

/// How far above the floor a leap goes.
const HEADROOM: u64 = 1 << (NUMBERS_A_SECOND_BITS - 1);

/// The largest number: they have 62 bits in the id of an event.
pub const NUMBER_MAX: u64 = (1 << 62) - 1;

/// The number that all later ones are above: `seconds` of the database's clock since 1970.
pub fn floor(seconds: u64) -> u64 {
    seconds.saturating_mul(1 << NUMBERS_A_SECOND_BITS).min(NUMBER_MAX - HEADROOM)
}

/// Where a sequence must leap to whose last number is `last`; `None` where it goes on as it is. The next number is the one behind it.
pub fn leap(last: u64, seconds: u64) -> Option<u64> {
    let floor = floor(seconds);
    (last < floor).then_some(floor + HEADROOM)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sequence_leaps_from_below_the_floor_and_from_nowhere_else() {
        let now = 1_790_000_000;
        let above = Some(floor(now) + HEADROOM);
        let rows = [
            (0, above),
            (floor(now) - 1, above),
            (floor(now), None),
            (floor(now) + HEADROOM, None),
            (floor(now + 1) - 1, None),
            (NUMBER_MAX, None),
        ];
        for (last, expected) in rows {
            assert_eq!(leap(last, now), expected, "{last}");
        }
        assert!(leap(0, u64::MAX).is_some_and(|number| number <= NUMBER_MAX), "a clock that is out of its mind");
    }

    #[test]
    fn numbers_last_for_as_long_as_anybody_cares() {
        // The year 3000.
        assert!(floor(32_503_680_000) < 1 << 56);
    }

    /// A sequence as sessions use it.
    struct Sequence {
        last: u64,
        drawn: BTreeSet<u64>,
    }

    impl Sequence {
        fn draw(&mut self) -> Result<u64, TestCaseError> {
            self.last += 1;
            prop_assert!(self.drawn.insert(self.last), "{} was given twice", self.last);
            Ok(self.last)
        }
    }

    /// What a session does at a moment.
    #[derive(Clone, Debug)]
    enum Step {
        /// Reads the last number and the clock, if nobody has the lock.
        Read { session: usize },
        /// Sets the sequence by what it has read, and frees the lock.
        Set { session: usize },
        /// Draws some numbers, lock or not.
        Draw { count: u64 },
        /// The clock goes on.
        Tick { seconds: u64 },
        /// Another primary: the sequence is behind by so much, and its clock by so many seconds.
        Failover { behind: u64, clock_behind: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0usize..3).prop_map(|session| Step::Read { session }),
            4 => (0usize..3).prop_map(|session| Step::Set { session }),
            4 => (1u64..50).prop_map(|count| Step::Draw { count }),
            2 => (0u64..3).prop_map(|seconds| Step::Tick { seconds }),
            1 => (0u64..200, 0u64..3).prop_map(|(behind, clock_behind)| Step::Failover { behind, clock_behind }),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::seeds::cases(4096)))]

        #[test]
        fn no_number_is_given_twice_however_sessions_leap_and_draw(steps in steps(), first in 0u64..2) {
            let mut clock = 1_790_000_000;
            let mut sequence = Sequence { last: first * floor(clock - 10), drawn: BTreeSet::new() };
            let mut lock: Option<(usize, u64, u64)> = None;
            for step in steps {
                match step {
                    Step::Read { session } => {
                        lock = lock.or(Some((session, sequence.last, clock)));
                    }
                    Step::Set { session } => {
                        if let Some((_, last, seconds)) = lock.take_if(|(holder, ..)| *holder == session) {
                            if let Some(to) = leap(last, seconds) {
                                prop_assert!(to > sequence.last, "it is never set back");
                                sequence.last = to;
                            }
                            prop_assert!(sequence.draw()? > floor(seconds));
                        }
                    }
                    Step::Draw { count } => {
                        for _ in 0..count {
                            sequence.draw()?;
                        }
                    }
                    Step::Tick { seconds } => clock += seconds,
                    Step::Failover { behind, clock_behind } => {
                        // All connections are gone, the clock has gone on a while, and whoever connects leaps before it draws.
                        lock = None;
                        clock = clock + 4 - clock_behind;
                        sequence.last = sequence.last.saturating_sub(behind);
                        if let Some(to) = leap(sequence.last, clock) {
                            sequence.last = to;
                        }
                        sequence.draw()?;
                    }
                }
            }
        }
    }
}
