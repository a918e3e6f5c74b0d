//! What is written into the file of keys.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, params};

use super::schema::{CHANGE, DONE, FIND, FIND_ANSWER, FORGET, IN_FLIGHT, PUT, PUT_ANSWER, UNKNOWN};
use crate::embedded::buckets::{Bucket, Buckets};
use crate::embedded::convert::{int, nat};
use crate::embedded::siphash::{Secret, hash};
use crate::embedded::writer::{Machine, Moment};
use crate::time::milliseconds;
use crate::{Answer, Begin, Begun, Bound, Outcome, StoreError, Takeover, Timestamp, Token};

pub(super) enum Operation {
    Begin(Box<Begin>, Answer<Begun>),
    Finish { name: Vec<u8>, token: Token, outcome: Outcome, answer: Answer<()> },
}

pub(super) enum Done {
    Begun(Answer<Begun>, Result<Begun, StoreError>),
    Finished(Answer<()>, Result<(), StoreError>),
}

/// A key in the file.
struct Record {
    id: i64,
    token: u64,
    until: u64,
    state: u8,
    /// An earlier execution has an unknown outcome.
    sent_before: bool,
    fingerprint: [u8; 32],
}

/// Whether an earlier execution has an unknown outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SentBefore {
    Yes,
    No,
}

pub(super) struct KeysMachine {
    pub(super) buckets: Buckets,
    pub(super) secret: Secret,
    /// The first token of this opening: who has an earlier one is gone.
    pub(super) first_token: u64,
    pub(super) last_token: u64,
    pub(super) keep_ms: u64,
    pub(super) keys: u64,
    pub(super) keys_max: u64,
    /// Executions by token, so that those which end need not be looked for.
    pub(super) flying: HashMap<u64, Flying>,
}

/// Where an execution is that was begun since the store was opened.
pub(super) struct Flying {
    hash: u64,
    bucket: u64,
    row: i64,
}

/// So many executions are remembered; those that are not are looked for in the file when they end.
const FLYING_MAX: usize = 100_000;

impl Machine for KeysMachine {
    type Operation = Operation;
    type Done = Done;

    fn apply(&mut self, at: &Moment<'_>, operation: Operation) -> rusqlite::Result<Done> {
        Ok(match operation {
            Operation::Begin(begin, answer) => Done::Begun(answer, self.begin(at, &begin)?),
            Operation::Finish { name, token, outcome, answer } => {
                Done::Finished(answer, self.end(at, &name, token, &outcome)?)
            }
        })
    }

    fn finish(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        if let Some(rows) = self.buckets.drop_one(at.connection, at.now)? {
            self.keys = self.keys.saturating_sub(rows);
        }
        Ok(())
    }

    fn committed(&mut self, done: Vec<Done>) {
        for done in done {
            match done {
                Done::Begun(answer, result) => answer.send(result),
                Done::Finished(answer, result) => answer.send(result),
            }
        }
    }
}

/// Scope and key as one name that no other scope and key have.
pub(super) fn name(scope: &[u8], key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(4 + scope.len() + key.len());
    name.extend_from_slice(&(scope.len() as u32).to_le_bytes());
    name.extend_from_slice(scope);
    name.extend_from_slice(key);
    name
}

