//! Texts that name requests, endpoints, and places in JSON.

use std::net::SocketAddr;

use crate::codes::Code;
use crate::plan::{IdPath, IdStep, RouteMatch};

/// Why a text is not what belongs there: the code, what is wrong, what to do.
pub(super) type Refusal = (Code, String, Option<String>);

fn refuse<T>(label: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err((Code::Malformed, label.into(), Some(help.into())))
}

/// `127.0.0.1:8080`, `[::1]:0`, `localhost:8080`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Refusal> {
    let literal =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    if let Ok(address) = literal.parse() {
        return Ok(address);
    }
    if text.parse::<u16>().is_ok() {
        return refuse(
            "only a port",
            format!("write `127.0.0.1:{text}`; `0.0.0.0:{text}` listens on every interface"),
        );
    }
    match text.strip_prefix(':') {
        Some(port) if port.parse::<u16>().is_ok() => {
            refuse("the address is missing", format!("write `127.0.0.1:{port}`"))
        }
        _ => refuse("not an address and port", "write an IP address and a port, such as `127.0.0.1:8080`"),
    }
}

/// `http://127.0.0.1:9000`.
pub(super) fn endpoint(text: &str) -> Result<SocketAddr, Refusal> {
    if text.starts_with("https://") {
        let help = "use the plain address of the service, or of something that speaks TLS to it";
        return Err((Code::NotYet, "https endpoints are not supported yet".into(), Some(help.into())));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return refuse("not an http URL", format!("write `http://{text}`"));
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('/') {
        return refuse(
            "an endpoint has no path",
            "leave the path out; requests keep the path they came with",
        );
    }
    let with_port = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
    match address(&with_port) {
        Ok(address) if address.port() == 0 => refuse("port 0", "name the port that the service listens on"),
        Ok(address) => Ok(address),
        Err(_) if authority.starts_with(|first: char| first.is_ascii_alphabetic()) => {
            let help = "write its IP address, or `localhost`";
            Err((Code::NotYet, "host names are not supported yet".into(), Some(help.into())))
        }
        Err(_) => refuse(
            "not an address and port",
            "write an IP address and a port, such as `http://127.0.0.1:9000`",
        ),
    }
}

fn has_port(authority: &str) -> bool {
    let after_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    authority[after_host..].contains(':')
}

/// `GET /events/**`, `/chat/**`, `POST /tickets`.
pub(super) fn route_match(text: &str) -> Result<RouteMatch, Refusal> {
    let (method, path) = method_and_path(text)?;
    if let Some(query) = path.find(['?', '#']) {
        return refuse(
            "a match has no query",
            format!("write `{}`; queries do not choose a route", &path[..query]),
        );
    }
    let (path, prefix) = match path.strip_suffix("/**") {
        Some(path) => (path, true),
        None => (path, false),
    };
    if path.contains('*') {
        let star = path.find('*').unwrap_or_default();
        let folder = path[..star].rfind('/').map_or("", |slash| &path[..slash]);
        return refuse(
            "a star that is not the whole end",
            format!("write `{folder}/**`: only a whole rest of a path can vary"),
        );
    }
    if prefix && path.ends_with('/') {
        return refuse("two slashes", format!("write `{}/**`", path.trim_end_matches('/')));
    }
    Ok(RouteMatch { method: method.map(str::to_owned), path: path.to_owned(), prefix })
}

/// `POST /tickets`; the path may have a query.
pub(super) fn request(text: &str) -> Result<(String, String), Refusal> {
    let (method, path) = method_and_path(text)?;
    if path.contains('#') {
        return refuse("a request has no fragment", "leave out what follows `#`");
    }
    let Some(method) = method else {
        return refuse("the method is missing", format!("write `GET {path}`"));
    };
    Ok((method.to_owned(), path.to_owned()))
}

fn method_and_path(text: &str) -> Result<(Option<&str>, &str), Refusal> {
    let (method, path) = match text.split_once(' ') {
        Some((method, path)) => (Some(method), path.trim_start()),
        None if text.starts_with('/') => (None, text),
        None if is_method(text) => return refuse("the path is missing", format!("write `{text} /path`")),
        None => (None, text),
    };
    if let Some(method) = method.filter(|method| !is_method(method)) {
        let upper = method.to_uppercase();
        return if is_method(&upper) {
            refuse("methods are written in capitals", format!("write `{upper} {path}`"))
        } else {
            refuse("not a method", "write a method such as `GET` or `POST` before the path")
        };
    }
    url_path(path).map_err(|(code, label, help)| {
        // What to write is the whole text, not only its path.
        let help = match (method, help) {
            (Some(method), Some(help)) => Some(help.replace("write `/", &format!("write `{method} /"))),
            (_, help) => help,
        };
        (code, label, help)
    })?;
    Ok((method, path))
}

/// `/readyz?full=1`.
pub(super) fn url_path(text: &str) -> Result<(), Refusal> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return refuse("a whole URL", "write the path only: it begins with `/`");
    }
    if !text.starts_with('/') {
        return refuse("a path begins with `/`", format!("write `/{text}`"));
    }
    if let Some(strange) = text.chars().find(|character| !character.is_ascii_graphic()) {
        return refuse(
            format!("`{}` does not belong in a path", strange.escape_default()),
            "write it percent-encoded, such as `%20` for a space",
        );
    }
    Ok(())
}

