//! How the caller tells a drill to stop: faults first, then the report of what was judged.

use tokio::sync::watch;

/// The caller's end: keeps the drill running until [`Interrupter::interrupt`] is called.
#[derive(Debug)]
pub struct Interrupter {
    sender: watch::Sender<bool>,
}

/// The drill's end.
#[derive(Debug, Clone)]
pub struct Interrupt {
    receiver: watch::Receiver<bool>,
}

/// Both ends. Dropping the [`Interrupter`] without a call means that no interruption will ever come.
pub fn interrupt_pair() -> (Interrupter, Interrupt) {
    let (sender, receiver) = watch::channel(false);
    (Interrupter { sender }, Interrupt { receiver })
}

impl Interrupter {
    /// Asks the drill to stop. Calling it again changes nothing.
    pub fn interrupt(&self) {
        self.sender.send_replace(true);
    }
}

impl Interrupt {
    /// True from the moment the caller asked.
    pub fn is_raised(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Returns when the caller asks; never when it cannot ask any more.
    pub async fn raised(&self) {
        let mut receiver = self.receiver.clone();
        if receiver.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
