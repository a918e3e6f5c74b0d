//! Where deliveries go, and where their secrets are.

use super::http::{Refusal, url_path};
use crate::codes::Code;

/// What is sent has a body.
const METHODS: [&str; 3] = ["POST", "PUT", "PATCH"];

/// `POST api/tickets`: the method, the name of the service, the path.
pub(super) fn delivery(text: &str) -> Result<(&str, &str, &str), Refusal> {
    let refuse = |label: &str, help: String| Err((Code::Malformed, label.to_owned(), Some(help)));
    let Some((method, target)) = text.split_once(' ') else {
        let target = text.trim_start_matches('/');
        let target = if target.is_empty() { "service/path" } else { target };
        return refuse("the method is missing", format!("write `POST {target}`"));
    };
    let target = target.trim_start();
    if !METHODS.contains(&method) {
        return refuse("what is delivered has a body", format!("write `POST {target}`"));
    }
    if target.contains("://") {
        let help = format!(
            "give the receiver a name among the services, with `endpoints`, and write `{method} NAME/path`"
        );
        return refuse("a whole URL", help);
    }
    if let Some(path) = target.strip_prefix('/') {
        return refuse("the service is missing", format!("write `{method} SERVICE/{path}`"));
    }
    let (service, path) = target.split_at(target.find('/').unwrap_or(target.len()));
    if path.is_empty() {
        return refuse("the path is missing", format!("write `{method} {service}/`"));
    }
    if path.contains('#') {
        return refuse("a request has no fragment", "leave out what follows `#`".to_owned());
    }
    url_path(path)?;
    Ok((method, service, path))
}

/// `env:NAME` or `file:PATH`. What is refused may be a secret, so nothing repeats it.
pub(super) fn secret(text: &str) -> Option<()> {
    let is_variable = |name: &str| {
        let first = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        first && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
    };
    let is_path = |path: &str| !path.is_empty() && !path.contains(char::is_control);
    let fits = match text.split_once(':') {
        Some(("env", name)) => is_variable(name),
        Some(("file", path)) => is_path(path),
        _ => false,
    };
    fits.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries() {
        for (text, expected) in [
            ("POST api/tickets", Some(("POST", "api", "/tickets"))),
            ("PUT  api/a/b?c=d", Some(("PUT", "api", "/a/b?c=d"))),
            ("POST api/", Some(("POST", "api", "/"))),
            ("POST api", None),
            ("POST /tickets", None),
            ("GET api/tickets", None),
            ("post api/tickets", None),
            ("api/tickets", None),
            ("POST http://127.0.0.1:1/x", None),
            ("POST api/a b", None),
            ("POST api/a#b", None),
            ("", None),
        ] {
            assert_eq!(delivery(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn secrets_stand_elsewhere() {
        for (text, fits) in [
            ("env:WEBHOOK_SECRET", true),
            ("env:_x1", true),
            ("file:secrets/key", true),
            ("file:/run/secrets/a:b", true),
            ("env:", false),
            ("env:1X", false),
            ("env:A-B", false),
            ("file:", false),
            ("whsec_abc", false),
            ("hunter2", false),
            ("", false),
        ] {
            assert_eq!(secret(text).is_some(), fits, "{text}");
        }
    }
}
