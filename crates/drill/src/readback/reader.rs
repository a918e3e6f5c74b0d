//! Asks every read-back of every load at the replicas that run now.

use std::net::SocketAddr;
use std::time::Duration;

use seaworthy_spec::plan::ReadBack;

use super::ids::{PathError, extract};
use crate::http_client::{HttpError, Question, ask};
use crate::id::RunIds;
use crate::measure::Seen;
use crate::node::NodeStatus;
use crate::subject::Subject;

/// Largest answer of a read-back.
pub const READ_BACK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest wait for the answer of a read-back.
const READ_BACK_MAX: Duration = Duration::from_secs(30);

/// Why a read-back could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// Nobody is there to be asked.
    #[error("read-back from `{service}`: none of its replicas is ready")]
    NobodyReady {
        /// The service.
        service: String,
    },
    /// It was asked and did not answer.
    #[error("read-back from `{service}`: {reason}")]
    Failed {
        /// The service.
        service: String,
        /// Why.
        reason: String,
    },
}

/// Reads back the writes of one run.
#[derive(Debug)]
pub struct Reader<'a> {
    subject: &'a Subject,
    ids: &'a RunIds,
}

impl<'a> Reader<'a> {
    /// Reads back what was sent under these ids.
    pub fn new(subject: &'a Subject, ids: &'a RunIds) -> Self {
        Self { subject, ids }
    }

    /// One list for each load: what each of its read-backs shows now.
    pub async fn read(&self, status: &NodeStatus) -> Result<Vec<Vec<Seen>>, ReadBackError> {
        let mut all = Vec::with_capacity(self.subject.loads.len());
        for (index, load) in self.subject.loads.iter().enumerate() {
            let mut seen = Vec::with_capacity(load.read_back.len());
            for read_back in &load.read_back {
                seen.push(self.read_one(status, index, read_back).await?);
            }
            all.push(seen);
        }
        Ok(all)
    }

    /// Replicas of a service are copies of one another: a write is there when one of them has it, and has as
    /// many effects as the one that shows most.
    async fn read_one(
        &self,
        status: &NodeStatus,
        load: usize,
        from: &ReadBack,
    ) -> Result<Seen, ReadBackError> {
        let service = self.subject.services[from.from].name.clone();
        let addresses = self.addresses(status, from.from);
        if addresses.is_empty() {
            return Err(ReadBackError::NobodyReady { service });
        }
        let mut most = Seen::new();
        for address in addresses {
            let failed = |reason| ReadBackError::Failed { service: service.clone(), reason };
            for (number, count) in self.read_replica(address, load, from).await.map_err(failed)? {
                let found = most.entry(number).or_insert(0);
                *found = count.max(*found);
            }
        }
        Ok(most)
    }

    async fn read_replica(&self, address: SocketAddr, load: usize, from: &ReadBack) -> Result<Seen, String> {
        let question = Question::get(address, &from.get, READ_BACK_MAX, READ_BACK_BYTES_MAX);
        let (status, body) = ask(question).await.map_err(|error: HttpError| error.to_string())?;
        if status != 200 {
            return Err(format!("GET {} at {address} answered {status}", from.get));
        }
        let mut seen = Seen::new();
        extract(&body, &from.ids, |id| {
            if let Some((_, number)) = self.ids.parse(id).filter(|(of, _)| *of == load) {
                *seen.entry(number).or_insert(0) += 1;
            }
        })
        .map_err(|error: PathError| format!("GET {} at {address}: {error}", from.get))?;
        Ok(seen)
    }

    fn addresses(&self, status: &NodeStatus, service: usize) -> Vec<SocketAddr> {
        let service = &self.subject.services[service];
        let external: Vec<SocketAddr> =
            service.replicas.iter().filter_map(|replica| replica.external).collect();
        if !external.is_empty() {
            return external;
        }
        let Some(replicas) = status.services.get(&service.name) else { return Vec::new() };
        replicas.values().filter(|replica| replica.ready).filter_map(|replica| replica.address).collect()
    }
}
