//! Which route takes a request.

use seaworthy_spec::plan::{RouteMatch, RoutePlan};

/// Finds the route of a request.
#[derive(Debug)]
pub(crate) struct Router {
    matchers: Vec<RouteMatch>,
}

/// What became of a request's path and method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Routed {
    /// The index of the first route that takes it.
    To(usize),
    /// Routes take this path, but only with these methods.
    OtherMethods(String),
    /// No route takes this path.
    Nowhere,
}

impl Router {
    /// Routes in the order of the plan: the first match wins.
    pub(crate) fn new(routes: &[RoutePlan]) -> Self {
        Self { matchers: routes.iter().map(|route| route.matcher.clone()).collect() }
    }

    /// Routes a request by its method and raw path.
    pub(crate) fn route(&self, method: &str, path: &str) -> Routed {
        let takes =
            |matcher: &RouteMatch| matcher.method.as_deref().is_none_or(|wanted| accepts(wanted, method));
        let found = self.matchers.iter().position(|matcher| takes_path(matcher, path) && takes(matcher));
        found.map_or_else(|| self.otherwise(path), Routed::To)
    }

    fn otherwise(&self, path: &str) -> Routed {
        let mut methods: Vec<&str> = Vec::new();
        for matcher in self.matchers.iter().filter(|matcher| takes_path(matcher, path)) {
            let Some(method) = matcher.method.as_deref() else { continue };
            methods.push(method);
            if method == "GET" {
                methods.push("HEAD");
            }
        }
        methods.sort_unstable();
        methods.dedup();
        if methods.is_empty() { Routed::Nowhere } else { Routed::OtherMethods(methods.join(", ")) }
    }
}

/// RFC 9110 §9.3.2: HEAD is GET without the body, so whoever serves one serves the other.
fn accepts(wanted: &str, method: &str) -> bool {
    wanted == method || (wanted == "GET" && method == "HEAD")
}

fn takes_path(matcher: &RouteMatch, path: &str) -> bool {
    let prefix = matcher.path.strip_suffix('/').filter(|_| matcher.prefix).unwrap_or(&matcher.path);
    match path.strip_prefix(prefix) {
        Some("") => true,
        Some(rest) => matcher.prefix && rest.starts_with('/'),
        None => false,
    }
}

/// True when a path can be read in one way only. A backend that decodes before it splits would otherwise serve what
/// our routes did not let through: `/a/%2e%2e/b`, `/a%2fb`.
pub(crate) fn is_unambiguous(path: &str) -> bool {
    if !path.contains(['%', '.']) {
        return true;
    }
    path.split('/').all(|segment| {
        let Some(decoded) = decode(segment.as_bytes()) else { return false };
        decoded != b"." && decoded != b".." && !decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0))
    })
}

/// The segment with its percent-encoded bytes in plain; `None` when the encoding is broken.
fn decode(segment: &[u8]) -> Option<Vec<u8>> {
    let hex = |digit: &u8| char::from(*digit).to_digit(16);
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let [high, low, ..] = behind else { return None };
            decoded.push((hex(high)? * 16 + hex(low)?) as u8);
            rest = &behind[2..];
        } else {
            decoded.push(*first);
            rest = behind;
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let matcher = |method: &str, path: &str, prefix| RouteMatch {
            method: (!method.is_empty()).then(|| method.to_owned()),
            path: path.to_owned(),
            prefix,
        };
        let matchers = vec![
            matcher("GET", "/events", false),
            matcher("POST", "/events", false),
            matcher("GET", "/events", true),
            matcher("", "/chat/", true),
            matcher("PUT", "/", true),
        ];
        Router { matchers }
    }

    #[test]
    fn the_first_match_wins() {
        let other = |methods: &str| Routed::OtherMethods(methods.to_owned());
        for (method, path, expected) in [
            ("GET", "/events", Routed::To(0)),
            ("HEAD", "/events", Routed::To(0)),
            ("POST", "/events", Routed::To(1)),
            ("GET", "/events/1", Routed::To(2)),
            ("GET", "/events/", Routed::To(2)),
            ("GET", "/eventsx", other("PUT")),
            ("DELETE", "/events", other("GET, HEAD, POST, PUT")),
            ("ODD", "/chat/a/b", Routed::To(3)),
            ("ODD", "/chat", Routed::To(3)),
            ("PUT", "/", Routed::To(4)),
            ("PUT", "/anything", Routed::To(4)),
            ("PUT", "*", Routed::Nowhere),
            ("get", "/events", other("GET, HEAD, POST, PUT")),
        ] {
            assert_eq!(router().route(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn paths_must_be_unambiguous() {
        for (path, expected) in [
            ("/", true),
            ("/a/b.c", true),
            ("/a/..b", true),
            ("/a%20b", true),
            ("/%C3%A9", true),
            ("/a/../b", false),
            ("/..", false),
            ("/a/./b", false),
            ("/a/%2e%2E/b", false),
            ("/a/.%2e", false),
            ("/a%2fb", false),
            ("/a%5cb", false),
            ("/a%00", false),
            ("/a%", false),
            ("/a%2", false),
            ("/a%zz", false),
        ] {
            assert_eq!(is_unambiguous(path), expected, "{path}");
        }
    }
}