impl KeysMachine {
    fn find(&self, at: &Moment<'_>, hash: u64, name: &[u8]) -> rusqlite::Result<Option<(&Bucket, Record)>> {
        for bucket in self.buckets.live(at.now).filter(|bucket| bucket.may_hold(hash)) {
            let mut statement = at.connection.prepare_cached(bucket.sql(FIND))?;
            let found = statement.query_row(params![hash.cast_signed(), name], |row| {
                Ok(Record {
                    id: row.get(0)?,
                    token: row.get(1).map(nat)?,
                    until: row.get(2).map(nat)?,
                    state: row.get(3)?,
                    sent_before: row.get(4)?,
                    fingerprint: row.get(5)?,
                })
            });
            if let Some(record) = found.optional()? {
                return Ok(Some((bucket, record)));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, at: &Moment<'_>, begin: &Begin) -> rusqlite::Result<Result<Begun, StoreError>> {
        let name = name(&begin.scope, &begin.key);
        let hash = hash(self.secret, &[&name]);
        let Some((bucket, record)) = self.find(at, hash, &name)? else {
            return self.first(at, begin, &name, hash);
        };
        if record.fingerprint != begin.fingerprint {
            return Ok(Ok(Begun::Mismatch));
        }
        let is_flying = record.state == IN_FLIGHT && self.is_alive(&record, at.now);
        Ok(Ok(match (record.state, begin.takeover) {
            (DONE, _) => {
                let mut statement = at.connection.prepare_cached(bucket.sql(FIND_ANSWER))?;
                Begun::Done(statement.query_row([record.id], |row| row.get(0))?)
            }
            _ if is_flying => Begun::InFlight { until: Timestamp(record.until) },
            (_, Takeover::Never) => Begun::Unknown,
            (_, Takeover::WhenUnknown) => {
                // Into the bucket of today: whoever executes it must not be forgotten before the lease ends.
                at.connection.prepare_cached(bucket.sql(FORGET))?.execute([record.id])?;
                self.flying.remove(&record.token);
                Begun::Again(self.put(at, begin, &name, hash, SentBefore::Yes)?)
            }
        }))
    }

    /// Its lease goes on, and who executes it can still be there.
    fn is_alive(&self, record: &Record, now: Timestamp) -> bool {
        record.until > now.0 && record.token >= self.first_token
    }

    fn first(
        &mut self,
        at: &Moment<'_>,
        begin: &Begin,
        name: &[u8],
        hash: u64,
    ) -> rusqlite::Result<Result<Begun, StoreError>> {
        if self.keys >= self.keys_max {
            return Ok(Err(StoreError::Full(Bound::Keys { limit: self.keys_max })));
        }
        self.keys += 1;
        Ok(Ok(Begun::New(self.put(at, begin, name, hash, SentBefore::No)?)))
    }

    fn put(
        &mut self,
        at: &Moment<'_>,
        begin: &Begin,
        name: &[u8],
        hash: u64,
        sent_before: SentBefore,
    ) -> rusqlite::Result<Token> {
        self.last_token += 1;
        // A key that is forgotten while it is executed would be executed twice.
        let until = at.now.0.saturating_add(milliseconds(begin.lease).min(self.keep_ms));
        let bucket = self.buckets.enter(at.connection, at.now, self.keep_ms, hash)?;
        let mut statement = at.connection.prepare_cached(bucket.sql(PUT))?;
        let (token, sent_before) = (self.last_token, sent_before == SentBefore::Yes);
        let row = params![hash.cast_signed(), name, begin.fingerprint, int(token), int(until), sent_before];
        statement.execute(row)?;
        if self.flying.len() >= FLYING_MAX {
            // Mostly those that never ended.
            self.flying.clear();
        }
        let row = at.connection.last_insert_rowid();
        self.flying.insert(token, Flying { hash, bucket: bucket.id, row });
        Ok(Token(token))
    }

    fn end(
        &mut self,
        at: &Moment<'_>,
        name: &[u8],
        token: Token,
        outcome: &Outcome,
    ) -> rusqlite::Result<Result<(), StoreError>> {
        let hash = hash(self.secret, &[name]);
        if let Outcome::Done(reply) = outcome
            && let Some(flying) = self.flying.remove(&token.0).filter(|flying| flying.hash == hash)
            && let Some(bucket) = self.buckets.live(at.now).find(|bucket| bucket.id == flying.bucket)
        {
            at.connection.prepare_cached(bucket.sql(PUT_ANSWER))?.execute(params![flying.row, reply])?;
            return Ok(Ok(()));
        }
        self.flying.remove(&token.0);
        let Some((bucket, record)) = self.find(at, hash, name)? else { return Ok(Err(StoreError::Stale)) };
        if record.token != token.0 || record.state == DONE {
            return Ok(Err(StoreError::Stale));
        }
        match outcome {
            Outcome::Done(answer) => {
                at.connection.prepare_cached(bucket.sql(PUT_ANSWER))?.execute(params![record.id, answer])?;
            }
            // A proof about this execution says nothing about an earlier one.
            Outcome::NotExecuted if !record.sent_before => {
                at.connection.prepare_cached(bucket.sql(FORGET))?.execute([record.id])?;
                self.keys = self.keys.saturating_sub(1);
            }
            Outcome::NotExecuted | Outcome::Unknown => {
                change(at, bucket, record.id, UNKNOWN)?;
            }
        }
        Ok(Ok(()))
    }
}

fn change(at: &Moment<'_>, bucket: &Bucket, id: i64, state: u8) -> rusqlite::Result<()> {
    at.connection.prepare_cached(bucket.sql(CHANGE))?.execute(params![id, state])?;
    Ok(())
}
