//! How often somebody may be wrong about a token: who guesses is told to wait, and so is who cannot be told from him.
//!
//! A token that is wrong again says nothing new, so it counts once, wherever it comes from: a program that goes on with an old token keeps
//! nobody out. Addresses are those of connections, since what a request says of itself costs nothing to make up; so behind a proxy all
//! have one, the owner and who guesses.
//!
//! While an address must wait, a token is looked at all the same where it can be no other than one that [cannot be guessed](is_guessable): so
//! whoever has such a token is kept out by nobody, and a guesser learns of it only what he would by guessing for longer than the
//! world lasts. Every other token is not looked at, whoever brings it: each answer would be one guess more, and that somebody was right
//! from this address before does not tell him from another one behind the same proxy. Sessions go on in any case: a cookie is no guess.
//!
//! Pure: who asks brings the time.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::config::FileDigest;
use crate::time::Instant;

/// Wrong tokens in [`WITHIN`] from one address, each another one: people mistype.
pub(super) const OF_ADDRESS_MAX: usize = 5;
/// And from all together: who has many addresses gets no further.
pub(super) const IN_ALL_MAX: usize = 30;
/// Over which time they are counted.
pub(super) const WITHIN: Duration = Duration::from_secs(60);
/// A token cannot be guessed from so many characters on, and with so many different ones: of what `openssl rand -hex 16` gives, which is 128
/// bits, one in some 100 000 has fewer than ten of the sixteen digits, and is then taken for one that can be guessed.
const UNGUESSABLE_CHARACTERS: usize = 32;
const UNGUESSABLE_DIFFERENT: usize = 10;
/// One customer of a provider has all addresses of IPv6 with the same beginning of so many bits.
const NETWORK_BITS: u32 = 64;

/// The wrong tokens of the last minute, the oldest first; never more than [`IN_ALL_MAX`].
#[derive(Debug, Default)]
pub(super) struct Guesses(VecDeque<Guess>);

/// A token that was wrong.
#[derive(Debug)]
struct Guess {
    at: Instant,
    from: IpAddr,
    /// Of the token.
    digest: FileDigest,
}

impl Guesses {
    /// How long somebody must wait before a token of his is looked at. `None`: it is looked at.
    pub(super) fn wait(&mut self, now: Instant, from: IpAddr) -> Option<Duration> {
        let from = network(from);
        self.0.retain(|guess| now.duration_since(guess.at) < WITHIN);
        let mut own = self.0.iter().filter(|guess| guess.from == from);
        let is_beyond = own.clone().count() >= OF_ADDRESS_MAX;
        let first = if is_beyond { own.next() } else { self.0.front().filter(|_| self.0.len() >= IN_ALL_MAX) };
        first.map(|guess| WITHIN.saturating_sub(now.duration_since(guess.at)))
    }

    /// A token with this digest was looked at, and was wrong.
    pub(super) fn note(&mut self, now: Instant, from: IpAddr, digest: FileDigest) {
        if self.0.iter().all(|guess| guess.digest != digest) {
            self.0.push_back(Guess { at: now, from: network(from), digest });
        }
    }
}

/// Whether a token may be one that somebody has thought up.
pub(super) fn is_guessable(token: &[u8]) -> bool {
    let different: BTreeSet<&u8> = token.iter().collect();
    token.len() < UNGUESSABLE_CHARACTERS || different.len() < UNGUESSABLE_DIFFERENT
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - NETWORK_BITS))).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::digest_of;

    /// Guesses once, another token each time, unless it must wait. `false`: it must.
    fn guess(guesses: &mut Guesses, now: Instant, from: &str) -> bool {
        let token = format!("{now:?} {from} {}", guesses.0.len());
        try_token(guesses, now, from, &token)
    }

    fn try_token(guesses: &mut Guesses, now: Instant, from: &str, token: &str) -> bool {
        let from = from.parse().expect("an address");
        let may = guesses.wait(now, from).is_none();
        if may {
            guesses.note(now, from, digest_of(token.as_bytes()));
        }
        may
    }

    #[tokio::test(start_paused = true)]
    async fn five_wrong_tokens_a_minute_from_one_address_and_no_sixth() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        for second in 0..5 {
            assert!(guess(&mut guesses, start + Duration::from_secs(second), "192.0.2.1"));
        }
        let address = "192.0.2.1".parse().expect("an address");
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(guesses.wait(at(10), address), Some(Duration::from_secs(50)), "until the first is a minute old");
        assert!(guess(&mut guesses, at(10), "192.0.2.2"), "another address");
        assert!(guess(&mut guesses, at(10), "::ffff:192.0.2.3"));
        assert!(!guess(&mut guesses, at(59), "192.0.2.1"));
        assert!(guess(&mut guesses, at(60), "192.0.2.1"));
        assert!(!guess(&mut guesses, at(60), "192.0.2.1"), "the second is not a minute old");
    }

    #[tokio::test(start_paused = true)]
    async fn thirty_wrong_tokens_a_minute_from_all_addresses_and_no_more() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        for last in 0..IN_ALL_MAX {
            assert!(guess(&mut guesses, start, &format!("192.0.2.{last}")));
        }
        assert!(!guess(&mut guesses, start, "198.51.100.1"));
        assert_eq!(guesses.0.len(), IN_ALL_MAX);
        assert!(guess(&mut guesses, start + WITHIN, "198.51.100.1"));
        assert_eq!(guesses.0.len(), 1, "what is over is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_wrong_again_counts_once_a_minute_wherever_it_comes_from() {
        let mut guesses = Guesses::default();
        let start = Instant::now();
        for second in 0..59 {
            let at = start + Duration::from_secs(second);
            assert!(try_token(&mut guesses, at, "192.0.2.1", "old"));
            assert!(try_token(&mut guesses, at, &format!("198.51.100.{second}"), "old"));
        }
        assert_eq!(guesses.0.len(), 1);
        let later = start + WITHIN;
        for token in ["old", "1", "2", "3", "4"] {
            assert!(try_token(&mut guesses, later, "192.0.2.1", token));
        }
        assert!(!try_token(&mut guesses, later, "192.0.2.1", "old"), "where too many were wrong, none is looked at");
        assert!(try_token(&mut guesses, later, "192.0.2.2", "old"));
    }

    #[test]
    fn what_a_machine_has_drawn_cannot_be_guessed_and_what_is_short_or_a_few_signs_again_and_again_can() {
        for (token, expected) in [
            ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", false),
            ("0123456789abcdef0123456789abcdef", false),
            ("0123456789abcdef0123456789abcde", true),
            ("01234567890123456789012345678901", false),
            ("01234567801234567801234567801234", true),
            ("passwordpasswordpasswordpassword", true),
            ("the-token-of-the-operator", true),
            ("", true),
        ] {
            assert_eq!(is_guessable(token.as_bytes()), expected, "{token}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_address_and_ipv4_within_it_is_itself() {
        let mut guesses = Guesses::default();
        let now = Instant::now();
        for last in 0..OF_ADDRESS_MAX {
            assert!(guess(&mut guesses, now, &format!("2001:db8::{last}")));
        }
        assert!(!guess(&mut guesses, now, "2001:db8::ffff:0:0:1"));
        assert!(guess(&mut guesses, now, "2001:db8:0:1::1"));
    }
}
