//! Reading a body: counted while it arrives, chunked or not, and within the bytes that all bodies share.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a body waits for room among the others before its sender is told to come back.
pub const ROOM_WITHIN: Duration = Duration::from_secs(2);

/// Once so many bytes have come, room is made for as many as were announced: growing by doubling up to a megabyte leaves another one
/// behind. Not from the start, because announcing costs nothing.
const BELIEVED_FROM: usize = 64 << 10;

/// The bytes of all bodies that are being received or wait for the sync.
#[derive(Debug)]
pub struct Intake {
    bytes: Arc<Semaphore>,
}

impl Intake {
    /// Room for this many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes_max)) }
    }

    pub(crate) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let count = u32::try_from(bytes).map_err(|_| BodyError::Busy)?;
        if let Ok(permit) = self.bytes.clone().try_acquire_many_owned(count) {
            return Ok(permit);
        }
        let waiting = self.bytes.clone().acquire_many_owned(count);
        match tokio::time::timeout(ROOM_WITHIN, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(BodyError::Busy),
        }
    }
}

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than the limit, by its length or by its bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The sender broke off, or its framing is wrong.
    #[error("the body broke off")]
    Broken,
    /// No room among the others in time.
    #[error("too many bodies are in flight")]
    Busy,
    /// Larger than the limit once it is unpacked.
    #[error("the body is larger than {0} bytes when it is unpacked")]
    TooLargeUnpacked(usize),
    /// It says that it is packed, and is not, or not rightly.
    #[error("the body cannot be unpacked: it is not what its Content-Encoding says")]
    Corrupt,
    /// It is packed, and ends in the middle.
    #[error("the body cannot be unpacked: it ends too early")]
    Truncated,
}

impl BodyError {
    /// The status that says so.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            BodyError::TooLarge(_) | BodyError::TooLargeUnpacked(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Broken | BodyError::Corrupt | BodyError::Truncated => StatusCode::BAD_REQUEST,
            BodyError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Reads a body whole. Its bytes count among the others until the permit is dropped.
pub async fn read<S, B>(
    stream: S,
    headers: &HeaderMap,
    bytes_max: usize,
    intake: &Intake,
) -> Result<(Bytes, OwnedSemaphorePermit), BodyError>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    let length = headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(BodyError::TooLarge(bytes_max));
    }
    let announced = length.unwrap_or(0) as usize;
    let mut stream = pin!(stream);
    let mut body = BytesMut::new();
    let mut permit = intake.take(0).await?;
    while let Some(chunk) = stream.next().await {
        let mut chunk = chunk.map_err(|_| BodyError::Broken)?;
        if chunk.remaining() > bytes_max - body.len() {
            return Err(BodyError::TooLarge(bytes_max));
        }
        permit.merge(intake.take(chunk.remaining()).await?);
        // Copied: a chunk is a slice of the connection's buffer and would keep all of that in memory for as long as the event lives.
        let is_believed = body.len() >= BELIEVED_FROM && announced > body.len();
        body.reserve(if is_believed { announced - body.len() } else { 0 }.max(chunk.remaining()));
        while chunk.has_remaining() {
            let part = chunk.chunk();
            body.extend_from_slice(part);
            let length = part.len();
            chunk.advance(length);
        }
    }
    // A body that grew chunk by chunk has room to spare, up to its own size again, and would keep it for as long as the event lives.
    let is_roomy = body.capacity() > body.len() + body.len() / 8;
    Ok((if is_roomy { Bytes::copy_from_slice(&body) } else { body.freeze() }, permit))
}
