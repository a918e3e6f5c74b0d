//! What is written into the file of jobs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::enqueue::Intake;
use super::index::Row;
use super::shared::Shared;
use super::{dead, enqueue, settle};
use crate::embedded::writer::{Machine, Moment};
use crate::{Answer, Burial, DeadFilter, Enqueued, Moved, Nack, NewJob, Receipt, StoreError, Timestamp};

/// One thing to be written.
pub(super) enum Operation {
    Enqueue(Box<NewJob>, Answer<Enqueued>),
    /// Attempts have begun; nobody waits for it.
    Began(Vec<Began>),
    /// Jobs that were past their deadline when they should have been handed out.
    Expire(Vec<Receipt>),
    Settle(Receipt, End, Answer<()>),
    Extend(Receipt, Duration, Answer<Timestamp>),
    RetryDead(DeadFilter, Answer<Moved>),
    DropDead(DeadFilter, Answer<Moved>),
    Pause(String, bool, Answer<()>),
}

/// An attempt has begun.
pub(super) struct Began {
    pub(super) receipt: Receipt,
    pub(super) attempts: u32,
    /// The lease outlives this process, until then.
    pub(super) kept_until: Option<u64>,
}

/// How somebody ends a lease.
pub(super) enum End {
    Ack,
    Nack(Nack),
    Dead(Burial),
}

/// What becomes visible, and who is answered, once it is durable.
pub(super) enum Done {
    Nothing,
    Enqueued(Answer<Enqueued>, Result<Enqueued, StoreError>, Option<Row>),
    Settled(Answer<()>, u64, After),
    Refused(Answer<()>, StoreError),
    Expired(Vec<u64>),
    Extended(Answer<Timestamp>, Result<Timestamp, StoreError>),
    Moved(Answer<Moved>, Moved, Vec<Row>),
    Paused(Answer<()>, u32, bool),
}

/// Where a settled job is now.
#[derive(Clone, Copy)]
pub(super) enum After {
    Gone,
    Due(u64),
}

pub(super) struct JobsMachine {
    pub(super) shared: Arc<Shared>,
    pub(super) intake: Intake,
    /// Dead letters in the file.
    pub(super) dead: u64,
    /// Receipts that are settled in the batch at hand.
    ending: HashSet<Receipt>,
    /// Of the batch at hand.
    now: Timestamp,
}

impl JobsMachine {
    pub(super) fn new(shared: Arc<Shared>, intake: Intake, dead: u64) -> Self {
        JobsMachine { shared, intake, dead, ending: HashSet::new(), now: Timestamp(0) }
    }
}

impl Machine for JobsMachine {
    type Operation = Operation;
    type Done = Done;

    fn expect(&mut self, batch: &[Operation]) {
        self.ending.clear();
        if batch.iter().any(|operation| matches!(operation, Operation::Began(_))) {
            let receipts = batch.iter().filter_map(|operation| match operation {
                Operation::Settle(receipt, ..) => Some(*receipt),
                _ => None,
            });
            self.ending.extend(receipts);
        }
        let kept = self.shared.index().len() + self.dead;
        self.intake.expect(kept);
    }

