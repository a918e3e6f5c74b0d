//! The words of [`Keys`], for the file.

use std::collections::HashMap;
use std::path::Path;

use super::machine::{KeysMachine, Operation, name};
use super::schema::{FORMAT, KEYS};
use crate::bytes::{KEY_MAX, fits};
use crate::embedded::buckets::Buckets;
use crate::embedded::file;
use crate::embedded::open::Limits;
use crate::embedded::writer::{Context, Writer};
use crate::time::milliseconds;
use crate::{Begin, Begun, Keys, Outcome, Reply, StoreError, Token};

/// Tokens of one opening of the file; those of the next are larger.
const TOKENS_PER_EPOCH: u64 = 1 << 40;

/// The file of keys, open.
pub(in crate::embedded) struct KeysFile {
    writer: Writer<Operation>,
    answer_max: usize,
}

impl KeysFile {
    pub(in crate::embedded) fn open(
        folder: &Path,
        context: &Context,
        limits: &Limits,
    ) -> Result<Self, StoreError> {
        let (connection, identity) = file::open_to_write(folder, &FORMAT)?;
        let first_token = identity.epoch * TOKENS_PER_EPOCH;
        let loaded = Buckets::load(&connection, &KEYS).and_then(|buckets| {
            let keys = buckets.len(&connection)?;
            Ok((buckets, keys))
        });
        let (buckets, keys) = loaded.map_err(|error| StoreError::BadFile {
            path: folder.join(FORMAT.file_name()),
            reason: error.to_string(),
        })?;
        let machine = KeysMachine {
            buckets,
            secret: identity.secret,
            first_token,
            last_token: first_token,
            keep_ms: milliseconds(limits.retention),
            keys,
            keys_max: limits.keys_max,
            flying: HashMap::new(),
        };
        Ok(KeysFile { writer: Writer::start(context, connection, machine)?, answer_max: limits.body_max })
    }
}

impl Keys for KeysFile {
    fn begin(&self, begin: Begin) -> Reply<Begun> {
        let bytes = begin.scope.len() + begin.key.len();
        if let Err(full) = fits("scope and key", bytes, KEY_MAX) {
            return Reply::ready(Err(full));
        }
        self.writer.ask(bytes, |answer| Operation::Begin(Box::new(begin), answer))
    }

    fn finish(&self, scope: &[u8], key: &[u8], token: Token, outcome: Outcome) -> Reply<()> {
        let name = name(scope, key);
        let bytes = match &outcome {
            Outcome::Done(answer) => answer.len(),
            Outcome::NotExecuted | Outcome::Unknown => 0,
        };
        if let Err(full) = fits("answer", bytes, self.answer_max) {
            return Reply::ready(Err(full));
        }
        self.writer.ask(bytes, |answer| Operation::Finish { name, token, outcome, answer })
    }
}
