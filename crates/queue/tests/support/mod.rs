//! A source in memory, a receiver on a real socket, and a lane between them.

mod backend;
mod memory;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use seaworthy_policy::delivery::{DeliveryConfig, Step};
use seaworthy_queue::{Command, Happened, LaneConfig, Receiver, run};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use backend::{Backend, Seen, answer};
pub(crate) use memory::{Memory, State};

/// Nothing here takes longer unless it never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A lane at work.
pub(crate) struct Running {
    commands: mpsc::Sender<Command>,
    steps: watch::Receiver<Vec<Step>>,
    task: JoinHandle<Result<(), String>>,
}

impl Running {
    pub(crate) fn start(delivery: DeliveryConfig, backend: &Backend, source: &Arc<Memory>) -> Self {
        assert_eq!(delivery.validate(), Ok(()));
        let receiver = Receiver {
            address: backend.address(),
            authority: "receiver".into(),
            method: Method::POST,
            path: "/hook".into(),
            connect_timeout: Duration::from_secs(1),
            timeout: delivery.timeout,
        };
        let config = LaneConfig { delivery: delivery.into(), receiver, secrets: Arc::new([]), seed: 1 };
        let (commands, commanded) = mpsc::channel(8);
        let (seen, steps) = watch::channel(Vec::new());
        let watch = move |happened: Happened<'_>| {
            if let Happened::Decided(step) = happened {
                seen.send_modify(|steps| steps.push(*step));
            }
        };
        let task = tokio::spawn(run(config, Arc::clone(source), commanded, watch));
        Running { commands, steps, task }
    }

    pub(crate) async fn command(&self, command: Command) {
        self.commands.send(command).await.expect("the lane is at work");
    }

    /// Until the lane has decided such a step.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(&Step) -> bool) {
        let mut steps = self.steps.clone();
        let found = steps.wait_for(|steps| steps.iter().any(&wanted));
        tokio::time::timeout(PATIENCE, found).await.expect("it decides so").expect("the lane is at work");
    }

    pub(crate) async fn end(self, grace: Duration) -> Result<(), String> {
        self.command(Command::Drain(grace)).await;
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("it does not panic")
    }

    /// What it failed with.
    pub(crate) async fn failure(self) -> String {
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it ends");
        ended.expect("it does not panic").expect_err("it fails")
    }
}
