//! What an operator is told, as JSON: with the headers, the proof and the signature that the destination's events have.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::own::{self, Own};
use super::{ANSWER_BYTES_MAX, Call, Http, Outcome, Target, sign};
use crate::destination::notice::{Notice, Teller};

impl Teller for Http {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Outcome> {
        async {
            match self.call_of(notice) {
                Some(call) => self.sent(call).await,
                None => Outcome::local("its URL is made of an event"),
            }
        }
        .boxed()
    }
}

impl Http {
    fn call_of(&self, notice: &Notice) -> Option<Call> {
        let Target::Fixed(url) = &self.target else { return None };
        let body = Bytes::from(notice.json().to_string());
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let timestamp_s = crate::time::wall_ms() / 1000;
        let is_signed = !self.signing_keys.is_empty();
        let signature = is_signed.then(|| sign(&self.signing_keys, &notice.id, timestamp_s, &body));
        // So that it is turned away where it leads back to this relay.
        let via = self.client.hops().via(notice.at_ms, &body);
        let own = Own { id: &notice.id, received_ms: notice.at_ms, body: &body, via, timestamp_s, signature };
        own::insert(&mut headers, own);
        Some(Call { method: self.method.clone(), url: url.clone(), headers, body, answer_bytes_max: ANSWER_BYTES_MAX })
    }
}
