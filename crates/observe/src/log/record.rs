//! One log line as data, and as text.

use serde_json::{Map, Value};

use crate::event::{Event, Level};
use crate::lines::Line;

use super::OWN_SERVICE;

/// The fields that every line has, in the order in which they are written.
const ALWAYS: [&str; 4] = ["level", "message", "service", "ts"];

/// One line: the fields that every line has, and further ones.
#[derive(Debug)]
pub(super) struct Record {
    always: [Value; 4],
    /// For people: who says it, and when we took it in.
    speaker: String,
    taken_ts: String,
    /// For people: the text when it is better than `message` and fields.
    sentence: Option<String>,
    fields: Map<String, Value>,
}

impl Record {
    pub(super) fn new(
        level: Level,
        message: String,
        service: String,
        ts: String,
        fields: Map<String, Value>,
    ) -> Self {
        let (speaker, taken_ts) = (service.clone(), ts.clone());
        let always = [level.as_str().into(), message.into(), service.into(), ts.into()];
        Self { always, speaker, taken_ts, sentence: None, fields }
    }

    pub(super) fn of_event(event: &Event) -> Self {
        let mut fields = object(serde_json::to_value(event).unwrap_or_default());
        fields.remove("ts");
        // `service` says who speaks, and that is us; whom the event is about goes by another name.
        if let Some(subject) = fields.remove("service") {
            fields.insert("subject".to_owned(), subject);
        }
        let message = event.kind.message().to_owned();
        let mut record =
            Self::new(event.kind.level(), message, OWN_SERVICE.to_owned(), event.ts.clone(), fields);
        record.sentence = Some(event.kind.sentence());
        record
    }

    pub(super) fn of_service(ts: String, service: &str, replica: &str, line: &Line) -> Self {
        let parsed = if line.bytes.first() == Some(&b'{') {
            serde_json::from_slice(&line.bytes).map(object).ok()
        } else {
            None
        };
        let plain = parsed.is_none();
        let mut fields = parsed.unwrap_or_default();
        fields.entry("replica").or_insert_with(|| replica.into());
        if line.cut {
            fields.insert("cut".to_owned(), true.into());
        }
        let text = || Value::from(String::from_utf8_lossy(&line.bytes).into_owned());
        let message = fields.remove("message").unwrap_or_else(|| if plain { text() } else { "".into() });
        let always = [
            fields.remove("level").unwrap_or_else(|| Level::Info.as_str().into()),
            message,
            fields.remove("service").unwrap_or_else(|| service.into()),
            fields.remove("ts").unwrap_or_else(|| ts.as_str().into()),
        ];
        Self { always, speaker: format!("{service}/{replica}"), taken_ts: ts, sentence: None, fields }
    }

    pub(super) fn of_json(line: &[u8]) -> Self {
        let mut fields = object(serde_json::from_slice(line).unwrap_or_default());
        let always = ALWAYS.map(|name| fields.remove(name).unwrap_or_default());
        let (speaker, taken_ts) = (plain(&always[2]), plain(&always[3]));
        Self { always, speaker, taken_ts, sentence: None, fields }
    }

    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        let own = ALWAYS.iter().copied().zip(&self.always);
        let further = self.fields.iter().map(|(name, value)| (name.as_str(), value));
        for (index, (name, value)) in own.chain(further).enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            write_value(out, &Value::from(name));
            out.push(b':');
            write_value(out, value);
        }
        out.extend_from_slice(b"}\n");
    }

    /// `colours`: what to write before a warning, before an error, and after either.
    pub(super) fn write_human(&self, out: &mut Vec<u8>, colours: [&str; 3]) {
        let level = plain(&self.always[0]).to_lowercase();
        let [warn, error, end] = colours;
        let (before, word, after) = match level.as_str() {
            "warn" | "warning" => (warn, "WARN ", end),
            "error" | "fatal" | "critical" => (error, "ERROR ", end),
            _ => ("", "", ""),
        };
        let clock = self.taken_ts.get(11..23).unwrap_or(&self.taken_ts);
        let mut text = self.sentence.clone().unwrap_or_else(|| self.message_and_fields());
        text.retain(is_harmless);
        let line = format!("{clock} {} | {before}{word}{text}{after}\n", self.speaker);
        out.extend_from_slice(line.as_bytes());
    }

    fn message_and_fields(&self) -> String {
        let mut text = plain(&self.always[1]);
        // The speaker has named the replica already.
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != "replica") {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(&plain(value));
        }
        text
    }
}

impl Level {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What a terminal may see: text, tabs, and the colours of services; not what moves the cursor by itself.
fn is_harmless(character: char) -> bool {
    !character.is_control() || character == '\t' || character == '\x1b'
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("writing a JSON value to memory cannot fail");
}
