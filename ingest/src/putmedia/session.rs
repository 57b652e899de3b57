//! One PutMedia session: the body of a request through [`Core`] into the store, acknowledgements back.
//!
//! What belongs here: the order of acknowledgements, waiting (for bytes, for room in the byte budget, for commits), and how
//! a session ends. What does not: bytes of Matroska (`core`), HTTP (`web`).

use super::core::{self, Core, ErrorId, Output};
use super::progress::{Over, Progress, Refusal, Sealed};
use super::{Acks, Config, Request, Topics, ack};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::fmt::Display;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use store::notifications::{Notify, asked};
use store::{Verbatim, VerbatimWriter};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// After the last byte, fragments that are on their way to the disk have so long to become durable.
const COMMIT_PATIENCE: Duration = Duration::from_secs(20);
/// The same once the server stops: less than the listener gives open requests.
const STOP_PATIENCE: Duration = Duration::from_millis(600);

/// A session. Made by [`Session::new`], then run to its end by a task of its own.
pub struct Session {
    stream: store::Stream,
    core: Core,
    writer: VerbatimWriter,
    progress: Progress,
    topics: Option<Arc<dyn Topics>>,
    config: Config,
    stop: CancellationToken,
    began: Instant,
    /// When bytes came last.
    heard: Instant,
}

impl Session {
    /// A session on this stream, and its acknowledgements. It gives up its open fragment when `stop` is cancelled.
    pub fn new(stream: store::Stream, config: &Config, request: Request, stop: CancellationToken) -> (Session, Acks) {
        let (sender, acks) = ack::queue();
        let now = Instant::now();
        let Config { limits, policy, .. } = config.clone();
        let limits = limits.within(stream.budget_bytes());
        let session = Session {
            core: Core::new(core::Options { timecode: request.timecode, limits, policy }),
            writer: stream.verbatim_writer(),
            progress: Progress::new(&stream.info().name, sender, !request.acks, now),
            topics: None,
            config: config.clone(),
            stop,
            began: now,
            heard: now,
            stream,
        };
        (session, acks)
    }

    /// The same, of a stream whose fragments may ask for notifications.
    pub fn telling(self, topics: Arc<dyn Topics>) -> Session {
        Session { topics: Some(topics), ..self }
    }

