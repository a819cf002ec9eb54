//! A follower's copy of its leader's view.
//!
//! Reads look at the copy as it is, and ask the leader once more before they give an answer. Many reads share one
//! question: while one is on its way, those that come wait for the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use achromat_core::{
    fleet::{Copy, Question, TellingError, Told},
    ids::InstanceIx,
    limits::REPLY_BYTES_MAX,
};
use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use super::{CameTo, Leader, PASSED_ON, Vouched, Voucher};
use crate::instances::{ExchangeError, Request};

/// Time from one question to the next as long as no read needs one.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// Longest wait for the leader's answer. Reads are passed on after that.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Time for which a leader that has no answer is not asked again: it may be of an older version.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(1);

type Answer = Option<Arc<Copy>>;

/// A read that waits for the leader's view.
struct Waiting {
    /// The instance that it has waited for in vain, if it has.
    silent: Option<InstanceIx>,
    answer: oneshot::Sender<Answer>,
}

/// The copy, and the way to ask for a newer one.
pub struct Mirror {
    latest: Arc<ArcSwapOption<Copy>>,
    questions: mpsc::UnboundedSender<Waiting>,
    reads: Arc<AtomicU64>,
    keeping: JoinHandle<()>,
}

/// A follower with its means to ask the leader.
struct Keeper {
    me: Uuid,
    voucher: Arc<Voucher>,
    leaders: watch::Receiver<Option<Arc<Leader>>>,
    latest: Arc<ArcSwapOption<Copy>>,
    reads: Arc<AtomicU64>,
    pause_until: Option<Instant>,
    /// True when the last question failed, which was told then.
    is_failing: bool,
}

/// The reason why there is no copy.
#[derive(Debug, thiserror::Error)]
enum MirrorError {
    #[error("no answer in time")]
    Silent,
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("it answered {0}")]
    Refused(u16),
    #[error("its answer can't be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Telling(#[from] TellingError),
}

impl Mirror {
    /// A copy that is kept from now on, whenever another proxy leads.
    pub(super) fn keep(
        me: Uuid,
        voucher: Arc<Voucher>,
        leaders: watch::Receiver<Option<Arc<Leader>>>,
    ) -> Self {
        let (latest, reads) = (Arc::default(), Arc::default());
        // Bounded by the requests that are admitted.
        let (questions, asked) = mpsc::unbounded_channel();
        let keeper = Keeper {
            me,
            voucher,
            leaders,
            latest: Arc::clone(&latest),
            reads: Arc::clone(&reads),
            pause_until: None,
            is_failing: false,
        };
        Self {
            latest,
            questions,
            reads,
            keeping: tokio::spawn(keeper.run(asked)),
        }
    }

    /// The copy, which may be old.
    pub fn latest(&self) -> Answer {
        self.latest.load_full()
    }

    /// The leader's view of a moment after this question.
    pub async fn now(&self) -> Answer {
        self.ask(None).await
    }

    /// The same for a read for which an instance is silent: the leader hears of that.
    pub async fn now_in_silence_of(&self, instance: InstanceIx) -> Answer {
        self.ask(Some(instance)).await
    }

    async fn ask(&self, silent: Option<InstanceIx>) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Waiting { silent, answer }).ok()?;
        answered.await.ok()?
    }

    /// Number of reads that were carried out here.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// Counts a read that was carried out here.
    pub fn count_read(&self) {
        self.reads.fetch_add(1, Relaxed);
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Keeper {
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Waiting>) {
        let mut ticks = interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            tokio::select! {
                question = asked.recv() => match question {
                    Some(question) => waiting.push(question),
                    None => return,
                },
                _ = ticks.tick() => {}
            }
            while let Ok(question) = asked.try_recv() {
                waiting.push(question);
            }
            let silent = waiting.iter().filter_map(|waiting| waiting.silent);
            let answer = self.ask(silent.fold(0, Question::add_silent)).await;
            self.latest.store(answer.clone());
            for question in waiting.drain(..) {
                // Who asked may have gone away.
                let _gone = question.answer.send(answer.clone());
            }
        }
    }

    /// Asks the leader, if another proxy leads.
    async fn ask(&mut self, silent: u16) -> Answer {
        let leader = self.leaders.borrow_and_update().clone();
        let leader = leader.filter(|leader| leader.holder.id != self.me)?;
        let before = self.latest.load_full();
        let before = before.filter(|before| before.is_of(leader.holder.id));
        if before.is_none() && self.pause_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match self.ask_of(&leader, before, silent).await {
            Ok(copy) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(
                        leader = leader.holder.name,
                        "the leader tells its view again"
                    );
                }
                Some(Arc::new(copy))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let name = &leader.holder.name;
                    tracing::warn!(%error, leader = name, "the leader does not tell its view, and gets all reads");
                }
                self.pause_until = Some(Instant::now() + UNANSWERED_PAUSE);
                None
            }
        }
    }

    async fn ask_of(
        &self,
        leader: &Leader,
        before: Answer,
        silent: u16,
    ) -> Result<Copy, MirrorError> {
        let question = Question {
            proxy: self.me,
            since: before.as_ref().map_or(0, |before| before.number()),
            reads: self.reads.load(Relaxed),
            silent,
        };
        let target = question.target();
        let headers = self.vouch(&target);
        let request = Request {
            method: "GET",
            target: &target,
            headers: Some(&headers),
            content_type: None,
            body: None,
            is_probe: false,
            leave: None,
        };
        let answered = async {
            let exchange = leader.link.read(InstanceIx(0), request, ANSWER_MAX).await?;
            let status = exchange.status();
            let body = exchange.body(REPLY_BYTES_MAX).await?;
            Ok::<_, ExchangeError>((status, body))
        };
        let (status, body) = timeout(ANSWER_MAX, answered)
            .await
            .map_err(|_| MirrorError::Silent)??;
        if status != 200 {
            return Err(MirrorError::Refused(status));
        }
        let told: Told = serde_json::from_slice(&body)?;
        Ok(Copy::take_in(before.as_deref(), leader.holder.id, told)?)
    }

    fn vouch(&self, target: &str) -> HeaderMap {
        let vouched = Vouched {
            client: None,
            came_to: CameTo::Nobody,
            is_operator: false,
        };
        let word = self.voucher.sign(vouched, "GET", target);
        let mut headers = HeaderMap::new();
        if let Ok(word) = HeaderValue::from_str(&word) {
            headers.insert(PASSED_ON, word);
        }
        headers
    }
}
