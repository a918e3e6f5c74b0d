//! A lane between a source and a receiver.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use seaworthy_policy::delivery::{DeliveryConfig, Step};
use seaworthy_queue::{Command, Happened, LaneConfig, Receiver, Source, run};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::backend::Backend;

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
    pub(crate) fn start<S: Source>(delivery: DeliveryConfig, backend: &Backend, source: &Arc<S>) -> Self {
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

    /// As if the process were killed: nothing is given back.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()), "it was at work");
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