/// Every method in use has a name of at most this many letters.
const METHOD_LENGTH_MAX: usize = 20;

fn is_method(text: &str) -> bool {
    (1..=METHOD_LENGTH_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// `[].buyer`, `items[].id`, `[]`.
pub(super) fn id_path(text: &str) -> Result<IdPath, Refusal> {
    let help = "write a path such as `[].buyer` (the `buyer` of every element) or `items[].id`";
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[]") {
            steps.push(IdStep::Each);
            rest = after;
            continue;
        }
        let name = match rest.strip_prefix('.') {
            Some(after) => after,
            None if steps.is_empty() => rest,
            None => return refuse("a dot or `[]` is missing", help),
        };
        let end = name.find(['.', '[']).unwrap_or(name.len());
        if end == 0 || name[..end].contains([']', ' ']) {
            return refuse("not a path to ids", help);
        }
        steps.push(IdStep::Member(name[..end].to_owned()));
        rest = &name[end..];
    }
    if !steps.contains(&IdStep::Each) {
        return refuse("leads to one value only", help);
    }
    Ok(IdPath(steps))
}

/// Splits a command as a shell would: blanks separate, quotes and backslashes hold together. Nothing is expanded.
pub(super) fn command(text: &str) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                if !quoted_part(character, &mut characters, word) {
                    return refuse("a quote is not closed", format!("add the missing `{character}`"));
                }
            }
            '\\' => match characters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return refuse("ends with a backslash", "remove it, or double it"),
            },
            '|' | '&' | ';' | '<' | '>' | '$' | '`' => {
                return refuse(
                    format!("`{character}` needs a shell"),
                    "commands run without a shell; write `sh -c '...'` where you want one, or quote the character",
                );
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return refuse("no program", "name the program to run, such as `./api --port 8080`");
    }
    Ok(words)
}

/// Reads up to the closing quote; false when there is none.
fn quoted_part(quote: char, characters: &mut std::str::Chars<'_>, word: &mut String) -> bool {
    while let Some(character) = characters.next() {
        match character {
            end if end == quote => return true,
            '\\' if quote == '"' => match characters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => return false,
            },
            other => word.push(other),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_endpoints() {
        for (text, expected) in [
            ("127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("[::1]:0", Some("[::1]:0")),
            ("8080", None),
            (":8080", None),
            ("example.com:80", None),
            ("127.0.0.1", None),
            ("127.0.0.1:99999", None),
        ] {
            assert_eq!(address(text).ok().map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            ("http://127.0.0.1:9000", Some("127.0.0.1:9000")),
            ("http://127.0.0.1/", Some("127.0.0.1:80")),
            ("http://localhost", Some("127.0.0.1:80")),
            ("http://[::1]", Some("[::1]:80")),
            ("http://127.0.0.1:0", None),
            ("http://127.0.0.1:9000/api", None),
            ("127.0.0.1:9000", None),
        ] {
            assert_eq!(endpoint(text).ok().map(|address| address.to_string()).as_deref(), expected, "{text}");
        }
        for later in ["https://pay.example.com", "http://pay.example.com"] {
            assert_eq!(endpoint(later).unwrap_err().0, Code::NotYet, "{later}");
        }
    }

    #[test]
    fn matches() {
        for (text, expected) in [
            ("GET /events/**", Some((Some("GET"), "/events", true))),
            ("/chat/**", Some((None, "/chat", true))),
            ("POST /tickets", Some((Some("POST"), "/tickets", false))),
            ("/**", Some((None, "", true))),
            ("/", Some((None, "/", false))),
            ("get /x", None),
            ("GET", None),
            ("GET events", None),
            ("/a/*/b", None),
            ("/a/*", None),
            ("/a//**", None),
            ("/a?b=1", None),
            ("/a b", None),
            ("", None),
        ] {
            let found = route_match(text).ok();
            let found =
                found.as_ref().map(|found| (found.method.as_deref(), found.path.as_str(), found.prefix));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn ids() {
        use IdStep::{Each, Member};
        let member = |name: &str| Member(name.to_owned());
        for (text, expected) in [
            ("[].buyer", Some(vec![Each, member("buyer")])),
            ("[]", Some(vec![Each])),
            ("items[].id", Some(vec![member("items"), Each, member("id")])),
            (".items[].a.b", Some(vec![member("items"), Each, member("a"), member("b")])),
            ("[][]", Some(vec![Each, Each])),
            ("buyer", None),
            ("[]buyer", None),
            ("[]..a", None),
            ("", None),
            ("[0].a", None),
        ] {
            assert_eq!(id_path(text).ok().map(|path| path.0), expected, "{text}");
        }
    }

    #[test]
    fn commands() {
        for (text, expected) in [
            ("./api --port 80", Some(vec!["./api", "--port", "80"])),
            ("  a   b  ", Some(vec!["a", "b"])),
            (r#"sh -c 'echo "a b" | wc'"#, Some(vec!["sh", "-c", r#"echo "a b" | wc"#])),
            (r#"a "b \"c\" \n" d\ e """#, Some(vec!["a", r#"b "c" \n"#, "d e", ""])),
            ("a | b", None),
            ("a 'b", None),
            ("a \\", None),
            ("", None),
            ("''", None),
            ("a $HOME", None),
        ] {
            let expected = expected.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(command(text).ok(), expected, "{text}");
        }
    }
}
