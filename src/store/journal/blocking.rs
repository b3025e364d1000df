//! Where what waits for the disk is done.

use futures_util::future::BoxFuture;

/// Where what waits for the disk is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blocking {
    /// On a thread where that is allowed.
    #[default]
    Aside,
    /// Where it is asked for. For simulations, in which only one thing happens at a time.
    #[cfg(any(test, feature = "test-support"))]
    Here,
}

impl Blocking {
    /// Begins some work, which is finished although nobody waits for it any more. Resolves with what it came to; with nothing if it
    /// panicked, or the runtime ends.
    pub fn begin<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'static, Option<T>> {
        match self {
            Self::Aside => {
                let done = tokio::task::spawn_blocking(work);
                Box::pin(async move { done.await.ok() })
            }
            #[cfg(any(test, feature = "test-support"))]
            Self::Here => Box::pin(async move { Some(work()) }),
        }
    }
}
