//! What HTTP says about keeping an answer (RFC 9111, RFC 5861): which requests may be answered from the store, which
//! answers may be put there, and for how long.
//!
//! Stricter than the RFC in one thing: a request with a `Cookie` is taken for somebody's own, like one with
//! `Authorization`. Sites that say `Vary: Cookie` or `private` where they should are rarer than sites with sessions.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, COOKIE, EXPIRES, HOST, HeaderMap,
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE,
    SET_COOKIE, VARY,
};
use http::{Method, Request, StatusCode};
use seaworthy_policy::fallback::FailureClass;
use seaworthy_policy::stale::Lifetime;

use crate::headers::DEGRADED;

/// Names of request fields that one answer may depend on; with more, it is not stored.
const VARY_MAX: usize = 8;

/// The name of a stored answer.
pub(super) type Key = Arc<[u8]>;

/// A request that may be answered from the store.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Route, host, path and query.
    pub(super) key: Key,
    /// It may be answered, but its own answer is of no use to others: HEAD, or conditional.
    pub(super) only_reads_store: bool,
    /// Its answer is its own unless that says otherwise.
    pub(super) personal: bool,
}

impl Asked {
    /// `None` for requests that the store has nothing to do with. Where answers are shared while they are fresh,
    /// `conditional` requests fetch the whole answer for everybody.
    pub(crate) fn of(route: usize, head: &Request<()>, shares: bool) -> Option<Self> {
        let headers = head.headers();
        let get = *head.method() == Method::GET;
        let odd = [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE];
        if !(get || *head.method() == Method::HEAD)
            || odd.iter().any(|name| headers.contains_key(name))
            || directive(headers, "no-store").is_some()
        {
            return None;
        }
        let conditional = headers.contains_key(IF_NONE_MATCH) || headers.contains_key(IF_MODIFIED_SINCE);
        let mut key = (route as u32).to_be_bytes().to_vec();
        key.extend(headers.get(HOST).map_or(&b""[..], |host| host.as_bytes()).to_ascii_lowercase());
        key.push(0);
        key.extend_from_slice(head.uri().path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        Some(Self {
            key: key.into(),
            only_reads_store: !get || (conditional && !shares),
            personal: headers.contains_key(AUTHORIZATION) || headers.contains_key(COOKIE),
        })
    }
}

/// The name of the variant that these request fields ask for.
pub(super) fn variant(key: &Key, vary: &[HeaderName], request: &HeaderMap) -> Key {
    let mut variant = key.to_vec();
    for name in vary {
        variant.push(0);
        for value in request.get_all(name) {
            variant.extend_from_slice(value.as_bytes());
            variant.push(1);
        }
    }
    variant.into()
}

/// What is to become of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep it.
    Keep(Terms),
    /// It may not be kept.
    Uncacheable,
    /// It says nothing about the answer stored: the service is busy or degraded.
    Unwanted,
    /// It concerns nobody but who asked, and says nothing about what others get.
    Own,
    /// The service has failed.
    Failed,
}

/// How an answer may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) lifetime: Lifetime,
    /// How old it was when it came.
    pub(super) age: Duration,
    /// The request fields it depends on.
    pub(super) vary: Vec<HeaderName>,
    /// Anybody may see it, whoever asked.
    pub(super) public: bool,
}

/// Judges an answer to a GET.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, personal: bool, lifetime: Lifetime) -> Verdict {
    let code = status.as_u16();
    if headers.contains_key(DEGRADED) || matches!(code, 304 | 408 | 412 | 429) {
        return Verdict::Unwanted;
    }
    if FailureClass::of_status(code) == Some(FailureClass::Error) {
        return Verdict::Failed;
    }
    let says = |name| directive(headers, name).is_some();
    let public = says("public") || says("s-maxage");
    if personal && !public {
        return Verdict::Own;
    }
    let Some(vary) = vary(headers) else { return Verdict::Uncacheable };
    if !matches!(code, 200 | 203 | 204 | 301 | 404 | 410)
        || headers.contains_key(SET_COOKIE)
        || headers.contains_key(CONTENT_RANGE)
        || says("no-store")
        || says("private")
    {
        return Verdict::Uncacheable;
    }
    let lifetime = shortened(lifetime, headers);
    if lifetime.useful().is_zero() {
        return Verdict::Uncacheable;
    }
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
    Verdict::Keep(Terms { lifetime, age: Duration::from_secs(age), vary, public })
}

/// The route's lifetime, or less where the answer says so.
fn shortened(route: Lifetime, headers: &HeaderMap) -> Lifetime {
    let seconds = |name| {
        let value = directive(headers, name)?;
        // What cannot be read is taken for nothing, as RFC 9111 §4.2.1 recommends.
        Some(Duration::from_secs(value.parse::<u32>().map_or(0, u64::from)))
    };
    let says = |name| directive(headers, name).is_some();
    let own = seconds("s-maxage").or_else(|| seconds("max-age"));
    // An `Expires` is not read: without a max-age beside it, the answer is kept for bad times only.
    let silent_but_old = headers.contains_key(EXPIRES)
        || (!headers.contains_key(CACHE_CONTROL) && headers.contains_key(PRAGMA));
    let ttl = own.unwrap_or(if silent_but_old { Duration::ZERO } else { route.ttl }).min(route.ttl);
    let lifetime = Lifetime {
        ttl: if says("no-cache") { Duration::ZERO } else { ttl },
        stale_while_revalidate: seconds("stale-while-revalidate")
            .map_or(route.stale_while_revalidate, |own| own.min(route.stale_while_revalidate)),
        stale_if_error: seconds("stale-if-error")
            .map_or(route.stale_if_error, |own| own.min(route.stale_if_error)),
    };
    let strict = ["no-cache", "must-revalidate", "proxy-revalidate"].into_iter().any(says);
    // s-maxage implies proxy-revalidate (RFC 9111 §5.2.2.10), unless the answer names its stale times itself.
    let strict = strict || (says("s-maxage") && !says("stale-if-error") && !says("stale-while-revalidate"));
    if strict { lifetime.must_revalidate() } else { lifetime }
}

