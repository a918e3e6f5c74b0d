//! Signatures of deliveries, after the Standard Webhooks specification.

use std::fmt;

use seaworthy_policy::delivery::webhook::{self, BadSecret};

use crate::hmac::hmac_sha256;

/// A secret that sender and receiver share. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: Vec<u8>,
}

impl Secret {
    /// The secret as people write it: `whsec_` and base64.
    ///
    /// # Errors
    /// When it is not base64, or has fewer than 24 or more than 64 bytes.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        webhook::secret(text).map(|key| Secret { key })
    }

    fn code(&self, id: &str, timestamp: u64, body: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.key, &[webhook::signed_prefix(id, timestamp).as_bytes(), body])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// The value of `webhook-signature`: one signature for each secret, that of the first one first.
pub fn sign(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let codes: Vec<[u8; 32]> = secrets.iter().map(|secret| secret.code(id, timestamp, body)).collect();
    webhook::signature_value(codes.iter().map(<[u8; 32]>::as_slice))
}

/// Whether one of these secrets has signed the delivery, and it was made at most five minutes away from `now`: what a
/// receiver does.
pub fn verify(
    secrets: &[Secret],
    (id, timestamp, body): (&str, u64, &[u8]),
    signature: &str,
    now: u64,
) -> bool {
    let signatures: Vec<Vec<u8>> = webhook::signatures(signature).collect();
    let is_signed_by = |secret: &Secret| {
        let code = secret.code(id, timestamp, body);
        signatures.iter().any(|signature| webhook::is_same(signature, &code))
    };
    webhook::is_timely(timestamp, now) && secrets.iter().any(is_signed_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    /// As published with the specification's libraries.
    const PUBLISHED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        Secret::parse(text).expect("a secret")
    }

    fn published() -> Secret {
        secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    fn other() -> Secret {
        secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")
    }

    #[test]
    fn the_signature_is_the_published_one() {
        assert_eq!(sign(&[published()], ID, AT, BODY), PUBLISHED);
        assert_eq!(sign(&[], ID, AT, BODY), "");
    }

    #[test]
    fn a_receiver_believes_what_was_signed_and_nothing_else() {
        let own = [published()];
        for (id, at, body, signature, now, believed) in [
            (ID, AT, BODY, PUBLISHED, AT, true),
            (ID, AT, BODY, PUBLISHED, AT + 300, true),
            (ID, AT, BODY, PUBLISHED, AT - 300, true),
            (ID, AT, BODY, PUBLISHED, AT + 301, false),
            (ID, AT + 1, BODY, PUBLISHED, AT, false),
            ("msg_other", AT, BODY, PUBLISHED, AT, false),
            (ID, AT, b"{}".as_slice(), PUBLISHED, AT, false),
            (ID, AT, BODY, "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", AT, false),
            (ID, AT, BODY, "", AT, false),
        ] {
            let delivery = (id, at, body);
            assert_eq!(verify(&own, delivery, signature, now), believed, "{id} {at} {signature} at {now}");
        }
    }

    #[test]
    fn secrets_are_replaced_without_a_moment_in_which_nobody_is_believed() {
        let delivery = (ID, AT, BODY);
        let both = sign(&[other(), published()], ID, AT, BODY);
        for receiver in [[published()], [other()]] {
            assert!(verify(&receiver, delivery, &both, AT));
        }
        let new = sign(&[other()], ID, AT, BODY);
        assert!(!verify(&[published()], delivery, &new, AT));
        assert!(verify(&[published(), other()], delivery, &new, AT), "a receiver may know both as well");
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", published()), "Secret(..)");
    }
}
