//! Whose certificates are taken.

/// Whom requests of one way are sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Who has a certificate of one of the roots, for the name in the URL.
    #[default]
    Roots,
    /// Whoever answers. For requests that never leave this machine: what listens on loopback has no certificate for that name, and
    /// without encryption nobody would ask it for one.
    Anybody,
}