    /// Reads the body to its end. Returns when the last acknowledgement was queued; the reader's queue ends with it.
    pub async fn run<B, E>(mut self, mut body: B)
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        let over = self.receive(&mut body).await;
        // What is not complete was never visible, and never will be: the producer sends it again.
        self.writer.abandon();
        let outcome = over.name();
        match over {
            Over::Refused(refusal) => self.refuse(&mut body, refusal).await,
            Over::Cut(reason) => {
                tracing::info!(%reason, "the connection broke");
                self.settle().await;
                let refusal = self.progress.refusal(ErrorId::StreamReadError, reason);
                self.progress.refuse(refusal);
            }
            Over::Complete | Over::Silent | Over::Stopping => self.settle().await,
        }
        tracing::debug!(outcome, seconds = self.began.elapsed().as_secs(), "session ended");
        self.progress.end(outcome);
    }

    async fn receive<B, E>(&mut self, body: &mut B) -> Over
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        loop {
            let look = self.next_look();
            let piece = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Over::Stopping,
                committed = self.progress.committed() => match committed {
                    Ok(()) => continue,
                    Err(over) => return over,
                },
                piece = body.next() => piece,
                () = sleep_until(look) => match self.quiet().await {
                    Ok(()) => continue,
                    Err(over) => return over,
                },
            };
            match piece {
                None => {
                    self.core.handle_end(true);
                    return self.pump().await.err().unwrap_or(Over::Complete);
                }
                Some(Err(error)) => return Over::Cut(error.to_string()),
                Some(Ok(piece)) => {
                    self.heard = Instant::now();
                    self.progress.heard(piece.len());
                    self.core.handle_input(piece);
                    if let Err(over) = self.pump().await {
                        return over;
                    }
                }
            }
        }
    }

    /// When to look again if nothing comes.
    fn next_look(&self) -> Instant {
        let idle = self.heard.max(self.progress.said()) + Duration::from_secs(self.config.idle_ack_s.max(1));
        idle.min(self.heard + Duration::from_secs(self.config.silence_timeout_s))
    }

    /// Nothing came for a while.
    async fn quiet(&mut self) -> Result<(), Over> {
        if self.heard.elapsed() >= Duration::from_secs(self.config.silence_timeout_s) {
            return Err(Over::Silent);
        }
        // That a stream is deleted shows when something is written; where nothing is, here.
        self.stream.latest(0).await.map_err(|e| self.progress.not_taken(&e))?;
        self.progress.idle();
        Ok(())
    }

    /// Takes all that the core has to say.
    async fn pump(&mut self) -> Result<(), Over> {
        while let Some(output) = self.core.poll() {
            match output {
                Output::Header(header) => tracing::info!(format = %media::describe(&header), "format"),
                Output::Begin { start, timecode, part } => {
                    self.bound_age(timecode)?;
                    let number = step(&mut self.progress, &self.stop, self.writer.begin(start)).await;
                    let number = number.map_err(|over| over.at(timecode, self.core.cluster_at()))?;
                    let of = ack::Of { timecode, number };
                    self.progress.begun(of, self.core.cluster_at(), part, self.heard);
                }
                Output::Frame(frame) => {
                    step(&mut self.progress, &self.stop, self.writer.frame(frame)).await?;
                    self.progress.frame();
                }
                Output::End { lead, cluster, tags, duration_ms, more } => {
                    let told = self.told(&tags).await;
                    let verbatim = Verbatim { lead, cluster, duration_ms };
                    let offer = step(&mut self.progress, &self.stop, self.writer.end(verbatim)).await?;
                    let again = told.and_then(|notify| Some((self.topics.clone()?, notify)));
                    self.progress.sealed(offer, Sealed { more, is_kept: self.keeps(), heard: self.heard, again })?;
                }
                Output::Empty => {
                    self.writer.abandon();
                    self.progress.empty(self.keeps(), self.heard);
                }
                Output::EndOfFragment => tracing::trace!("the producer ended its fragment"),
                Output::Warned(mark) => self.progress.warned(&mark),
                Output::Failed(fault) => return Err(Over::Refused(self.progress.fault(fault))),
            }
        }
        self.hold().await
    }

    /// What is held of the open fragment and is no frame yet counts too.
    async fn hold(&mut self) -> Result<(), Over> {
        if self.writer.open_number().is_none() {
            return Ok(());
        }
        let bytes = self.core.open_bytes() as u64;
        step(&mut self.progress, &self.stop, self.writer.hold(bytes)).await
    }

    /// What is to be told of the open fragment, if its tags and the stream's configuration want it; from here on it will be once
    /// the fragment is durable.
    async fn told(&mut self, tags: &[(String, String)]) -> Option<Arc<Notify>> {
        let (topics, pairs) = (self.topics.clone()?, asked(tags)?);
        let (notify, number) = (topics.of(pairs).await?, self.writer.open_number()?);
        // A fragment that stalled and was given up meanwhile is refused just after this.
        self.stream.notify_when_durable(number, notify.clone()).ok()?;
        Some(notify)
    }

    /// Whether the stream keeps what it gets; without retention, nothing is said to be kept.
    fn keeps(&self) -> bool {
        self.stream.info().retention_hours != Some(0)
    }

    /// A session that has lasted too long ends with its fragment; the producer connects again with the next.
    fn bound_age(&self, timecode: u64) -> Result<(), Over> {
        let most = self.config.max_session_s;
        if most == 0 || self.began.elapsed() < Duration::from_secs(most) {
            return Ok(());
        }
        let reason = format!("a connection lasts at most {most} s");
        Err(Over::Refused(self.progress.refusal(ErrorId::MaxConnectionDurationReached, reason))
            .at(timecode, self.core.cluster_at()))
    }

    /// Waits for the fragments that are on their way to the disk.
    async fn settle(&mut self) {
        let stop = self.stop.clone();
        let patience = async move {
            let stopped = async {
                stop.cancelled().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            let _ = tokio::time::timeout(COMMIT_PATIENCE, stopped).await;
        };
        let mut patience = pin!(patience);
        while self.progress.is_waiting() {
            tokio::select! {
                committed = self.progress.committed() => if let Err(over) = committed {
                    if let Over::Refused(refusal) = over {
                        self.progress.refuse(refusal);
                    }
                    return;
                },
                () = &mut patience => return,
            }
        }
    }

    /// Tells the producer what is wrong, after what it may count on; then takes and drops what it still sends, because it
    /// reads the answer only while it can send.
    async fn refuse<B, E>(&mut self, body: &mut B, refusal: Refusal)
    where
        B: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Display,
    {
        tracing::warn!(code = refusal.id.code(), reason = %refusal.reason, "session refused");
        let drain = async { while let Some(Ok(_)) = body.next().await {} };
        let mut drain = pin!(drain);
        let mut drained = false;
        if !refusal.is_of_commit {
            let mut settle = pin!(self.settle());
            while !drained {
                tokio::select! {
                    biased;
                    () = &mut settle => break,
                    () = &mut drain => drained = true,
                }
            }
            if drained {
                settle.await;
            }
        }
        self.progress.refuse(refusal);
        if !drained {
            let patience = Duration::from_secs(self.config.silence_timeout_s);
            tokio::select! {
                () = drain => {}
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(patience) => {}
            }
        }
    }
}

/// One step of the writer, which may have to wait for room; meanwhile fragments become durable and give it.
async fn step<T>(
    progress: &mut Progress,
    stop: &CancellationToken,
    step: impl Future<Output = Result<T, store::Error>>,
) -> Result<T, Over> {
    let mut step = pin!(step);
    loop {
        tokio::select! {
            biased;
            done = &mut step => return done.map_err(|e| progress.not_taken(&e)),
            committed = progress.committed() => committed?,
            () = stop.cancelled() => return Err(Over::Stopping),
        }
    }
}