/// The request fields an answer depends on; `None` when nobody can say.
fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if name.is_empty() {
                continue;
            }
            // `*` is no name either.
            names.push(HeaderName::from_bytes(name).ok().filter(|name| name != "*")?);
        }
    }
    names.sort_by(|left, right| left.as_str().cmp(right.as_str()));
    names.dedup();
    // A coding that was chosen without saying by what.
    let coded = headers.contains_key(CONTENT_ENCODING) && names.is_empty();
    (names.len() <= VARY_MAX && !coded).then_some(names)
}

/// The value of a directive of Cache-Control, empty when it has none.
fn directive<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    directives.find_map(|directive| {
        let (key, value) = directive.split_once('=').unwrap_or((directive, ""));
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Lifetime = Lifetime {
        ttl: Duration::from_secs(10),
        stale_while_revalidate: Duration::from_secs(5),
        stale_if_error: Duration::from_mins(10),
    };

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn kept(fields: &[(&'static str, &'static str)]) -> Option<(u64, u64, u64)> {
        match judge(StatusCode::OK, &headers(fields), false, ROUTE) {
            Verdict::Keep(Terms { lifetime, .. }) => Some((
                lifetime.ttl.as_secs(),
                lifetime.stale_while_revalidate.as_secs(),
                lifetime.stale_if_error.as_secs(),
            )),
            _ => None,
        }
    }

    #[test]
    fn an_answer_shortens_its_life_and_never_prolongs_it() {
        let control = |value| kept(&[("cache-control", value)]);
        assert_eq!(kept(&[]), Some((10, 5, 600)));
        for (value, expected) in [
            ("max-age=3", Some((3, 5, 600))),
            ("max-age=99, public", Some((10, 5, 600))),
            ("MAX-AGE=\"3\"", Some((3, 5, 600))),
            ("max-age=x", Some((0, 5, 600))),
            ("max-age=3, s-maxage=7", Some((7, 0, 0))),
            ("s-maxage=7, stale-if-error=60", Some((7, 5, 60))),
            ("max-age=3, stale-while-revalidate=1, stale-if-error=9999", Some((3, 1, 600))),
            ("max-age=3, must-revalidate", Some((3, 0, 0))),
            ("proxy-revalidate", Some((10, 0, 0))),
            ("max-age=0", Some((0, 5, 600))),
            ("no-cache", None),
            ("no-store", None),
            ("public, no-store", None),
            ("private, max-age=9", None),
        ] {
            assert_eq!(control(value), expected, "{value}");
        }
        assert_eq!(kept(&[("expires", "0")]), Some((0, 5, 600)));
        assert_eq!(kept(&[("expires", "0"), ("cache-control", "max-age=4")]), Some((4, 5, 600)));
        assert_eq!(kept(&[("pragma", "no-cache")]), Some((0, 5, 600)));
    }

    #[test]
    fn what_is_kept_and_what_is_not() {
        let verdict = |status, fields: &[(&'static str, &'static str)], personal| match judge(
            StatusCode::from_u16(status).unwrap(),
            &headers(fields),
            personal,
            ROUTE,
        ) {
            Verdict::Keep(_) => "keep",
            Verdict::Uncacheable => "uncacheable",
            Verdict::Unwanted => "unwanted",
            Verdict::Own => "own",
            Verdict::Failed => "failed",
        };
        let public = ("cache-control", "public");
        for status in [200, 203, 204, 301, 404, 410] {
            assert_eq!(verdict(status, &[], false), "keep", "{status}");
        }
        for status in [201, 202, 206, 302, 307, 400, 401, 403, 405, 501] {
            assert_eq!(verdict(status, &[], false), "uncacheable", "{status}");
        }
        for status in [500, 502, 503, 504] {
            assert_eq!(verdict(status, &[], false), "failed", "{status}");
        }
        for status in [304, 408, 429] {
            assert_eq!(verdict(status, &[], false), "unwanted", "{status}");
        }
        assert_eq!(verdict(200, &[("degraded", "static")], false), "unwanted");
        assert_eq!(verdict(200, &[("set-cookie", "a=b"), public], false), "uncacheable");
        assert_eq!(verdict(200, &[("vary", "*")], false), "uncacheable");
        assert_eq!(verdict(200, &[("vary", "accept, *")], false), "uncacheable");
        assert_eq!(verdict(200, &[("content-encoding", "gzip")], false), "uncacheable");
        assert_eq!(verdict(200, &[("content-encoding", "gzip"), ("vary", "accept-encoding")], false), "keep");
        assert_eq!(verdict(200, &[], true), "own");
        assert_eq!(verdict(200, &[public], true), "keep");
        assert_eq!(verdict(200, &[("cache-control", "s-maxage=3")], true), "keep");
    }
}
