//! Random numbers.

use ring::rand::SecureRandom;

/// A random number.
pub fn dice() -> u64 {
    let mut bytes = [0; 8];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    u64::from_le_bytes(bytes)
}
