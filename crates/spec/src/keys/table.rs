//! What a table of keys is made of.

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Table {
    /// What the mapping is, for messages: "a route".
    pub(crate) what: &'static str,
    /// Its keys, in groups that several tables may share.
    pub(crate) keys: &'static [&'static [Key]],
    /// What other keys mean; `None` = there are no others.
    pub(crate) rest: Option<Rest>,
    /// Groups of which exactly one key must be given.
    pub(crate) exactly_one: &'static [&'static [&'static str]],
    /// Words people bring along, and ours for them.
    pub(crate) aliases: &'static [Alias],
}

/// Keys that the user names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    pub(crate) shape: Shape,
}

/// One known key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What it means, for editors.
    pub(crate) doc: &'static str,
    /// The default as one would write it, or in words.
    pub(crate) default: Option<&'static str>,
    pub(crate) required: bool,
    /// Part of the language, without effect in this version: an error that says so.
    pub(crate) later: bool,
}

/// A word from elsewhere. In `help`, `{}` stands for the value that was given, and `{time}` for the same value with
/// a unit if it has none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alias {
    pub(crate) foreign: &'static str,
    pub(crate) help: &'static str,
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Prose or a word.
    Text,
    /// Any scalar, taken as it is written.
    Verbatim,
    /// A name of the user's.
    Name,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, of which the second list is not supported yet.
    WordOrLater(&'static [&'static str], &'static [&'static str]),
    /// The word `true`.
    True,
    /// Longer than nothing.
    Duration,
    /// A duration, or `0`.
    DurationOrZero,
    /// A duration, or the word `off`.
    DurationOrOff,
    /// `0%` to `100%`.
    Ratio,
    /// More than `0%`, up to `100%`.
    Share,
    /// So many per second, minute or hour.
    Rate,
    /// So many bytes.
    Size,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// A whole number within these bounds, or one of these words.
    CountOr(u64, u64, &'static [&'static str]),
    /// A number above 1, at most 1000.
    Factor,
    /// An HTTP status.
    Status,
    /// Address and port to listen on.
    Address,
    /// The URL of an endpoint.
    Endpoint,
    /// A path of this file system.
    File,
    /// Path of a URL, with query.
    UrlPath,
    /// What a route takes.
    Match,
    /// What a load sends.
    Request,
    /// Method, service and path that jobs are sent to.
    Delivery,
    /// Where a secret is.
    Secret,
    /// Where ids stand in a JSON document.
    Ids,
    /// Any YAML, as JSON.
    Json,
    /// A program and its arguments, as one text.
    Command,
    /// A mapping with known keys.
    Object(&'static Table),
    /// A mapping from names to values of one shape; the text says what the names are.
    Map(&'static Shape, &'static str),
    /// A list, or a single value in place of a list of one.
    List(&'static Shape),
    /// One of several shapes that differ in their YAML kind.
    Either(&'static [Shape]),
}

/// The shape of a key given in this version.
pub(crate) const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc, default: None, required: false, later: false }
}

impl Key {
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn later(mut self) -> Self {
        self.later = true;
        self
    }
}

/// A word from elsewhere and what to say about it.
pub(crate) const fn alias(foreign: &'static str, help: &'static str) -> Alias {
    Alias { foreign, help }
}

impl Table {
    /// Its keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().flat_map(|group| group.iter())
    }

    /// The one key that a short form of it would have.
    pub(crate) fn obvious_key(&self) -> Option<&'static str> {
        let mut required = self.all().filter(|key| key.required).map(|key| key.name);
        match (required.next(), required.next()) {
            (Some(key), None) => Some(key),
            (None, _) => self.exactly_one.first()?.first().copied(),
            _ => None,
        }
    }

    /// The key of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.all().find(|key| key.name == name)
    }
}

impl Shape {
    /// What belongs there, for messages: "a duration such as `250ms`, `2s` or `5m`".
    pub(crate) fn describe(self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::Verbatim => "a text or a number".into(),
            Self::Name => "a name".into(),
            Self::Word(words) | Self::WordOrLater(words, _) => one_of(words),
            Self::True => "`true`".into(),
            Self::Duration => "a duration such as `250ms`, `2s`, `5m`, `1h` or `14d`".into(),
            Self::DurationOrOff => "a duration such as `24h` or `7d`, or `off`".into(),
            Self::DurationOrZero => "a duration such as `250ms`, `2s` or `5m`, or `0`".into(),
            Self::Ratio | Self::Share => "a share such as `99.9%`".into(),
            Self::Rate => "a rate such as `200/s` or `10/m`".into(),
            Self::Size => "a size such as `64KiB` or `1MiB`".into(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::CountOr(least, most, words) => {
                format!("a whole number from {least} to {most}, or {}", one_of(words))
            }
            Self::Factor => "a number above 1 such as `2` or `1.5`".into(),
            Self::Status => "an HTTP status such as `503`".into(),
            Self::Address => "an address and port such as `127.0.0.1:8080`".into(),
            Self::Endpoint => "a URL such as `http://127.0.0.1:9000`".into(),
            Self::File => "a path".into(),
            Self::UrlPath => "a path such as `/readyz`".into(),
            Self::Match => "a match such as `GET /events/**`, `/chat/**` or `POST /tickets`".into(),
            Self::Request => "a request such as `POST /tickets`".into(),
            Self::Delivery => "a delivery such as `POST api/tickets`".into(),
            Self::Secret => "the place of a secret: `env:NAME` or `file:PATH`".into(),
            Self::Ids => "a path to ids such as `[].buyer`".into(),
            Self::Json => "any value".into(),
            Self::Command => "a command such as `./api --port 8080`".into(),
            Self::Object(table) => match table.obvious_key() {
                Some(key) => format!("a mapping such as `{{ {key}: ... }}`"),
                None => format!("a mapping ({})", table.what),
            },
            Self::Map(_, what) => format!("a mapping whose keys are {what}"),
            Self::List(item) => format!("a list, each item {}", item.describe()),
            Self::Either(shapes) => {
                shapes.iter().map(|shape| shape.describe()).collect::<Vec<_>>().join(", or ")
            }
        }
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}