    fn apply(&mut self, at: &Moment<'_>, operation: Operation) -> rusqlite::Result<Done> {
        Ok(match operation {
            Operation::Enqueue(job, answer) => {
                let (result, row) = self.intake.enqueue(at, &self.shared, &job)?;
                Done::Enqueued(answer, result, row)
            }
            Operation::Began(attempts) => {
                // What ends in this commit says how many attempts there were by itself.
                let going_on = attempts.iter().filter(|began| !self.ending.contains(&began.receipt));
                going_on.into_iter().try_for_each(|began| settle::begin_attempt(at, began))?;
                Done::Nothing
            }
            Operation::Expire(receipts) => {
                for receipt in &receipts {
                    settle::bury(at, receipt.id.0, None, &Burial::expired())?;
                }
                self.dead += receipts.len() as u64;
                Done::Expired(receipts.iter().map(|receipt| receipt.id.0).collect())
            }
            Operation::Settle(receipt, end, answer) => self.settle(at, receipt, end, answer)?,
            Operation::Extend(receipt, lease, answer) => {
                Done::Extended(answer, settle::extend(at, &self.shared, receipt, at.now.after(lease))?)
            }
            Operation::RetryDead(filter, answer) => {
                let (moved, rows) = dead::retry(at, &self.shared, &filter)?;
                self.dead -= moved.count;
                Done::Moved(answer, moved, rows)
            }
            Operation::DropDead(filter, answer) => {
                let moved = dead::drop(at, &self.shared, &filter)?;
                self.dead -= moved.count;
                Done::Moved(answer, moved, Vec::new())
            }
            Operation::Pause(name, is_paused, answer) => {
                match enqueue::pause(at, &self.shared, &name, is_paused)? {
                    Ok(queue) => Done::Paused(answer, queue, is_paused),
                    Err(error) => Done::Refused(answer, error),
                }
            }
        })
    }

    fn finish(&mut self, at: &Moment<'_>) -> rusqlite::Result<()> {
        self.now = at.now;
        self.intake.finish(at)
    }

    fn committed(&mut self, done: Vec<Done>) {
        let mut claimable = Vec::new();
        self.show(&done, &mut claimable);
        done.into_iter().for_each(answer);
        claimable.sort_unstable();
        claimable.dedup();
        self.shared.tell(&claimable);
    }
}

impl JobsMachine {
    fn settle(
        &mut self,
        at: &Moment<'_>,
        receipt: Receipt,
        end: End,
        answer: Answer<()>,
    ) -> rusqlite::Result<Done> {
        let lease = match settle::lease(at, &self.shared, receipt)? {
            Ok(lease) => lease,
            Err(stale) => return Ok(Done::Refused(answer, stale)),
        };
        let after = match end {
            End::Ack => settle::delete(at, receipt.id.0)?,
            End::Nack(nack) => settle::give_back(at, receipt.id.0, lease.attempts, &nack)?,
            End::Dead(burial) => {
                self.dead += 1;
                settle::bury(at, receipt.id.0, Some(lease.attempts), &burial)?
            }
        };
        Ok(Done::Settled(answer, receipt.id.0, after))
    }

    /// Brings the index up to what is committed, under one lock.
    fn show(&self, done: &[Done], claimable: &mut Vec<u32>) {
        let mut index = self.shared.index();
        index.tick(self.now.0);
        for done in done {
            match done {
                Done::Enqueued(_, _, Some(row)) => {
                    index.insert(*row);
                    claimable.push(row.queue);
                }
                Done::Settled(_, id, after) => {
                    // Its end may make another one of its order key claimable.
                    claimable.extend(index.queue_of(*id));
                    match after {
                        After::Gone => index.finish(*id),
                        After::Due(due) => index.requeue(*id, *due),
                    }
                }
                Done::Expired(ids) => ids.iter().for_each(|id| {
                    claimable.extend(index.queue_of(*id));
                    index.finish(*id);
                }),
                Done::Moved(_, _, rows) => rows.iter().for_each(|row| {
                    index.requeue(row.id, row.due);
                    claimable.push(row.queue);
                }),
                Done::Paused(_, queue, is_paused) => {
                    index.set_paused(*queue, *is_paused);
                    claimable.push(*queue);
                }
                Done::Nothing | Done::Enqueued(_, _, None) | Done::Refused(..) | Done::Extended(..) => {}
            }
        }
    }
}

fn answer(done: Done) {
    match done {
        Done::Nothing | Done::Expired(_) => {}
        Done::Enqueued(answer, result, _) => answer.send(result),
        Done::Settled(answer, ..) | Done::Paused(answer, ..) => answer.send(Ok(())),
        Done::Refused(answer, error) => answer.send(Err(error)),
        Done::Extended(answer, result) => answer.send(result),
        Done::Moved(answer, moved, _) => answer.send(Ok(moved)),
    }
}
