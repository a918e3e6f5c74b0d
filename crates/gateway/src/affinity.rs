//! Which part of a request says where it belongs.

use http::HeaderMap;
use http::header::COOKIE;
use seaworthy_policy::pool::affinity_key;
use seaworthy_spec::plan::AffinitySource;

/// The affinity key of a request; `None` when it carries none.
pub(crate) fn key(source: &AffinitySource, headers: &HeaderMap) -> Option<u64> {
    let value = match source {
        AffinitySource::Header(name) => headers.get(name)?.as_bytes(),
        AffinitySource::Cookie(name) => cookie(headers, name.as_bytes())?,
    };
    (!value.is_empty()).then(|| affinity_key(value))
}

/// The value of the first cookie of that name (RFC 6265 §4.2).
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn keys_are_found_where_they_stand() {
        let session = AffinitySource::Cookie("session".to_owned());
        let user = AffinitySource::Header("x-user".to_owned());
        for (source, fields, expected) in [
            (&session, vec![("cookie", "a=1; session=abc; b=2")], Some("abc")),
            (&session, vec![("cookie", "a=1"), ("cookie", " session=abc")], Some("abc")),
            (&session, vec![("cookie", "xsession=abc; sessions=1")], None),
            (&session, vec![("cookie", "session=")], None),
            (&session, vec![], None),
            (&user, vec![("x-user", "7")], Some("7")),
            (&user, vec![("x-user", "")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(
                key(source, &headers),
                expected.map(|text| affinity_key(text.as_bytes())),
                "{fields:?}"
            );
        }
    }
}
