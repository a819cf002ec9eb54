//! One connection through the relay: its requests one after the other, each as the link lets it.

use std::{io, time::Duration};

use rand::RngExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

use super::{
    message::Message,
    recorder::{Fate, Number},
    relay::{End, Link, Moment, Shared, State, Way, until},
};

/// One connection's requests, one after the other.
pub(super) struct Passage<'a> {
    shared: &'a Shared,
    state: watch::Receiver<State>,
    /// What the client has sent beyond the request that is being served.
    ahead: Vec<u8>,
    open: Option<Number>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            state: shared.state.subscribe(),
            ahead: Vec::new(),
            open: None,
        }
    }

    /// The request under way, if any, got no whole answer.
    pub(super) fn broken(&mut self) {
        self.ended(Fate::Broken);
    }

    fn ended(&mut self, fate: Fate) {
        if let Some(number) = self.open.take() {
            self.shared.recorder.ended(number, fate);
        }
    }

    pub(super) async fn exchanges(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) -> End {
        loop {
            if let Err(end) = self.exchange(client, server).await {
                return end;
            }
        }
    }

    async fn exchange(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) -> Result<(), End> {
        let (request, bytes) = self.take_request(client, server).await?;
        let number = self.shared.recorder.came(&request);
        self.open = Some(number);
        let moment = self.reset_moment();
        if moment == Some(Moment::Before) {
            return Err(End::Reset);
        }
        self.shape(Way::There).await?;
        // Noted first, so that what Chroma does with it can't be earlier.
        self.shared.recorder.passed(number);
        self.pass(server, &bytes).await?;
        if moment == Some(Moment::After) {
            let pause = self.between(Duration::ZERO, RESET_PAUSE_MAX);
            sleep(pause).await;
            return Err(End::Reset);
        }
        self.pass_answer(client, server, moment).await
    }

    /// Takes in a whole request.
    async fn take_request(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
    ) -> Result<(Message, Vec<u8>), End> {
        let mut request = Message::request();
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut used = request.feed(&bytes);
        let (mut piece, mut nothing) = (vec![0; PIECE], [0; 1]);
        while !request.is_whole() {
            tokio::select! {
                read = client.read(&mut piece) => {
                    let piece = some(&piece, &read)?;
                    used += request.feed(piece);
                    bytes.extend_from_slice(piece);
                }
                // Chroma says nothing between requests but good-bye.
                _ = server.read(&mut nothing), if used == 0 => return Err(End::Closed),
            }
        }
        self.ahead = bytes.split_off(used);
        Ok((request, bytes))
    }

    async fn pass_answer(
        &mut self,
        client: &mut TcpStream,
        server: &mut TcpStream,
        moment: Option<Moment>,
    ) -> Result<(), End> {
        let mut answer = Message::answer();
        let (mut piece, mut more) = (vec![0; PIECE], [0; 512]);
        loop {
            tokio::select! {
                read = server.read(&mut piece) => {
                    let piece = some(&piece, &read)?;
                    answer.feed(piece);
                    // Noted first, so that the next request can't seem to be earlier.
                    if answer.is_whole() && !answer.is_informational() {
                        self.ended(Fate::Answered(answer.status().unwrap_or_default()));
                    }
                    self.shape(Way::Back).await?;
                    if moment == Some(Moment::Within) {
                        self.pass(client, &piece[..piece.len() / 2]).await?;
                        return Err(End::Reset);
                    }
                    self.pass(client, piece).await?;
                }
                read = client.read(&mut more) => self.ahead.extend_from_slice(some(&more, &read)?),
            }
            if answer.is_whole() && answer.is_informational() {
                answer = Message::answer();
            } else if answer.is_whole() {
                return Ok(());
            }
        }
    }

    fn link(&self) -> Link {
        self.state.borrow().link
    }

    fn reset_moment(&self) -> Option<Moment> {
        match self.link() {
            Link::Resetting { moment, one_in } => (self.random(one_in) == 0).then_some(moment),
            _ => None,
        }
    }

    fn random(&self, below: u32) -> u32 {
        let mut random = self.shared.random.lock().expect("random numbers");
        random.random_range(0..below.max(1))
    }

    fn between(&self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros();
        let span = u32::try_from(span).unwrap_or(u32::MAX);
        least + Duration::from_micros(self.random(span).into())
    }

    /// Waits as long as the link makes bytes of a direction wait, or loses them.
    async fn shape(&mut self, way: Way) -> Result<(), End> {
        let link = self.link();
        match link {
            Link::Slow { least, most } => sleep(self.between(least, most)).await,
            Link::Losing(lost) if lost == way => return Err(End::Lost),
            Link::Holding(held) if held == way => {
                let holds = |state: &State| state.link == Link::Holding(way);
                until(&mut self.state, |state| !holds(state)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Passes bytes on, as fast as the link lets them.
    async fn pass(&mut self, to: &mut TcpStream, bytes: &[u8]) -> Result<(), End> {
        let mut left = bytes;
        while !left.is_empty() {
            let link = self.link();
            let size = match link {
                Link::Drip { bytes, .. } => bytes.min(left.len()),
                _ => left.len(),
            };
            let (now, later) = left.split_at(size);
            to.write_all(now).await.map_err(|_| End::Closed)?;
            left = later;
            if let Link::Drip { pause, .. } = link {
                sleep(pause).await;
            }
        }
        Ok(())
    }
}

/// Bytes that are read at once.
const PIECE: usize = 16 * 1024;

/// Chroma gets at most so long for a request before its connection is reset, so that it has
/// carried out some of them and not yet others.
const RESET_PAUSE_MAX: Duration = Duration::from_millis(20);

/// What was read; nothing means that the other side has closed.
fn some<'a>(buffer: &'a [u8], read: &io::Result<usize>) -> Result<&'a [u8], End> {
    match read {
        Ok(0) => Err(End::Closed),
        Ok(read) => Ok(&buffer[..*read]),
        Err(_) => Err(End::Reset),
    }
}
