//! Sees each effect of a fault proxy happen to a request of our own.
//!
//! Our request carries the proxy's token and the number of the effect it wants; the proxy never forwards it and does
//! not count it, so that the backend sees nothing of it and `met` speaks of clients only.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::proxy::{FAULT_HEADER, PROOF_HEADER};
use crate::mix::Effect;

/// A request that is not answered after this time is taken to be swallowed.
const SWALLOW_PROOF: Duration = Duration::from_millis(200);

/// Longer delays are proven by silence for this long.
const DELAY_PROOF_MAX: Duration = Duration::from_secs(1);

/// How long an answer that is due may take on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Answers to our own requests are one short head.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Proves all effects at the same time; one sentence for each, or what was seen instead.
pub(super) async fn prove(address: SocketAddr, token: &str, effects: Vec<Effect>) -> Result<String, String> {
    let mut proofs = JoinSet::new();
    for (number, effect) in effects.into_iter().enumerate() {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: seaworthy\r\n{PROOF_HEADER}: {token}/{number}\r\nConnection: close\r\n\r\n"
        );
        proofs.spawn(async move { (number, prove_one(address, head, effect).await) });
    }
    let mut all = Vec::new();
    while let Some(joined) = proofs.join_next().await {
        let (number, proof) = joined.map_err(|error| error.to_string())?;
        all.push((number, proof?));
    }
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, proof)| proof).collect::<Vec<_>>().join(", "))
}

async fn prove_one(address: SocketAddr, head: String, effect: Effect) -> Result<String, String> {
    let silence = match effect {
        Effect::Swallow => SWALLOW_PROOF,
        Effect::Delay(add) => add.min(DELAY_PROOF_MAX),
        Effect::Answer(_) => Duration::ZERO,
    };
    let start = Instant::now();
    let answer = tokio::spawn(exchange(address, head));
    tokio::pin!(answer);
    if !silence.is_zero()
        && let Ok(early) = timeout(silence, &mut answer).await
    {
        let after = start.elapsed().as_secs_f64() * 1000.0;
        // A timer that fires together with the answer it waits for may come second.
        if start.elapsed() < silence || effect == Effect::Swallow {
            return Err(format!("our own request was over after {after:.1} ms: {}", words(early.ok())));
        }
        return Ok(format!("our own request was answered after {after:.1} ms"));
    }
    let silent = format!("our own request was not answered within {} ms", silence.as_millis());
    if effect == Effect::Swallow || matches!(effect, Effect::Delay(add) if add > DELAY_PROOF_MAX) {
        answer.abort();
        return Ok(silent);
    }
    let answered = timeout(ANSWER_LIMIT, &mut answer).await;
    let after = start.elapsed().as_secs_f64() * 1000.0;
    let Ok(Ok(Ok(text))) = answered else {
        answer.abort();
        return Err(format!("{silent}, nor well within {after:.1} ms"));
    };
    match effect {
        Effect::Answer(status) if !is_fault_answer(&text, status) => {
            Err(format!("our own request was answered otherwise: {}", first_line(&text)))
        }
        Effect::Answer(status) => Ok(format!("our own request was answered {status} after {after:.1} ms")),
        Effect::Delay(_) | Effect::Swallow => Ok(format!("our own request was answered after {after:.1} ms")),
    }
}

/// Sends one request and reads until the connection closes.
async fn exchange(address: SocketAddr, head: String) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_fault_answer(text: &str, status: u16) -> bool {
    let marked = text.lines().any(|line| {
        line.split_once(':')
            .is_some_and(|(name, value)| name.eq_ignore_ascii_case(FAULT_HEADER) && value.trim() == "errors")
    });
    marked && text.starts_with(&format!("HTTP/1.1 {status} "))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("nothing")
}

fn words(answer: Option<io::Result<String>>) -> String {
    match answer {
        Some(Ok(text)) => first_line(&text).to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "it was cut off".to_owned(),
    }
}
