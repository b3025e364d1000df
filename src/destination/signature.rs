//! Standard Webhooks signatures: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::secret::Secret;

/// The specification asks for secrets of 24 to 64 bytes.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A key to sign with.
pub struct SigningKey(hmac::Key);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    pub fn parse(secret: &Secret) -> Result<Self, &'static str> {
        const FORM: &str = "a signing secret is `whsec_` and base64 of 24 to 64 bytes";
        let encoded = secret.expose().strip_prefix("whsec_").ok_or(FORM)?;
        let key = STANDARD.decode(encoded).map_err(|_| FORM)?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(FORM);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }
}

/// The value of `webhook-signature`: one signature for each key, so that a receiver may know the old or the new one.
pub fn sign(keys: &[SigningKey], id: &str, timestamp_s: u64, body: &[u8]) -> String {
    let signatures = keys.iter().map(|SigningKey(key)| {
        let mut context = hmac::Context::with_key(key);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<SigningKey, &'static str> {
        SigningKey::parse(&Secret::from(text.to_owned()))
    }

    /// The vector in the specification's reference libraries.
    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        let keys = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("24 bytes")];
        let signed = sign(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_give_two_signatures() {
        let keys = [key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), key("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")];
        let keys: Vec<_> = keys.into_iter().map(|key| key.expect("24 bytes")).collect();
        assert_eq!(sign(&keys, "id", 1, b"x").split(' ').count(), 2);
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        let of = |bytes: usize| key(&format!("whsec_{}", STANDARD.encode(vec![7; bytes])));
        assert!(of(23).is_err() && of(65).is_err());
        assert!(of(24).is_ok() && of(64).is_ok());
        assert!(key("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err(), "without its prefix");
    }
}
