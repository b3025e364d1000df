//! How many bytes the store may have, with the file system's share worked out.

use crate::store::Retention;

/// The smaller of this and a fifth of the file system is what the history may have unless the config says.
const HISTORY_BYTES: u64 = 10 << 30;
/// The smaller of this and a twentieth of the file system stays free unless the config says.
const FREE_BYTES: u64 = 256 << 20;
/// But no less than this, unless the config says so: what is relocated out of one segment needs room in another.
const FREE_BYTES_LEAST: u64 = 12 << 20;
/// The limits in bytes, with the file system's share worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Above this, history goes.
    pub history_bytes: u64,
    /// Above this, the oldest dead letters go.
    pub dead_bytes: u64,
    /// Below this much free room nothing is accepted.
    pub free_bytes_min: u64,
}

/// Works the limits out for a file system of `total` bytes, if that is known.
pub fn resolve(retention: &Retention, total: Option<u64>) -> Resolved {
    let share = |most: u64, part: u64| total.map_or(most, |total| most.min(total / part));
    // The store must not be full before its history goes.
    let ceiling = retention.bytes_max.map_or(u64::MAX, |most| most / 4 * 3);
    let history_bytes = retention.history_bytes.unwrap_or_else(|| share(HISTORY_BYTES, 5)).min(ceiling);
    // Relocating dead letters over must free more than it takes.
    let dead_bytes = retention.dead_bytes.min(history_bytes / 2);
    let free_bytes_min = retention.free_bytes_min.unwrap_or_else(|| share(FREE_BYTES, 20).max(FREE_BYTES_LEAST));
    Resolved { history_bytes, dead_bytes, free_bytes_min }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_file_system_unless_the_config_says() {
        let usual = Retention::default();
        let gib = 1 << 30;
        let large = resolve(&usual, Some(1000 * gib));
        assert_eq!((large.history_bytes, large.dead_bytes, large.free_bytes_min), (10 * gib, 2 * gib, 256 << 20));
        let small = resolve(&usual, Some(gib));
        assert_eq!((small.history_bytes, small.dead_bytes, small.free_bytes_min), (gib / 5, gib / 10, gib / 20));
        let unknown = resolve(&usual, None);
        assert_eq!(unknown, large);
        let said = Retention { history_bytes: Some(gib), free_bytes_min: Some(0), ..usual };
        assert_eq!(resolve(&said, Some(1000 * gib)).dead_bytes, gib / 2, "half of the history at most");
        assert_eq!(resolve(&said, None).free_bytes_min, 0);
    }
}
